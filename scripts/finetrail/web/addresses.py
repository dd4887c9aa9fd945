"""Which network addresses a URL from elsewhere may lead to: public ones, looked at where the connection is made.

A name is resolved once, and the connection goes to the address that was looked at, so that a name that answers
differently the second time (DNS rebinding) leads nowhere else.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

WELL_KNOWN = ipaddress.IPv6Network("64:ff9b::/96")
# Prefixes by which a NAT64 gateway may be reached carry an IPv4 address behind 32 to 96 bits, but never in byte 8
# (RFC 6052, 2.2). A network says which it has by what it makes of a name that has IPv4 addresses only (RFC 7050).
LENGTHS = (32, 40, 48, 56, 64, 96)
ASKED = "ipv4only.arpa"
ANSWERS = (ipaddress.IPv4Address("192.0.0.170"), ipaddress.IPv4Address("192.0.0.171"))
# What the registries of special addresses set apart, and versions of Python's module take for public.
SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24", "192.88.99.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24",
            "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2620:4f:8000::/48", "3fff::/20", "5f00::/16",
        ),
    )
)  # fmt: skip
# Formally public addresses at which cloud platforms serve their own machines: Azure's host, IBM Cloud's services.
PLATFORMS = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "161.26.0.0/16", "166.8.0.0/14")))
ISATAP = (0x00005EFE, 0x02005EFE)  # an interface that names an IPv4 address (RFC 5214)


class PrivateAddress(Exception):
    """A name or address of the inner network was asked for."""


def is_public(address: str, gateways: "Sequence[ipaddress.IPv6Network] | None" = None) -> bool:
    """Say whether an IP address is one of the public internet (IANA's registries of special addresses).

    An address that carries another one (mapped, translated, 6to4, Teredo, ISATAP) is no more public than that.

    Args:
        address: the address.
        gateways: prefixes by which this network translates to IPv4; None to ask the network once.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return _is_global(found)
    if found.ipv4_mapped is not None:
        return _is_global(found.ipv4_mapped)
    if found in WELL_KNOWN:
        return _is_global(carried(found, 96))
    if found.sixtofour is not None:  # versions of Python differ in whether the prefix itself is global
        return _is_global(found.sixtofour)
    if found.is_site_local or not _is_global(found):
        return False
    if int(found) >> 32 & 0xFFFFFFFF in ISATAP and not _is_global(carried(found, 96)):
        return False
    known = own_gateways() if gateways is None else gateways
    return all(_is_global(carried(found, network.prefixlen)) for network in known if found in network)


def _is_global(address: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in (*SPECIAL, *PLATFORMS) if network.version == address.version)


def carried(address: ipaddress.IPv6Address, length: int) -> ipaddress.IPv4Address:
    """Return the IPv4 address behind a prefix of some bits (RFC 6052, 2.2)."""
    return ipaddress.IPv4Address(bytes(address.packed[place] for place in range(length // 8, 16) if place != 8)[:4])


def gateways_of(answers: Iterable[str]) -> list[ipaddress.IPv6Network]:
    """Return the prefixes of NAT64 gateways that a network's IPv6 answers for `ASKED` show."""
    found = [ipaddress.IPv6Address(answer.partition("%")[0]) for answer in answers]
    return [
        ipaddress.IPv6Network((address, length), strict=False)
        for address in found
        for length in LENGTHS
        if carried(address, length) in ANSWERS
    ]


@cache
def own_gateways() -> tuple[ipaddress.IPv6Network, ...]:
    """Return the prefixes by which this network translates to IPv4; none where it does not, or nobody answers."""
    try:
        found = socket.getaddrinfo(ASKED, None, socket.AF_INET6)
    except OSError:
        return ()
    return tuple(gateways_of(str(entry[4][0]) for entry in found))


def require_public(host: str, addresses: list[str]) -> None:
    """Refuse a host if any of its addresses is not public.

    Raises:
        PrivateAddress: names the host and the address.
    """
    for address in addresses:
        if not is_public(address):
            said = host if host == address else f"{host} ({address})"
            raise PrivateAddress(f"{said} is no public address")


def checked_socket(info: tuple[Any, ...]) -> socket.socket:
    """Make the socket of a connection; every connection passes here with the address that it will go to.

    Args:
        info: an entry as `socket.getaddrinfo` gives it.

    Raises:
        PrivateAddress: the address is not public.
    """
    family, kind, protocol, _, place = info
    require_public(place[0], [place[0]])
    return socket.socket(family, kind, protocol)


def checked_resolver(inner: "AbstractResolver") -> "AbstractResolver":
    """Make a resolver that gives the addresses of another one, if all of them are public."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Checked(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            found = await inner.resolve(host, port, family)
            require_public(host, [one["host"] for one in found])
            return found

        async def close(self) -> None:
            await inner.close()

    return Checked()
