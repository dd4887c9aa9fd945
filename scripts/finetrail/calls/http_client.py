"""One HTTP call to a server that is paid, for every protocol: bounded in size and time, and led nowhere else."""

import asyncio
import errno
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from finetrail.calls.base_endpoint import BaseEndpoint
from finetrail.calls.cleaning import Cleaner
from finetrail.calls.faults import Failed, Fault
from finetrail.calls.proxies import proxy_of, shown
from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

PIECE = 1 << 16
LARGE_BODY = 1 << 20
# After a standstill of this process, for so long an answer that has come meanwhile may be read.
MOST_LATE_S = 2.0
NOBODY_THERE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH}
PROXY_WANTS_CREDENTIALS = 407
NO_WAY_HINT = "Check that proxy: http_proxy, https_proxy and no_proxy, or `site.proxies` on a cluster"


class Came(NamedTuple):
    """A reply as it came: its status, its headers, its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Calls one endpoint; lives in one event loop.

    No redirect is followed and no cookie is kept. A proxy is used as `finetrail.calls.proxies` says.

    Args:
        endpoint: has the time that one call may take, and its place for messages.
        base_url: where it is.
        cleaner: knows the key.

    Raises:
        FinetrailError: the environment names a proxy that cannot be used.
    """

    def __init__(self, endpoint: BaseEndpoint, base_url: str, cleaner: Cleaner) -> None:
        self._endpoint = endpoint
        self._base_url = base_url
        self._cleaner = cleaner
        self._proxy = proxy_of(base_url)
        self._session: aiohttp.ClientSession | None = None

    @property
    def place(self) -> str:
        """Where calls go, for messages."""
        return f"{self._base_url} (through the proxy {shown(self._proxy)})" if self._proxy else self._base_url

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, url: "URL | str", *, headers: Mapping[str, str], body: bytes | None, most: int
    ) -> Came:
        """Make one call.

        Args:
            method, url, headers, body: what is sent.
            most: the largest body that is read, in bytes, once it is unpacked.

        Raises:
            Failed: nothing came that could be read.
            FinetrailError: the server sends us elsewhere, or a proxy refuses us.
        """
        import aiohttp

        content = io.BytesIO(body) if body is not None and len(body) > LARGE_BODY else body
        limit = asyncio.timeout(None)
        alarm = _set_alarm(limit, self._endpoint.timeout_s)
        try:
            async with (
                limit,
                self._open().request(
                    method, url, headers=headers, data=content, proxy=self._proxy, allow_redirects=False
                ) as response,
            ):
                pieces = bytearray()
                async for piece in response.content.iter_chunked(PIECE):
                    pieces += piece
                    if len(pieces) > most:
                        response.close()
                        raise Failed(Fault("row", f"the reply of {self.place} is larger than {most:,} bytes"))
        except TimeoutError:
            raise Failed(Fault("retry", f"no answer within {self._endpoint.timeout_s:g} s")) from None
        except aiohttp.ClientHttpProxyError as error:
            self._judge_proxy(error.status, error.message)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Failed(self._fault_of(error)) from error
        finally:
            alarm.cancel()
        self._check_way(response.status, response.headers)
        return Came(response.status, response.headers, bytes(pieces))

    def _open(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # lanes bound what is under way
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
                timeout=aiohttp.ClientTimeout(total=None),  # `call` measures all of it
            )
        return self._session

    def _fault_of(self, error: Exception) -> Fault:
        import aiohttp

        said = self._cleaner.message(getattr(error, "os_error", error)) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorError) or getattr(error, "errno", None) in NOBODY_THERE:
            return Fault("unreachable", f"{self.place} cannot be reached ({said})")
        return Fault("foreign", f"{self.place}: the connection broke ({said})")

    def _judge_proxy(self, status: int, message: str) -> NoReturn:
        """Decide what follows when a proxy lets nothing through."""
        said = f"{self.place}: the proxy answers HTTP {status}: {self._cleaner.message(message)}"
        if status >= 500:
            raise Failed(Fault("retry", said))
        raise FinetrailError(said, where=self._endpoint.entry, hint=NO_WAY_HINT)

    def _check_way(self, status: int, headers: Mapping[str, str]) -> None:
        """Stop where the answer is none of the server's own.

        Raises:
            FinetrailError: it is a redirect, or a proxy wants credentials.
        """
        if status == PROXY_WANTS_CREDENTIALS and self._proxy:
            self._judge_proxy(status, "it wants credentials")
        if 300 <= status < 400:
            target = self._cleaner.message(headers.get("Location", "nowhere"))
            raise FinetrailError(
                f"{self.place} sends us on to {target} (HTTP {status}), which is not followed: the key and all that is "
                "asked would go there",
                where=self._endpoint.entry,
                hint=f"If that is the right server, make it {self._endpoint.entry}.base_url",
            )


def _set_alarm(limit: asyncio.Timeout, seconds: float) -> asyncio.TimerHandle:
    """End a limit after some seconds, but not before what came while this process stood still has been read.

    A process that is stopped (Ctrl-Z, a node under load) would else pay again for answers that are there.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds

    def ring() -> None:
        now = loop.time()
        limit.reschedule(now + min(now - due, MOST_LATE_S))

    return loop.call_at(due, ring)
