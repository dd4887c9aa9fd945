"""Progress of a long loop: rate and time left, live on a terminal, a line a minute elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)
LINE_SECONDS = 60.0
BEAT_SECONDS = 10.0


def format_seconds(seconds: float) -> str:
    """Render a duration as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progress_line(label: str, done: int, total: int | None, seconds: float) -> str:
    """Render one line of progress: how many of how many, rows a second, time left."""
    rate = done / seconds if seconds > 0 else 0.0
    if total is None:
        return f"{label}: {done} done, {rate:.1f}/s"
    left = format_seconds((total - done) / rate) if rate > 0 else "unknown"
    return f"{label}: {done}/{total}, {rate:.1f}/s, {left} left"


class Progress:
    """Counts finished items and reports them at fixed intervals.

    Args:
        label: what is counted.
        total: how many there will be, when that is known.
        beat: called with (label, done, total) at most every ten seconds: the heartbeat of the job.
    """

    def __init__(
        self, label: str, total: int | None, beat: Callable[[str, int, int | None], None] | None = None
    ) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self._beat = beat
        self._started = self._line_at = self._beat_at = time.monotonic()
        self._live = sys.stderr.isatty()

    def advance(self, count: int = 1) -> None:
        """Count finished items, and report when a report is due."""
        self.done += count
        now = time.monotonic()
        if self._live:
            line = progress_line(self.label, self.done, self.total, now - self._started)
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()
        elif now - self._line_at >= LINE_SECONDS:
            self._line_at = now
            LOGGER.info("%s", progress_line(self.label, self.done, self.total, now - self._started))
        if self._beat and now - self._beat_at >= BEAT_SECONDS:
            self._beat_at = now
            self._beat(self.label, self.done, self.total)

    def close(self) -> None:
        """Report the final count."""
        seconds = time.monotonic() - self._started
        if self._live:
            sys.stderr.write("\r\033[K")
        LOGGER.info("%s: %d in %s", self.label, self.done, format_seconds(seconds))

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Pass items through and count them."""
        for item in items:
            yield item
            self.advance()
        self.close()
