"""Signals that end a step whose event loop runs in the main thread."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_of_runner() -> Iterator[None]:
    """Around an `asyncio.Runner`: SIGTERM does what Ctrl-C does; at the end, it is raised as its own handler does.

    What a handler raises while a loop runs is kept by the task that happens to run, or logged: the step would go on. For
    Ctrl-C, the runner cancels its main task instead, the second time it raises. So SIGTERM is handed on to it.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    before = signal.getsignal(signal.SIGTERM)
    heard = False

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard = True
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)

    signal.signal(signal.SIGTERM, hand_on)
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):  # the latter where it comes before the runner's first step
        if heard and callable(before):
            before(signal.SIGTERM, None)
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)
