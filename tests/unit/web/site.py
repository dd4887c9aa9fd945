"""A web site, or a search service, on loopback, as well or as badly behaved as a test wants."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

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


class Site:
    """Runs in a thread; `visits` holds every request, `pages` a handler for each path."""

    def __init__(self) -> None:
        self.pages: dict[str, Handler] = {}
        self.visits: list[Visit] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

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

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.visits.append(Visit(request.method, request.path, dict(request.query), dict(request.headers), body))
        return await self.pages.get(request.path, not_found)(request)
