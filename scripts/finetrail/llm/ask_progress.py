"""Progress of a step that asks a model: its rows, and the calls, waits and money behind them."""

import math
from collections.abc import Callable

from finetrail.calls.money import notes_of
from finetrail.llm.engine import Engine
from finetrail.step.progress import Progress, Recent, Standing


class Asking(Progress):
    """Counts rows that have all their answers.

    The time left comes from the calls that are still to be made and the rate at which calls are answered of late. Rows
    that the store answers count for nothing there: a run that is resumed passes the paid rows in a second, which says
    nothing about the rest.

    Args:
        engine: what answers.
        reading: gives the count of the rows that the step reads, not all of which need be asked about; None where
            it keeps none, or has not begun.
        ended: called when all rows are answered.

    Attributes:
        asked: rows whose requests the engine has taken.
        all_asked: whether there will be no more of them.
    """

    def __init__(
        self, engine: Engine, reading: Callable[[], Progress | None], ended: Callable[[Progress], None] | None
    ) -> None:
        super().__init__("rows", None, ended)
        self.asked = 0
        self.all_asked = False
        self._engine = engine
        self._reading = reading
        self._calls = Recent(0.0)

    def begin(self, now: float) -> None:
        """Say when the loop begins."""
        super().begin(now)
        self._calls = Recent(now)

    def standing(self, now: float) -> Standing:
        """Return how far the rows are, and the calls behind them."""
        totals = self._engine.totals | {"in_flight": self._engine.in_flight()}
        done, asked = self.done, self.asked
        total, is_estimate = self._expected(asked)
        settled = totals["calls_made"] - totals["repairs"] - totals["unusable"] + totals["failures"]
        calls_a_second = self._calls.rate(settled, now)
        rows_a_second = self._recent.rate(done, now)
        left = None
        if total is not None:
            requests = (total - asked) * self._engine.outlook.requests / max(1, asked)
            calls = self._engine.outlook.calls_left(settled, requests)
            left = _quotient(calls, calls_a_second) if calls >= 1 else _quotient(total - done, rows_a_second)
        rates = f" ({calls_a_second:.1f} calls/s)"
        return Standing(self.label, done, total, rows_a_second, left, is_estimate, rates, notes_of(totals), totals)

    def most(self) -> int | None:
        """Return how many rows can be asked about at most; None where that is not known yet.

        A row that is read may become several to ask about; those to come are taken to be no more than those so far.
        """
        if self.all_asked:
            return self.asked
        reading = self._reading()
        of = reading.known_total() if reading else None
        if not reading or not of or not self.asked:
            return None
        read = reading.done + 1  # the row at hand is read, and not yet counted there
        return self.asked + (of - read) * math.ceil(self.asked / read) if read < of else None

    def _expected(self, asked: int) -> tuple[int | None, bool]:
        """Return how many rows there will be, and whether this is an estimate from the share that was asked about."""
        if self.all_asked:
            return asked, False
        reading = self._reading()
        of = reading.known_total() if reading else None
        if not reading or not of or not asked:
            return None, False
        self.label = reading.label
        read = min(of, reading.done + 1)  # the row at hand is read, and not yet counted there
        return max(asked, round(asked * of / read)), asked < read


def _quotient(work: float, rate: float) -> float | None:
    if work <= 0:
        return 0.0
    return work / rate if rate > 0 else None
