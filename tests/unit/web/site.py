"""A web site, or a search service, on loopback, as well or as badly behaved as a test wants."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from tests.unit.loopback import LoopbackServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Visit:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


async def not_found(request: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


class Site(LoopbackServer):
    """Runs in a thread; `visits` holds every request, `pages` a handler for each path."""

    def __init__(self) -> None:
        self.pages: dict[str, Handler] = {}
        self.visits: list[Visit] = []
        super().__init__("*", "/{path:.*}", self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [visit.path for visit in self.visits]

    def page(self, path: str, body: bytes | str, kind: str = "text/html; charset=utf-8", **headers: str) -> str:
        """Serve a body at a path; return its URL."""
        content = body.encode() if isinstance(body, str) else body

        async def serve(request: web.Request) -> web.StreamResponse:
            return web.Response(body=content, headers={"Content-Type": kind, **headers})

        self.pages[path] = serve
        return self.url + path

    def redirect(self, path: str, target: str, status: int = 302) -> str:
        """Redirect from a path; return its URL."""

        async def serve(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": target})

        self.pages[path] = serve
        return self.url + path

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.visits.append(Visit(request.method, request.path, dict(request.query), dict(request.headers), body))
        return await self.pages.get(request.path, not_found)(request)
