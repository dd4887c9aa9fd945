"""Which addresses count as public."""

import ipaddress
import socket

import pytest

from finetrail.web.addresses import LENGTHS, PrivateAddress, checked_socket, gateways_of, is_public, own_gateways

INNER = [
    "127.0.0.1", "127.255.0.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "no address",
    "192.0.0.192", "192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "100.100.100.200", "168.63.129.16",
    "161.26.0.10", "166.9.1.1", "::ffff:168.63.129.16", "64:ff9b::a83f:8110", "2002:a83f:8110::1", "fd00:ec2::254",
    "64:ff9b:1::808:808", "100::1", "100:0:0:1::1", "2001:20::1", "2001:30::1", "2001:2::1", "3fff::1", "5f00::1",
    "2620:4f:8000::1", "::127.0.0.1", "::ffff:0:127.0.0.1", "2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:a00:1",
]  # fmt: skip
OUTER = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]


@pytest.fixture(autouse=True)
def no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask no resolver: of these tests' network nothing is known."""
    monkeypatch.setattr("finetrail.web.addresses.own_gateways", lambda: ())


@pytest.mark.parametrize("address", INNER)
def test_inner_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTER)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_no_socket_is_made_for_an_inner_address() -> None:
    with pytest.raises(PrivateAddress, match=r"127\.0\.0\.1 is no public address"):
        checked_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))
    checked_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("1.1.1.1", 80))).close()


def translated(address: str, prefix: str, length: int) -> str:
    """Put an IPv4 address behind a prefix as RFC 6052 says."""
    place = bytearray(ipaddress.IPv6Address(prefix).packed)
    free = [number for number in range(length // 8, 16) if number != 8][:4]
    for number, value in zip(free, ipaddress.IPv4Address(address).packed, strict=True):
        place[number] = value
    return str(ipaddress.IPv6Address(bytes(place)))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_gateway_of_any_length_leads_to_no_inner_address(length: int) -> None:
    prefix = "2a0b:1234::"
    gateways = gateways_of([translated("192.0.0.170", prefix, length), translated("192.0.0.171", prefix, length)])
    assert {network.prefixlen for network in gateways} >= {length}
    assert not is_public(translated("10.0.0.1", prefix, length), gateways)
    assert not is_public(translated("169.254.169.254", prefix, length), gateways)
    assert is_public("2606:4700:4700::1111", gateways)
    assert is_public(translated("93.184.215.14", prefix, length), [n for n in gateways if n.prefixlen == length])


def test_a_network_without_a_gateway_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gateways_of(["2606:4700:4700::1111"]) == []

    def nobody(*_: object) -> None:
        raise OSError("no answer")

    monkeypatch.undo()
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    own_gateways.cache_clear()
    assert own_gateways() == ()
    own_gateways.cache_clear()
