"""The control law of concurrency, on a clock that jumps: no test waits, and none depends on how fast the machine is."""

import asyncio
import itertools
import random
from dataclasses import dataclass, field

import pytest

from finetrail.calls.concurrency import Ceilings, Lane, Turn
from finetrail.calls.rate_limit import Pace
from tests.unit.llm.virtual_clock import run_virtually

RETRY_AFTER_S = 1.0


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Server:
    """Allows so many at once, refuses the rest in a millisecond, and notes who was busy when."""

    at_once: int
    latency_s: float = 0.1
    busy: int = 0
    most: int = 0
    refusals: list[float] = field(default_factory=list)
    refused_calls: int = 0
    taken: list[float] = field(default_factory=list)
    slot_seconds: float = 0.0

    async def call(self) -> bool:
        if self.busy >= self.at_once:
            self.refusals.append(now())
            await asyncio.sleep(0.001)
            return False
        self.taken.append(now())
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(self.latency_s)
        self.slot_seconds += self.latency_s
        self.busy -= 1
        return True


async def ask(lane: Lane, server: Server, place: int, wait: float = RETRY_AFTER_S) -> None:
    """Ask until the server takes the call, as `Caller` does."""
    while True:
        turn = await lane.enter(place)
        if await server.call():
            lane.succeeded(turn)
            lane.settled()
            return
        lane.refused(turn, wait)
        lane.settled()
        await asyncio.sleep(wait)


async def admitted(lane: Lane, count: int) -> list[Turn]:
    return [await lane.enter(place) for place in range(count)]


def leave(lane: Lane, turn: Turn) -> None:
    lane.succeeded(turn)
    lane.settled()


def test_slow_start_doubles_each_round_trip() -> None:
    async def scenario() -> None:
        lane, server = Lane(1000), Server(at_once=10_000)
        tasks = [asyncio.create_task(ask(lane, server, place)) for place in range(3000)]
        await asyncio.sleep(0.05)
        limits = []
        for _ in range(6):
            limits.append(lane.limit)
            await asyncio.sleep(server.latency_s)
        assert limits[0] == 4
        assert all(1.8 <= later / earlier <= 2 for earlier, later in itertools.pairwise(limits)), limits
        await asyncio.gather(*tasks)

    run_virtually(scenario())


def test_the_limit_does_not_grow_while_it_holds_nobody_back() -> None:
    async def scenario() -> None:
        lane = Lane(64)
        for place in range(50):
            leave(lane, await lane.enter(place))
        assert lane.limit == 4

    run_virtually(scenario())


def test_a_decrease_counts_once_for_all_that_was_sent_before_it() -> None:
    async def scenario() -> None:
        lane = Lane(64)
        lane.limit = 20.0
        turns = await admitted(lane, 20)
        lane.refused(turns[0], 1.0)
        assert lane.limit == pytest.approx(18)
        leave(lane, turns[1])
        after = lane.limit
        for turn in turns[2:6]:
            lane.refused(turn, 1.0)
        assert lane.limit == after < 19
        lane.refused(await lane.enter(20), 1.0)
        assert lane.limit < after * 0.95, "a call that was sent after the decrease counts again"

    run_virtually(scenario())


def test_a_burst_of_refusals_tells_how_many_were_taken() -> None:
    async def scenario() -> None:
        lane = Lane(256)
        lane.limit = 100.0
        turns = await admitted(lane, 100)
        for turn in turns[:36]:
            lane.refused(turn, 1.0)
        assert lane.limit == pytest.approx(64)

    run_virtually(scenario())


def test_the_limit_stays_between_one_and_the_bound() -> None:
    async def scenario() -> None:
        lane = Lane(6)
        server = Server(at_once=1000)
        await asyncio.gather(*(ask(lane, server, place) for place in range(300)))
        assert (lane.limit, server.most) == (6, 6)
        for place in range(60):
            lane.refused(await lane.enter(place), 0.0)
            lane.settled()
        assert lane.limit == 1

    run_virtually(scenario())


def test_a_refusal_does_not_idle_the_others() -> None:
    async def scenario() -> None:
        lane, server = Lane(256), Server(at_once=64)
        await asyncio.gather(*(ask(lane, server, place, wait=50.0) for place in range(5000)))
        assert len(server.taken) == 5000
        first = server.refusals[0]
        for begin in itertools.takewhile(lambda at: at < 6.0, itertools.count(first, 0.2)):
            assert sum(begin <= at < begin + 0.2 for at in server.taken) > 64, f"idle at {begin}"

    run_virtually(scenario())


def test_a_server_that_refuses_all_is_left_alone_for_as_long_as_it_asks() -> None:
    async def scenario() -> None:
        lane, server = Lane(64), Server(at_once=0)
        tasks = [asyncio.create_task(ask(lane, server, place, wait=30.0)) for place in range(500)]
        await asyncio.sleep(29.0)
        assert len(server.refusals) <= 4, "500 calls waited, four were sent"
        await asyncio.sleep(60.0)
        assert len(server.refusals) <= 12
        server.at_once = 500
        await asyncio.gather(*tasks)
        assert len(server.taken) == 500

    run_virtually(scenario())


def test_of_several_times_to_wait_the_shortest_holds_the_lane() -> None:
    async def scenario() -> None:
        lane = Lane(64)
        for turn, wait in zip(await admitted(lane, 3), (1e9, 2.0, 1e8), strict=True):
            lane.refused(turn, wait)
            lane.settled()
        await lane.enter(9)
        assert now() == pytest.approx(2.0)

    run_virtually(scenario())


@pytest.mark.parametrize("at_once", [1, 3, 64, 200])
def test_the_limit_is_found_and_used(at_once: int) -> None:
    async def scenario() -> None:
        lane, server = Lane(256), Server(at_once=at_once)
        rows = at_once * 150
        await asyncio.gather(*(ask(lane, server, place) for place in range(rows)))
        assert len(server.taken) == rows
        start = server.refusals[0]
        end = max(server.taken) - 1.2  # what was refused last comes alone
        used = sum(0.1 for at in server.taken if start <= at < end) / at_once
        assert used / (end - start) >= (0.94 if at_once >= 64 else 0.75)
        assert len(server.refusals) < rows * 0.05 + 5

    run_virtually(scenario())


def test_a_limit_that_is_raised_is_found_again() -> None:
    async def scenario() -> None:
        lane, server = Lane(256), Server(at_once=20)
        tasks = [asyncio.create_task(ask(lane, server, place)) for place in range(4000)]
        while not server.refusals:
            await asyncio.sleep(0.1)
        server.at_once = 150
        await asyncio.sleep(5.0)
        assert server.most > 120
        await asyncio.gather(*tasks)

    run_virtually(scenario())


def test_those_answered_together_are_not_sent_together_for_ever() -> None:
    async def scenario() -> None:
        lane, server = Lane(40), Server(at_once=1000)
        lane.limit = 40.0
        await asyncio.gather(*(ask(lane, server, place) for place in range(4000)))
        late = [at for at in server.taken if 5.0 <= at < 6.0]
        assert len(late) == pytest.approx(400, rel=0.05)
        fullest = max(sum(begin <= at < begin + 0.01 for at in late) for begin in late)
        assert fullest <= 10, "a tenth of a round trip sees no more than a quarter of the calls"

    run_virtually(scenario())


def test_earlier_rows_go_first_and_cancelled_ones_free_their_place() -> None:
    async def scenario() -> None:
        lane = Lane(1)
        order: list[int] = []

        async def call(place: int) -> None:
            turn = await lane.enter(place)
            order.append(place)
            await asyncio.sleep(0)
            leave(lane, turn)

        first = await lane.enter(0)
        tasks = [asyncio.create_task(call(place)) for place in (5, 3, 4, 1)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.sleep(0)
        leave(lane, first)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [3, 4, 5]
        await asyncio.wait_for(call(9), 1)

    run_virtually(scenario())


def test_a_call_that_is_cancelled_when_it_is_admitted_gives_its_place_back() -> None:
    async def scenario() -> None:
        lane = Lane(1)
        first = await lane.enter(0)
        second = asyncio.create_task(lane.enter(1))
        await asyncio.sleep(0)
        leave(lane, first)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await asyncio.wait_for(lane.enter(2), 1)

    run_virtually(scenario())


def test_an_answer_that_is_not_yet_stored_keeps_its_place() -> None:
    async def scenario() -> None:
        lane = Lane(1)
        lane.succeeded(await lane.enter(0))
        waiting = asyncio.create_task(lane.enter(1))
        await asyncio.sleep(10)
        assert not waiting.done()
        lane.settled()
        await asyncio.wait_for(waiting, 1)

    run_virtually(scenario())


def busiest_minute(at: list[float], amounts: list[float]) -> float:
    return max(sum(amount for when, amount in zip(at, amounts, strict=True) if s <= when < s + 60) for s in at)


@pytest.mark.parametrize("ceiling", [6, 120, 1000])
def test_no_minute_sees_more_requests_than_the_ceiling_and_hardly_fewer(ceiling: int) -> None:
    async def scenario() -> None:
        lane, server = Lane(50, Ceilings.of(ceiling, None)), Server(at_once=1000)
        await asyncio.gather(*(ask(lane, server, place) for place in range(ceiling * 3)))
        assert ceiling * 0.98 - 1 <= busiest_minute(server.taken, [1.0] * len(server.taken)) <= ceiling
        assert max(server.taken) < 60 * 3.1

    run_virtually(scenario())


def test_no_minute_sees_more_tokens_than_the_ceiling_but_for_the_last_call() -> None:
    async def scenario() -> None:
        lane = Lane(20, Ceilings.of(None, 10_000))
        drawn = random.Random(1)
        at: list[float] = []
        tokens: list[float] = []

        async def call(place: int) -> None:
            turn = await lane.enter(place, 900.0)
            took = drawn.randint(50, 400)  # fewer than were expected: the rest is given back
            at.append(now())
            tokens.append(took)
            await asyncio.sleep(0.2)
            lane.succeeded(turn, took)
            lane.settled()

        await asyncio.gather(*(call(place) for place in range(200)))
        assert busiest_minute(at, tokens) <= 10_000 + 400
        assert sum(tokens) / (max(at) / 60) > 9_000

    run_virtually(scenario())


def test_when_nothing_more_is_sent_nobody_waits_for_a_ceiling() -> None:
    async def scenario() -> None:
        spent = False
        lane = Lane(4, Ceilings.of(60, None), lambda: spent)
        left: list[float] = []

        async def row(place: int) -> None:
            nonlocal spent
            turn = await lane.enter(place)
            if spent:
                lane.withdraw(turn)
                left.append(now())
                return
            await asyncio.sleep(0.5)
            spent = place == 2
            leave(lane, turn)

        await asyncio.gather(*(row(place) for place in range(500)))
        assert len(left) == 497 and max(left) < 5.0, "not the eight minutes that their calls would have taken"

    run_virtually(scenario())


def test_two_models_of_one_endpoint_share_its_ceiling() -> None:
    async def scenario() -> None:
        ceilings = Ceilings.of(60, None)
        server = Server(at_once=1000)
        lanes = [Lane(10, ceilings), Lane(10, ceilings)]
        await asyncio.gather(*(ask(lanes[place % 2], server, place) for place in range(180)))
        assert busiest_minute(server.taken, [1.0] * 180) <= 60

    run_virtually(scenario())


def test_a_pace_catches_up_no_more_than_a_moment() -> None:
    pace = Pace(600)
    assert pace.wait(0.0) == 0
    pace.spend(1, 0.0)
    assert pace.wait(0.0) > 0
    free = 1000.0
    sent = 0
    while pace.wait(free) == 0:
        pace.spend(1, free)
        sent += 1
    assert sent <= 2
