"""The proxy that a call goes through: what the environment names, but never for this machine or an inner address."""

from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from finetrail.config.sections.hosts import host_of, is_inner
from finetrail.errors import FinetrailError


def proxy_of(url: str) -> str | None:
    """Return the address of the proxy for a URL (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`); None for none.

    Raises:
        FinetrailError: it is no address, or a proxy of a kind that cannot be used.
    """
    if is_inner(url):
        return None
    named = getproxies_environment()
    if proxy_bypass_environment(host_of(url), named):
        return None
    scheme = urlsplit(url).scheme
    proxy = named.get(scheme) or named.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    problem = _problem(proxy)
    if problem is not None:
        raise FinetrailError(
            problem,
            where=f"the environment variable {scheme if scheme in named else 'all'}_proxy",
            hint="Name a proxy for http (http://HOST:PORT), or name the server's host in no_proxy",
        )
    return proxy


def _problem(proxy: str) -> str | None:
    """Say why a proxy cannot be used; None where it can. What is no address is not shown: it may hold a password."""
    try:
        parts = urlsplit(proxy)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        return "the address of the proxy has no host, or no port that is one"
    return None if parts.scheme in ("http", "https") else f"a proxy of this kind cannot be used: {shown(proxy)}"


def shown(proxy: str) -> str:
    """Render a proxy's address for messages, without its name and password."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
