"""The text of a page: HTML to title and main text by trafilatura (Barbaresi, ACL 2021), in processes of their own."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple, cast

from finetrail.isolated import Bounds, Failed, Workers
from finetrail.web.fetch import HTML_TYPES, Fetched, FetchFailed

LONGEST_TEXT = 1_000_000
LONGEST_TITLE = 500
BOUNDS = Bounds(seconds=30.0, memory_bytes=700_000_000)
HEAD_BYTES = 2048
META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)
SPACE = re.compile(r"\s+")


class PageText(NamedTuple):
    """What a page says; the text is empty where the extractor finds none."""

    title: str
    text: str


@cache
def extractor_name() -> str:
    """Name the extractor and its version: part of every page's key."""
    from importlib.metadata import version

    return f"trafilatura {version('trafilatura')}, tables, no comments"


def decode(page: Fetched) -> str:
    """Decode a body by what its server says, else as UTF-8, by its own word, or by a guess."""
    from trafilatura.utils import detect_encoding

    own = META_CHARSET.search(page.body[:HEAD_BYTES])
    named = [page.charset, "utf-8-sig", own[1].decode("ascii") if own else None]
    for name in filter(None, named):
        try:
            return page.body.decode(name)
        except (LookupError, UnicodeError, ValueError):
            continue
    for name in detect_encoding(page.body):
        try:
            return page.body.decode(name)
        except (LookupError, UnicodeError, ValueError):
            continue
    return page.body.decode("utf-8", "replace")


def extract(page: Fetched) -> PageText:
    """Return title and main text of a page, with entities decoded; both are cut at a bound."""
    # a decoder may let half of a surrogate pair through, which is no text
    source = decode(page).encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    if page.kind not in HTML_TYPES:
        return PageText("", source.strip()[:LONGEST_TEXT])
    from trafilatura import extract as main_text
    from trafilatura.metadata import extract_title
    from trafilatura.utils import load_html

    tree = load_html(source)
    if tree is None:
        return PageText("", "")
    title = SPACE.sub(" ", extract_title(tree) or "").strip()
    text = main_text(tree, include_comments=False, include_tables=True) or ""
    return PageText(title[:LONGEST_TITLE], text.strip()[:LONGEST_TEXT])


class Extractors:
    """Processes that extract, so that a page that breaks the parser, or takes too much, harms no other.

    Args:
        most: processes.
        work: what they do with a page.
        bounds: what one page may take.
    """

    def __init__(
        self, most: int, work: Callable[[Fetched], PageText] | None = None, bounds: Bounds | None = None
    ) -> None:
        self._workers = Workers(most, work or extract, bounds or BOUNDS)
        self._threads = ThreadPoolExecutor(most)

    async def extract(self, page: Fetched) -> PageText:
        """Extract a page's text.

        Raises:
            FetchFailed: the page takes too long or too much memory, or the parser does not stand it.
        """
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._workers.run, page)
        if isinstance(found, Failed):
            raise FetchFailed(f"its text cannot be extracted ({found.reason})")
        return cast(PageText, found)

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._workers.close()
