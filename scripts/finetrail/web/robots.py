"""Whether a site lets programs read a page: its robots.txt (RFC 9309), read once a site, by the library Protego."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from protego import Protego
    from yarl import URL

NAME = "finetrail"
"""The name by which a robots.txt speaks to this program; any other is meant by `*`."""
MOST_BYTES = 500_000  # what must be read of one (RFC 9309, 2.5); the rest is not


class RobotsReply(NamedTuple):
    """What a site answered: its HTTP status, and the first bytes of the body."""

    status: int
    body: bytes


class Robots:
    """The rules of the sites that were met.

    Args:
        get: fetches a robots.txt; it follows redirects, and raises what the fetch of a page raises.
    """

    def __init__(self, get: "Callable[[URL], Awaitable[RobotsReply]]") -> None:
        self._get = get
        self._sites: dict[str, asyncio.Task[Protego | bool]] = {}

    async def allow(self, url: "URL") -> bool:
        """Say whether a page may be read.

        Raises:
            Whatever `get` raises: then nobody knows, and the page is not read either (RFC 9309, 2.3.1.4).
        """
        site = str(url.origin())
        if site not in self._sites:
            self._sites[site] = asyncio.create_task(self._read(url))
        task = self._sites[site]
        try:
            rules = await asyncio.shield(task)
        except BaseException:
            if task.done() and self._sites.get(site) is task:  # another page asks anew
                del self._sites[site]
            raise
        return rules if isinstance(rules, bool) else bool(rules.can_fetch(str(url), NAME))

    async def _read(self, url: "URL") -> "Protego | bool":
        """Read a site's rules; True where it has none, False where its server fails over them."""
        from protego import Protego

        reply = await self._get(url.origin() / "robots.txt")
        if reply.status != 200:
            return reply.status < 500 and reply.status != 429
        text = reply.body[:MOST_BYTES].decode("utf-8-sig", "replace")
        return Protego.parse(text)
