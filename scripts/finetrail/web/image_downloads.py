"""Fetch the images that records name, each once, and keep them by their content."""

import asyncio
import base64
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from finetrail.isolated import Failed, Workers
from finetrail.rows.artifacts import publish_file, read_json, temporary_name, write_json
from finetrail.rows.records import Row, sha256_text
from finetrail.vision.check_image import SUFFIXES, BadImage, Checked
from finetrail.web.fetch import FetchFailed, PageFetcher, PageLimits, host_of

LOGGER = logging.getLogger(__name__)
UNNAMED = "application/octet-stream"
AT_ONCE_A_HOST = 2
TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,500}"')
BATCH = 256  # images whose outcomes are held at once


@dataclass(frozen=True)
class ImageStore:
    """A folder of images by their SHA-256, with what is known of each address.

    Args:
        folder: where they are kept.
        checkers: processes that check them (`check_within`).
        max_pixels: see `check_image`.
    """

    folder: Path
    checkers: Workers
    max_pixels: int

    def known(self, url: str) -> Row | None:
        """Return what is kept of an address, if its image is still there."""
        path = self._place(url)
        if not path.is_file():
            return None
        entry: Row = read_json(path)
        return entry if (self.folder / entry["path"]).is_file() else None

    def check(self, content: bytes) -> Checked:
        """Check an image in a process of its own.

        Raises:
            BadImage: it cannot be used.
        """
        checked = self.checkers.run((content, self.max_pixels))
        if isinstance(checked, Failed):
            raise BadImage(checked.reason)
        return cast(Checked, checked)

    def keep(self, content: bytes) -> Row:
        """Check an image and keep it.

        Raises:
            BadImage: it cannot be used.
        """
        import hashlib

        checked = self.check(content)
        digest = hashlib.sha256(checked.content).hexdigest()
        path = f"{digest[:2]}/{digest}.{checked.suffix}"
        target = self.folder / path
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_name(target)
            temporary.write_bytes(checked.content)
            publish_file(temporary, target)
        facts = {"width": checked.width, "height": checked.height, "changed": list(checked.changed)}
        return {"path": path, "sha256": digest, **facts}

    def note(self, url: str, entry: Row) -> None:
        """Remember what an address gave."""
        path = self._place(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"url": url, **entry})

    def _place(self, url: str) -> Path:
        name = sha256_text(url)
        return self.folder / "by_url" / name[:2] / f"{name}.json"


def usable_tag(tag: str | None) -> str | None:
    """Return a tag that a server gave, if it can be sent back (RFC 9110, 8.8.3); others are forgotten."""
    return tag if tag is not None and TAG.fullmatch(tag) else None


def writable(text: str) -> str:
    """Return a text that can be written as UTF-8; a server's words may hold half characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def embedded_bytes(text: str, max_bytes: int) -> bytes:
    """Return the bytes of ``data:image/...;base64,...``.

    Raises:
        BadImage: it is no such text, or holds too many bytes.
    """
    head, _, body = text.partition(",")
    if not head.endswith(";base64"):
        raise BadImage("an image within a record must be base64")
    if len(body) * 3 // 4 > max_bytes:
        raise BadImage(f"it is larger than {max_bytes:,} bytes")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:  # of which binascii's is one
        raise BadImage(f"its base64 is damaged ({error})") from error


class ImageGetter:
    """Gets images by address into a store; two of one host at once.

    Args:
        store: where they are kept.
        limits: of one image, as of one page.
        max_retries: further tries after a passing failure.
        refresh: ask again for what is there, by its tag.
        offline: ask nobody: what is not there has failed.
    """

    def __init__(
        self, store: ImageStore, limits: PageLimits, *, max_retries: int, refresh: bool, offline: bool
    ) -> None:
        self._store, self._limits = store, limits
        self._max_retries, self._refresh, self._offline = max_retries, refresh, offline
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self.asked = 0

    def get(self, urls: Iterable[str]) -> Iterator[tuple[str, Row]]:
        """Yield each address with its image, or with the ``reason`` why there is none, in the order given."""
        batch: list[str] = []
        for url in urls:
            batch.append(url)
            if len(batch) == BATCH:
                yield from asyncio.run(self._get_batch(batch))
                batch = []
        if batch:
            yield from asyncio.run(self._get_batch(batch))

    async def _get_batch(self, urls: Sequence[str]) -> list[tuple[str, Row]]:
        self._hosts = {}
        room = asyncio.Semaphore(self._limits.max_concurrency)
        async with PageFetcher(self._limits, kinds=(*SUFFIXES, UNNAMED), unnamed=UNNAMED) as fetcher:

            async def one(url: str) -> tuple[str, Row]:
                async with self._hosts.setdefault(host_of(url), asyncio.Semaphore(AT_ONCE_A_HOST)), room:
                    return url, await self._one(fetcher, url)

            return await asyncio.gather(*map(one, urls))

    async def _one(self, fetcher: PageFetcher, url: str) -> Row:
        known = self._store.known(url)
        if known and not self._refresh:
            return known
        if self._offline:
            return known or {"reason": "it is not kept, and nothing is asked (llm.mode: replay)"}
        try:
            entry = await self._fetch(fetcher, url, known)
        except (FetchFailed, BadImage) as error:
            return {"reason": writable(str(error))}
        self._store.note(url, entry)
        return {"url": url, **entry}

    async def _fetch(self, fetcher: PageFetcher, url: str, known: Row | None) -> Row:
        for attempt in range(self._max_retries + 1):
            self.asked += 1
            try:
                fetched = await fetcher.fetch(url, etag=known.get("etag") if known else None)
            except FetchFailed as error:
                if not error.passing or attempt == self._max_retries:
                    raise
                await asyncio.sleep(2.0**attempt / 4)
                continue
            if fetched.unchanged and known:
                return {name: value for name, value in known.items() if name != "url"}
            kept: dict[str, Any] = await asyncio.to_thread(self._store.keep, fetched.body)
            return {**kept, "etag": usable_tag(fetched.etag)}
        raise FetchFailed("it was not tried")
