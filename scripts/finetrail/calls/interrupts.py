"""An event loop in the main thread that signals end in good order."""

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptibleRunner:
    """Runs coroutines in one loop; Ctrl-C and SIGTERM cancel the one that runs. Use as a context manager.

    What a handler raises while a loop runs is kept by whichever task runs, or logged, and the step goes on; and
    `asyncio.Runner`, made for one coroutine, leaves a stopped loop behind where a signal comes between two of them. So
    nothing is raised within the loop. At the end, SIGTERM is raised as its own handler does.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[Any] | None = None
        self._heard: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "InterruptibleRunner":
        self._runner.__enter__()
        self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.__exit__(kind, error, trace)
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if self._heard and (kind is None or issubclass(kind, KeyboardInterrupt)):
            handler = self._before[self._heard[0]]
            if callable(handler):
                handler(self._heard[0], None)
            raise KeyboardInterrupt

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self._runner.get_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result.

        Raises:
            KeyboardInterrupt: a signal came, now or before.
        """
        if self._heard:
            coroutine.close()
            raise KeyboardInterrupt
        result = self.finish(coroutine)
        if self._heard:
            raise KeyboardInterrupt
        return result

    def finish(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, though a signal has come before.

        Raises:
            KeyboardInterrupt: another one came.
        """
        loop = self.get_loop()
        task = loop.create_task(coroutine)
        self._task = task
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if not self._heard:
                raise
            raise KeyboardInterrupt from None
        finally:
            self._task = None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard.append(number)
        if self._task is not None:
            self.get_loop().call_soon_threadsafe(self._task.cancel)
