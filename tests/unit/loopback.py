"""A server of aiohttp on loopback, in a thread of its own, on a free port."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LoopbackServer:
    """Serves from its construction until `close`.

    Args:
        method, path: what is served; ``*`` for every method.
        serve: answers it.
    """

    def __init__(self, method: str, path: str, serve: Serve) -> None:
        self._route = (method, path, serve)
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self._ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(self._runner.cleanup())
        self.loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route(*self._route)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
