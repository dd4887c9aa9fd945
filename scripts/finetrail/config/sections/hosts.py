"""Hosts of addresses: which of them are on this machine, or on an inner network, by what is written there."""

import ipaddress
from urllib.parse import urlsplit

IN_THE_CLEAR = (
    "over http whoever stands on the way reads the key. Use https, or set `allow_http: true` where the network is yours"
)


def host_of(url: str) -> str:
    """Return the host that an address names, in lower case; empty where it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_inner(url: str) -> bool:
    """Say whether an address is this machine's, or a literal address that the internet does not route.

    A name other than `localhost` may lead anywhere, so it is none. Which addresses are global is what Python's
    `ipaddress` knows of IANA's registries of special-purpose addresses.
    """
    host = host_of(url)
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return not found.ipv4_mapped.is_global
    return not found.is_global


def is_in_the_clear(url: str) -> bool:
    """Say whether what is sent to an address could be read on the way."""
    return url.lower().startswith("http://") and not is_inner(url)
