"""The control law of concurrency, and how replies are read for waiting times, keys and causes."""

import asyncio
from datetime import UTC, datetime

import pytest

from finetrail.llm.caller import read_replies
from finetrail.llm.faults import Failed, Fault, redact, retry_after_seconds
from finetrail.llm.lane import Lane


def test_slow_start_then_decrease_once_for_all_that_was_sent_before() -> None:
    async def scenario() -> None:
        lane = Lane(64)
        assert lane.limit == 4
        for _ in range(4):
            lane.succeeded()
        assert lane.limit == 8
        epochs = [await lane.enter(place) for place in range(8)]
        for epoch in epochs:
            lane.refused(epoch)
        assert lane.limit == pytest.approx(8 * 0.9)
        lane.succeeded()
        assert lane.limit == pytest.approx(7.2 + 1 / 7.2)

    asyncio.run(scenario())


def test_the_limit_stays_between_one_and_the_bound() -> None:
    async def scenario() -> None:
        lane = Lane(6)
        for _ in range(100):
            lane.succeeded()
        assert lane.limit == 6
        for place in range(60):
            lane.refused(await lane.enter(place))
            lane.called()
            lane.settled()
        assert lane.limit == 1

    asyncio.run(scenario())


def test_earlier_rows_go_first_and_cancelled_ones_free_their_place() -> None:
    async def scenario() -> None:
        lane = Lane(1)
        order: list[int] = []

        async def call(place: int) -> None:
            await lane.enter(place)
            order.append(place)
            await asyncio.sleep(0)
            lane.called()
            lane.settled()

        await lane.enter(0)
        tasks = [asyncio.create_task(call(place)) for place in (5, 3, 4, 1)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.sleep(0)
        lane.called()
        lane.settled()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [3, 4, 5]
        await asyncio.wait_for(call(9), 1)

    asyncio.run(scenario())


def test_an_answer_that_is_not_yet_stored_keeps_its_place() -> None:
    async def scenario() -> None:
        lane = Lane(1)
        await lane.enter(0)
        lane.called()
        waiting = asyncio.create_task(lane.enter(1))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        lane.settled()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:10 GMT"}, 10.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_waiting_times_are_seconds_or_dates(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_keys_are_taken_out_of_messages() -> None:
    said = redact("Incorrect key token-1 provided: sk-abc*****wxyz.\n See", "token-1")
    assert said == "Incorrect key <key> provided: <key> See"
    assert len(redact("x" * 5000, "none")) < 500


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "foreign"),
        (b"[1]", "foreign"),
        (b'{"choices": []}', "foreign"),
        (b'{"choices": [{"message": {"content": null, "refusal": "no"}}]}', "row"),
        (b'{"choices": [{"message": {"content": "  "}, "finish_reason": "content_filter"}]}', "row"),
    ],
)
def test_replies_without_an_answer(body: bytes, kind: str) -> None:
    if kind == "foreign":
        with pytest.raises(Failed) as caught:
            read_replies(body)
        assert caught.value.fault.kind == kind
        return
    (fault,) = read_replies(body)
    assert isinstance(fault, Fault)
    assert fault.kind == kind
