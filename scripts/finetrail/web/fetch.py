"""Fetch a page that a stranger named; it may neither reach the inner network, nor fill the memory, nor never end."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from finetrail.web.addresses import PrivateAddress, checked_resolver, checked_socket
from finetrail.web.robots import MOST_BYTES, NAME, Robots, RobotsReply

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

HTML_TYPES = ("text/html", "application/xhtml+xml")
PAGE_TYPES = (*HTML_TYPES, "text/plain")
REDIRECTS = {301, 302, 303, 307, 308}
LONGEST_URL = 4096
PIECE = 1 << 16
PURPOSE = "reads pages for training data, each once"


@dataclass(frozen=True)
class PageLimits:
    """What one page may take; the fields are keys of `search.pages` in the config.

    Args:
        timeout_s: seconds from the first connection to the last byte, redirects included.
        max_bytes: the largest body, as it comes and unpacked.
        max_redirects: redirects that are followed.
        max_concurrency: pages under way at once.
        allow_private: addresses of the inner network may be read too.
        robots: read no page that its site's robots.txt keeps programs from.
        contact: who asks, an address of the web or of mail, as servers are told.
    """

    timeout_s: float = 20.0
    max_bytes: int = 5_000_000
    max_redirects: int = 5
    max_concurrency: int = 16
    allow_private: bool = False
    robots: bool = False
    contact: str | None = None


class FetchFailed(Exception):
    """A page could not be had; `passing`: another try may succeed."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing


@dataclass(frozen=True)
class Fetched:
    """A page as it came: its last URL, the kind and character set that its server names, and its unpacked body.

    `etag` is what the server calls this content; `unchanged`: it is what was asked for by its tag, and has no body.
    """

    url: str
    kind: str
    charset: str | None
    body: bytes
    etag: str | None = None
    unchanged: bool = False

    @property
    def sha256(self) -> str:
        """The SHA-256 of the body, in hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()


class PageFetcher:
    """Fetches pages. Use as an asynchronous context manager, in one event loop.

    No cookies, no credentials, no proxy of the environment: behind one, the address could not be checked.

    Args:
        limits: what one page may take.
        resolver: finds addresses of names; None for the system's.
        kinds: content types that are read, in the order of preference.
        unnamed: the content type of a server that names none.
    """

    def __init__(
        self,
        limits: PageLimits,
        resolver: "AbstractResolver | None" = None,
        *,
        kinds: Sequence[str] = PAGE_TYPES,
        unnamed: str = HTML_TYPES[0],
    ) -> None:
        self.limits = limits
        self._kinds = kinds
        self._unnamed = unnamed
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._robots = Robots(self._get_robots) if limits.robots else None

    async def __aenter__(self) -> "PageFetcher":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, url: str, *, etag: str | None = None) -> Fetched:
        """Fetch a page, or learn that it is still what a tag names.

        Raises:
            FetchFailed: says why there is none.
        """
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return await self._follow(url, etag)
        except FetchFailed:
            raise
        except TimeoutError:
            raise FetchFailed(f"it took more than {self.limits.timeout_s:g} s", passing=True) from None
        except Exception as error:
            raise _named(error) from error

    async def _follow(self, url: str, etag: str | None) -> Fetched:
        place = parse_url(url)
        asked = {"If-None-Match": etag} if etag else {}
        for _ in range(self.limits.max_redirects + 1):
            if self._robots is not None and not await self._robots.allow(place):
                raise FetchFailed("its site's robots.txt keeps programs from it")
            async with self._open().get(place, allow_redirects=False, headers=asked) as response:
                if response.status not in REDIRECTS:
                    return await self._read(response)
                place = parse_url(response.headers.get("Location", ""), place)
        raise FetchFailed(f"more than {self.limits.max_redirects} redirects")

    async def _get_robots(self, place: "URL") -> RobotsReply:
        """Fetch a robots.txt within the bounds of a page."""
        async with asyncio.timeout(self.limits.timeout_s):
            for _ in range(self.limits.max_redirects + 1):
                async with self._open().get(place, allow_redirects=False) as response:
                    if response.status in REDIRECTS:
                        place = parse_url(response.headers.get("Location", ""), place)
                        continue
                    encoding = response.headers.get("Content-Encoding", "")
                    return RobotsReply(response.status, await first_bytes(response.content, encoding))
        return RobotsReply(404, b"")  # more redirects than are followed: as if there were none (RFC 9309, 2.3.1.2)

    async def _read(self, response: "aiohttp.ClientResponse") -> Fetched:
        named = response.headers.get("ETag")
        if response.status == 304:
            return Fetched(str(response.url), self._unnamed, None, b"", named, unchanged=True)
        if response.status != 200:
            passing = response.status >= 500 or response.status in (408, 425, 429)
            raise FetchFailed(f"HTTP {response.status}", passing=passing)
        kind = response.content_type if "Content-Type" in response.headers else self._unnamed
        if kind not in self._kinds:
            raise FetchFailed(f"the content type {kind[:80]} is not read here")
        announced = response.content_length
        if announced is not None and announced > self.limits.max_bytes:
            raise _too_large(self.limits.max_bytes)
        body = await unpack(
            response.content.iter_chunked(PIECE), response.headers.get("Content-Encoding", ""), self.limits.max_bytes
        )
        return Fetched(str(response.url), kind, response.charset, body, named)

    def _open(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            inner = self._resolver or aiohttp.ThreadedResolver()
            closed = not self.limits.allow_private
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=checked_resolver(inner) if closed else inner,
                    socket_factory=checked_socket if closed else None,
                    limit=self.limits.max_concurrency,
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "User-Agent": agent(self.limits.contact),
                    "Accept": ", ".join(self._kinds),
                    "Accept-Encoding": "gzip",
                },
                timeout=aiohttp.ClientTimeout(total=None),  # `fetch` measures all of it
            )
        return self._session


def agent(contact: str | None) -> str:
    """Return how requests name this program, its version, and who asks."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version(NAME)
    except PackageNotFoundError:  # run from a folder
        number = "0"
    return f"{NAME}/{number} ({f'+{contact}; ' if contact else ''}{PURPOSE})"


async def first_bytes(content: "aiohttp.StreamReader", encoding: str) -> bytes:
    """Return the first bytes of a robots.txt, unpacked; nothing of one that is packed in another way or damaged."""
    body = b""
    try:
        async for piece in content.iter_chunked(PIECE):
            body += piece
            if len(body) >= MOST_BYTES:
                break
        if encoding.strip().lower() in ("gzip", "x-gzip", "deflate"):
            return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, MOST_BYTES)
    except zlib.error:
        return b""
    return body


def parse_url(text: str, base: "URL | None" = None) -> "URL":
    """Read a URL that a stranger wrote, without its fragment.

    Args:
        text: the URL, or a reference to it from `base`.
        base: where a redirect came from.

    Raises:
        FetchFailed: it is none of http or https, or carries credentials.
    """
    from yarl import URL

    try:
        if len(text) > LONGEST_URL:
            raise ValueError("it is too long")
        text.encode("utf-8")  # half of a surrogate pair is in no address
        url = URL(text.strip())
        url = (base.join(url) if base else url).with_fragment(None)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("neither http nor https")
        if url.user is not None or url.password is not None:
            raise ValueError("it carries credentials")
    except (ValueError, TypeError) as error:
        raise FetchFailed(f"not a URL that is fetched ({error})") from None
    return url


def host_of(text: str) -> str:
    """Return the host and port that a URL names, to count what is under way there; of no URL, its first signs."""
    try:
        return parse_url(text).authority.lower()
    except FetchFailed:
        return text[:80]


async def unpack(pieces: AsyncIterator[bytes], encoding: str, most: int) -> bytes:
    """Join the pieces of a body, unpacking them as they come, and stop where there are too many bytes.

    Args:
        pieces: the body as it comes.
        encoding: its `Content-Encoding`: none, gzip or deflate.
        most: the bound on the bytes, of what comes and of what it unpacks to.

    Raises:
        FetchFailed: the bound is exceeded, the encoding is another one, or the body is damaged.
    """
    name = encoding.strip().lower()
    if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise FetchFailed(f"the content encoding {name[:40]} was not asked for")
    tool = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if name not in ("", "identity") else None
    body, came = bytearray(), 0
    async for piece in pieces:
        came += len(piece)
        body += _inflate(tool, piece, most + 1 - len(body)) if tool else piece
        if came > most or len(body) > most:
            raise _too_large(most)
    if tool is not None and came and not tool.eof:
        raise FetchFailed("the compressed body is cut off", passing=True)
    return bytes(body)


def _inflate(tool: "zlib._Decompress", piece: bytes, most: int) -> bytes:
    try:
        return tool.decompress(piece, most)
    except zlib.error as error:
        raise FetchFailed(f"the compressed body is damaged ({error})") from None


def _too_large(most: int) -> FetchFailed:
    return FetchFailed(f"it is larger than {most:,} bytes")


def _named(error: Exception) -> FetchFailed:
    """Put an exception of the client into a few words."""
    import aiohttp

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PrivateAddress):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return FetchFailed(f"refused: {cause}")
    if isinstance(error, aiohttp.InvalidURL):
        return FetchFailed("not a URL that is fetched")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FetchFailed("its host is not known", passing=True)
    if isinstance(error, aiohttp.ClientSSLError):
        return FetchFailed("its certificate is not trusted, or TLS failed")
    if isinstance(error, aiohttp.ClientConnectorError):
        return FetchFailed("its host does not answer", passing=True)
    return FetchFailed(f"the connection broke ({type(error).__name__})", passing=True)
