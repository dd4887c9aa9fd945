"""Signals to a step whose event loop runs in the main thread: whenever they come, it ends, and ends in good order."""

import asyncio
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from finetrail.calls.interrupts import InterruptibleRunner


class Ended(BaseException):
    """What the handler of SIGTERM raises."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield
    assert signal.getsignal(signal.SIGTERM) is end and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGTERM, before)


EACH = pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended)])


async def nothing() -> int:
    return 1


async def interrupted_within_a_task(number: signal.Signals) -> None:
    async def inner() -> None:
        signal.raise_signal(number)

    await asyncio.gather(inner(), asyncio.sleep(3600))


@EACH
def test_a_signal_within_a_task_ends_the_run(number: signal.Signals, raised: type[BaseException]) -> None:
    with pytest.raises(raised), InterruptibleRunner() as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(interrupted_within_a_task(number))
        assert runner.finish(nothing()) == 1, "what closes the step still runs"
        runner.run(nothing())


@EACH
def test_a_signal_between_two_runs_is_heard_by_the_next(number: signal.Signals, raised: type[BaseException]) -> None:
    with pytest.raises(raised), InterruptibleRunner() as runner:
        assert runner.run(nothing()) == 1
        signal.raise_signal(number)
        runner.run(nothing())


@EACH
def test_a_signal_at_the_very_end_is_heard(number: signal.Signals, raised: type[BaseException]) -> None:
    async def at_last() -> None:
        signal.raise_signal(number)

    with pytest.raises(raised), InterruptibleRunner() as runner:
        runner.finish(at_last())


@EACH
def test_a_second_signal_ends_what_waits(number: signal.Signals, raised: type[BaseException]) -> None:
    with pytest.raises(raised), InterruptibleRunner() as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(interrupted_within_a_task(number))
        runner.finish(interrupted_within_a_task(number))


def test_an_error_is_an_error() -> None:
    async def wrong() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), InterruptibleRunner() as runner:
        runner.run(wrong())
