"""Which network addresses a URL from elsewhere may lead to: public ones, looked at where the connection is made.

A name is resolved once, and the connection goes to the address that was looked at, so that a name that answers
differently the second time (DNS rebinding) leads nowhere else.
"""

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

# Prefixes that carry an IPv4 address for a gateway, which might be a private one (RFC 6052, RFC 8215).
TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))


class PrivateAddress(Exception):
    """A name or address of the inner network was asked for."""


def is_public(address: str) -> bool:
    """Say whether an IP address is one of the public internet (IANA's registries of special addresses).

    An address that carries another one (mapped, translated, 6to4, Teredo) is no more public than that.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return _is_global(found)
    if found.ipv4_mapped is not None or any(found in network for network in TRANSLATED):
        return _is_global(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    if found.sixtofour is not None:  # versions of Python differ in whether the prefix itself is global
        return _is_global(found.sixtofour)
    return not found.is_site_local and _is_global(found) and all(map(_is_global, found.teredo or ()))


def _is_global(address: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


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
