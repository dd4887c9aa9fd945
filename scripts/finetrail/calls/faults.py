"""What went wrong with an attempt, in any protocol, and what follows from it: try again, or give up the row."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

OVERLOADED = {429, 503, 529}
RETRIED = {408, 409, 425}
# What an error within a reply of status 200 means, by the words that providers use; the first that fits.
STATUS_OF_WORDS = (
    (re.compile(r"rate.?limit|too.?many.?requests|insufficient.?quota|resource.?exhausted", re.I), 429),
    (re.compile(r"overloaded|unavailable|no capacity", re.I), 503),
    (re.compile(r"authentication|unauthori[sz]ed|invalid.?api.?key", re.I), 401),
    (re.compile(r"model.?not.?found", re.I), 404),
    (re.compile(r"context.?length|invalid.?request", re.I), 400),
)


@dataclass(frozen=True)
class Fault:
    """One failed attempt.

    `kind`: `retry` (try again), `limited` (the server was asked too much), `unreachable` (nobody listens),
    `foreign` (who listens does not speak the protocol), `row` (only this row is at fault), `unasked` (the budget
    allows no attempt). `retry_after` is in seconds, as the server asked.
    """

    kind: Literal["retry", "limited", "unreachable", "foreign", "row", "unasked"]
    error: str
    retry_after: float | None = None

    def concerns_all(self, *, hopeless: bool, answered: bool) -> bool:
        """Say whether every other row would meet it too.

        Args:
            hopeless: this row has been tried often enough.
            answered: the server has answered some row.
        """
        if self.kind == "unreachable":
            return hopeless or not answered
        return self.kind == "foreign" and hopeless and not answered


UNASKED = Fault("unasked", "the budget of the run is spent")


class Failed(Exception):
    """An attempt failed in a way that does not stop the run; `attempts` were made once the row is given up."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.error)
        self.fault = fault
        self.attempts = 0


def fault_of_status(status: int, said: str, wait: float | None) -> Fault:
    """Decide what follows from an HTTP status that stops nobody else."""
    if status in OVERLOADED:
        return Fault("limited", said, wait)
    return Fault("retry" if status in RETRIED or status >= 500 else "row", said, wait)


def status_of_error(error: Any) -> int | None:
    """Return the HTTP status that an error within a reply of status 200 stands for; None where it does not say."""
    fields = error if isinstance(error, Mapping) else {"message": error}
    labels = [fields.get(name) for name in ("code", "status", "type", "message")]
    for label in labels[:2]:
        if isinstance(label, int | str) and re.fullmatch(r"[45]\d\d", str(label)):
            return int(label)
    said = " ".join(label for label in labels if isinstance(label, str))
    return next((status for words, status in STATUS_OF_WORDS if words.search(said)), None)


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read for how long a server asks to wait: `retry-after-ms` or `Retry-After` (RFC 9110), in seconds."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
            return float(value)
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
