"""Outcomes to be: light, because thousands wait, and each object that waits is walked through by garbage collection."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
_CHANGED = threading.Condition()


class Promise(Generic[T]):
    """Handed to one thread, kept or broken by another; the first word counts."""

    __slots__ = ("_awaited", "_done", "_error", "_outcome", "_then")

    def __init__(self) -> None:
        self._outcome: T | None = None
        self._error: BaseException | None = None
        self._done = False
        self._awaited = False
        self._then: Callable[[], None] | None = None

    def done(self) -> bool:
        """Say whether it has been kept or broken."""
        return self._done

    def keep(self, outcome: T) -> None:
        """Set the outcome."""
        self._settle(outcome, None)

    def fail(self, error: BaseException) -> None:
        """Set the error that `result` raises."""
        self._settle(None, error)

    def result(self) -> T:
        """Wait for the outcome.

        Raises:
            BaseException: what `fail` was called with.
        """
        with _CHANGED:
            self._awaited = True
            while not self._done:
                _CHANGED.wait()
        if self._error is not None:
            raise self._error
        return self._outcome  # type: ignore[return-value]  # None only where T allows it

    def when_done(self, then: Callable[[], None]) -> None:
        """Have something done once it is kept or broken, by the thread that does so; there is room for one."""
        with _CHANGED:
            if not self._done:
                self._then = then
                return
        then()

    def _settle(self, outcome: T | None, error: BaseException | None) -> None:
        with _CHANGED:
            if self._done:
                return
            self._outcome, self._error, self._done = outcome, error, True
            if self._awaited:
                _CHANGED.notify_all()
        if self._then is not None:
            self._then()
