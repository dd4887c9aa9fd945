"""Why an attempt at a training fails: what another attempt may mend, and what the same inputs give again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from finetrail.errors import FinetrailError

CHANGES_NO_RESULT = "It tells failures apart; an attempt that fails publishes nothing."


class Stopped(FinetrailError):
    """The attempt had to end before the training; the next one continues from the newest checkpoint."""


class InputFault(FinetrailError):
    """A fault of data or settings: every attempt with the same inputs would meet it."""


_KINDS: tuple[type[FinetrailError], ...] = (Stopped, InputFault, FinetrailError)


@contextmanager
def fault_of_inputs() -> Iterator[None]:
    """Take a refusal within for a fault of data or settings.

    Raises:
        InputFault: in the words of the refusal.
    """
    try:
        yield
    except FinetrailError as error:
        raise InputFault(error.cause, where=error.where, hint=error.hint) from error


def failure_as_plain(error: FinetrailError) -> dict[str, Any]:
    """Render a failure as JSON can hold it."""
    kind = next(kind for kind in _KINDS if isinstance(error, kind))
    return {"kind": kind.__name__, "cause": error.cause, "where": error.where, "hint": error.hint}


def failure_from_plain(plain: Mapping[str, Any]) -> FinetrailError:
    """Read what `failure_as_plain` rendered."""
    kinds = {kind.__name__: kind for kind in _KINDS}
    return kinds[plain["kind"]](plain["cause"], where=plain["where"], hint=plain["hint"])
