"""The text of a page: HTML to title and main text by trafilatura (Barbaresi, ACL 2021), in processes of their own."""

import asyncio
import faulthandler
import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from finetrail.web.fetch import HTML_TYPES, Fetched, FetchFailed

LONGEST_TEXT = 1_000_000
LONGEST_TITLE = 500
PATIENCE_S = 30
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
    """Processes that extract, so that a page that breaks the parser, or takes too long, harms no other.

    Args:
        most: processes.
        work: what they do with a page.
    """

    def __init__(self, most: int, work: Callable[[Fetched], PageText] | None = None) -> None:
        self._most = most
        self._work = work or _extract_in_time
        self._pool: ProcessPoolExecutor | None = None

    async def extract(self, page: Fetched) -> PageText:
        """Extract a page's text.

        Raises:
            FetchFailed: the page takes too long, or the parser does not stand it.
        """
        if self._pool is None:
            self._pool = _processes(self._most)
        pool, loop = self._pool, asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(pool, self._work, page)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
        alone = _processes(1)  # some page broke the pool under all of its pages: was it this one?
        try:
            return await loop.run_in_executor(alone, self._work, page)
        except BrokenProcessPool:
            raise FetchFailed("its text cannot be extracted (the parser crashed or hung)") from None
        finally:
            alone.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _processes(most: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(most, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    """Leave interrupts to the parent, which ends us."""
    import logging

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _too_long)
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it would tell of every odd page


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


def _extract_in_time(page: Fetched) -> PageText:
    signal.alarm(PATIENCE_S)
    with Path(os.devnull).open("w") as nowhere:
        # within C code an alarm waits for ever; this ends the process
        faulthandler.dump_traceback_later(2 * PATIENCE_S, exit=True, file=nowhere)
        return _extract_named(page)


def _extract_named(page: Fetched) -> PageText:
    try:
        return extract(page)
    except TimeoutError:
        raise FetchFailed(f"its text cannot be extracted within {PATIENCE_S} s") from None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, AssertionError) as error:
        raise FetchFailed(f"its text cannot be extracted ({type(error).__name__})") from None
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
