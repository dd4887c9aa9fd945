"""The pulse of a job: a thread that shows its progress and keeps its heartbeat file fresh, and ends with it.

On a terminal a line is live; elsewhere the log gets one a minute, also when nothing moves. What works need not know:
it counts, and all else happens here.
"""

import logging
import shutil
import sys
import threading
import time
from typing import TextIO

from finetrail.step.journal import Journal, utc_now
from finetrail.step.progress import Progress, Standing, format_seconds

CHANGES_NO_RESULT = "It shows progress and keeps the heartbeat; nothing reads either to make a row."
LOGGER = logging.getLogger(__name__)
TICK_S = 1.0
LINE_S = 60.0
BEAT_S = 15.0
CLEAR_LINE = "\r\033[K"


class TerminalHandler(logging.StreamHandler[TextIO]):
    """Writes log lines to stderr; on a terminal, over the live line."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._live = sys.stderr.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if self._live:
            self.stream.write(CLEAR_LINE)
        super().emit(record)


class Pulse:
    """Reports the progress of one job.

    Args:
        journal: the job's record, which also knows its heartbeat file.

    Attributes:
        latest: the loop that began last.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.latest: Progress | None = None
        self._leader: Progress | None = None
        self._began: dict[Progress, float] = {}
        self._standing: Standing | None = None
        self._moved_at = utc_now()
        self._line_at = self._beat_at = float("-inf")
        self._live = sys.stderr.isatty()
        self._warned = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, progress: Progress, *, leads: bool = False) -> None:
        """Report a loop from now on.

        Args:
            progress: the loop's count.
            leads: whether the loops that feed it are not worth a report of their own until it ends.
        """
        now = time.monotonic()
        progress.begin(now)
        with self._lock:
            self._began[progress] = now
            if leads:
                self._leader = progress
            else:
                self.latest = progress

    def ended(self, progress: Progress) -> None:
        """Log what a loop came to, unless it fed another."""
        now = time.monotonic()
        with self._lock:
            seconds = now - self._began.pop(progress, now)
            if self._leader not in (None, progress):
                return
            self._leader = None
            self._standing = progress.standing(now)
        LOGGER.info("%s: %d in %s", progress.label, progress.done, format_seconds(seconds))

    def start(self) -> None:
        """Write the first heartbeat and go on in a thread, which dies with the process."""
        self._line_at = time.monotonic()
        self._beat(time.monotonic())
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and write the last heartbeat, with the status that the journal has by now; once."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._live:
            self._write_live("")
        self._beat(time.monotonic())

    def report(self, now: float) -> None:
        """Show and write what is due.

        Args:
            now: the time, by `time.monotonic`.
        """
        with self._lock:
            line = self._look(now)
        if line is not None:
            self._show(line, now)
        if now - self._beat_at >= BEAT_S:
            self._beat(now)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            self.report(time.monotonic())

    def _look(self, now: float) -> str | None:
        """Take down how far the loop is; return a line that says it, or None where there is no loop."""
        progress = self._leader or self.latest
        if progress is None or progress not in self._began:
            return None
        before, self._standing = self._standing, progress.standing(now)
        if before is None or (before.label, before.done) != (self._standing.label, self._standing.done):
            self._moved_at = utc_now()
        return self._standing.line()

    def _show(self, line: str, now: float) -> None:
        if self._live:
            self._write_live(line[: shutil.get_terminal_size().columns - 1])
        elif now - self._line_at >= LINE_S:
            self._line_at = now
            LOGGER.info("%s", line)

    def _write_live(self, line: str) -> None:
        try:
            sys.stderr.write(CLEAR_LINE + line)
            sys.stderr.flush()
        except (OSError, ValueError):  # the terminal is gone; the job and its heartbeat go on
            self._live = False

    def _beat(self, now: float) -> None:
        """Write the heartbeat; that it cannot be written is no reason to end a job."""
        self._beat_at = now
        standing = self._standing
        facts = {} if standing is None else {"progress": standing.facts() | {"moved": self._moved_at}}
        try:
            self._journal.beat(facts | ({"llm": standing.llm} if standing and standing.llm else {}))
        except OSError as error:
            if not self._warned:
                LOGGER.warning("the heartbeat cannot be written: %s", error)
            self._warned = True
