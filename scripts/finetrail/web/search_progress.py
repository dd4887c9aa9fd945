"""Progress of a step that searches the web: its rows, and the searches, waits and money behind them."""

from collections.abc import Callable
from dataclasses import replace

from finetrail.calls.money import Ledger, notes_of
from finetrail.step.progress import Progress, Standing


class Searching(Progress):
    """Counts rows that have been searched for.

    Args:
        ledger: counts searches and money.
        in_flight: gives the number of searches that the service has at this moment.
        reading: the count of the rows that the step reads; None where it keeps none.
        ended: called when all rows are done.
    """

    def __init__(
        self,
        ledger: Ledger,
        in_flight: Callable[[], int],
        reading: Progress | None,
        ended: Callable[[Progress], None] | None,
    ) -> None:
        super().__init__(reading.label if reading else "rows", None, ended)
        self._ledger = ledger
        self._in_flight = in_flight
        self._reading = reading

    def known_total(self) -> int | None:
        """Return how many rows the step reads; None where that is not known."""
        if self.total is None and self._reading is not None:
            self.total = self._reading.known_total()
        return super().known_total()

    def standing(self, now: float) -> Standing:
        """Return how far the rows are, and the searches behind them."""
        totals = self._ledger.totals() | {"in_flight": self._in_flight()}
        return replace(super().standing(now), notes=notes_of(totals), llm=totals)
