"""Concurrency that finds the limit by itself: slow start, additive increase, multiplicative decrease."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from finetrail.calls.rate_limit import Pace

FIRST_LIMIT = 4.0
DECREASE = 0.9
PROBE = 0.25
PROBE_A_CALL = 0.01
DEPARTURE = 0.25
HASTE = 1.25
AT_A_STROKE_S = 0.003
RECENT = 0.1


@dataclass(frozen=True)
class Ceilings:
    """Ceilings a minute of one endpoint, shared by its lanes; None where there is none."""

    requests: Pace | None = None
    tokens: Pace | None = None

    @classmethod
    def of(cls, requests_per_minute: int | None, tokens_per_minute: int | None) -> "Ceilings":
        """Make the ceilings that are given."""
        return cls(
            Pace(requests_per_minute) if requests_per_minute else None,
            Pace(tokens_per_minute) if tokens_per_minute else None,
        )

    def wait(self, now: float) -> float:
        """Return the seconds until a call may be sent."""
        return max((pace.wait(now) for pace in (self.requests, self.tokens) if pace), default=0.0)

    def spend(self, tokens: float, now: float) -> None:
        """Count a call that is sent now, with the tokens that it is expected to take."""
        if self.requests:
            self.requests.spend(1.0, now)
        if self.tokens:
            self.tokens.spend(tokens, now)

    def correct(self, tokens: float) -> None:
        """Count tokens beyond those that were expected (below 0: fewer)."""
        if self.tokens:
            self.tokens.correct(tokens)


class Turn:
    """One call that waits for admission, or has been admitted.

    Args:
        tokens: what the call is expected to take, for the ceiling.

    `epoch` is the epoch that it was sent in, `sent_at` the time.
    """

    __slots__ = ("epoch", "sent_at", "tokens")

    def __init__(self, tokens: float = 0.0) -> None:
        self.tokens = tokens
        self.epoch = -1
        self.sent_at = 0.0

    def start(self) -> None:
        """Begin; called when the turn is admitted."""

    def gone(self) -> bool:
        """Say that nobody waits for it any more."""
        return False


class _Entrance(Turn):
    """A turn that a task waits for."""

    __slots__ = ("admitted",)

    def __init__(self, tokens: float) -> None:
        super().__init__(tokens)
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self.admitted.set_result(None)

    def gone(self) -> bool:
        return self.admitted.cancelled()


class Lane:
    """Admits calls to one (endpoint, model); waiting ones in the order of the input.

    The limit on calls under way doubles each round trip until the first refusal (slow start). A refusal multiplies
    what was under way by .9, once for all the calls that were sent before the decrease, and is remembered; from
    then on the limit grows slowly near the level that was refused (so that small limits, too, see few refusals), and
    faster the farther it is from there: what was given up is soon used again, and a limit that has been raised is
    soon found. It grows only while it is what holds calls back.

    After the slow start, calls are sent no faster than a quarter above the rate that the limit and the round trip
    allow. Else those that were answered together would be sent together for ever, and the server would idle while we
    are busy with all of them.

    After a refusal nothing more is sent until the server has taken one of the calls under way. Should it refuse them
    all, it is left alone for as long as it asks; else a refusal keeps nobody waiting but its own call.

    Every turn ends with one of `succeeded`, `failed` and `refused`, and then with `settled` when its answer is
    stored or there is none; never are more than `most` turns not yet settled.

    Args:
        most: the hard bound.
        ceilings: requests and tokens a minute.
        over: says that nothing more will be sent, so that whoever waits may come and hear it at once.

    Attributes:
        answered: calls that the server has answered in any way.
        usable: requests that have an answer of use.
        given_up: requests that have none.
    """

    def __init__(self, most: int, ceilings: Ceilings | None = None, over: Callable[[], bool] | None = None) -> None:
        self.most = most
        self.limit = min(FIRST_LIMIT, float(most))
        self.answered = 0
        self.usable = 0
        self.given_up = 0
        self._ceilings = ceilings or Ceilings()
        self._over = over or (lambda: False)
        self._refused_at: float | None = None
        self._in_doubt = False
        self._shortest_wait = 0.0
        self._epoch = 0
        self._calling = 0
        self._open = 0
        self._round_trip = 0.0
        self._next_at = float("-inf")
        self._paused_until = float("-inf")
        self._alarm: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[int, int, Turn]] = []
        self._ticket = itertools.count()

    @property
    def calling(self) -> int:
        """How many calls are under way."""
        return self._calling

    def queue(self, place: int, turn: Turn) -> None:
        """Let a call wait for its turn; lower places go first."""
        heapq.heappush(self._waiting, (place, next(self._ticket), turn))
        self._admit()

    async def enter(self, place: int, tokens: float = 0.0) -> Turn:
        """Wait for admission.

        Args:
            place: the place in the input.
            tokens: what the call is expected to take, for the ceiling.
        """
        turn = _Entrance(tokens)
        self.queue(place, turn)
        try:
            await turn.admitted
        except asyncio.CancelledError:
            if turn.epoch >= 0:
                self.withdraw(turn)
            raise
        return turn

    def withdraw(self, turn: Turn) -> None:
        """Take back a turn that was admitted, but nothing was sent for."""
        self._ceilings.correct(-turn.tokens)
        self.failed(turn)
        self.settled()

    def succeeded(self, turn: Turn, tokens: float | None = None) -> None:
        """The server answered: try a little more.

        Args:
            turn: the call's turn.
            tokens: what the call took, where the server says so.
        """
        self.answered += 1
        took = asyncio.get_running_loop().time() - turn.sent_at
        self._round_trip += (took - self._round_trip) * (RECENT if self._round_trip else 1.0)
        if self._calling >= int(self.limit):
            self.limit = min(float(self.most), self.limit + self._increase() / self.limit)
        if tokens is not None:
            self._ceilings.correct(tokens - turn.tokens)
        self.failed(turn)

    def failed(self, turn: Turn) -> None:
        """The server took the call, which says nothing more about the limit."""
        self._in_doubt = False
        self._leave()

    def refused(self, turn: Turn, wait: float) -> None:
        """The server was asked too much: try less.

        Args:
            turn: the call's turn.
            wait: for how many seconds the server asks to be left alone.
        """
        self._ceilings.correct(-turn.tokens)
        if turn.epoch == self._epoch:
            self._epoch += 1
            if not self._in_doubt:
                self._shortest_wait = wait
            self._in_doubt = True
            self._refused_at = min(self.limit, float(self._calling))
            self.limit = max(1.0, min(self._refused_at * DECREASE, self._refused_at - 1.0))
        elif self._in_doubt:  # of one burst: the limit is where its first refusal would have been alone
            self._refused_at = float(self._calling)
            self.limit = max(1.0, min(self.limit, self._calling - 1.0))
        self._shortest_wait = min(self._shortest_wait, wait)
        if self._in_doubt and self._calling == 1:
            self._paused_until = asyncio.get_running_loop().time() + self._shortest_wait
            self._in_doubt = False
        self._leave()

    def settled(self) -> None:
        """The answer is stored, or there is none."""
        self._open -= 1
        self._admit()

    def _increase(self) -> float:
        """Return by how much the limit grows in a round trip."""
        if self._refused_at is None:
            return self.limit
        probe = min(PROBE, self.limit * PROBE_A_CALL)
        return max(probe, self._refused_at - 1.0 - self.limit, (self.limit - self._refused_at) * DEPARTURE)

    def _spacing(self) -> float:
        """Return the seconds between two calls that are sent."""
        if self._refused_at is None and self.limit < self.most:
            return 0.0  # in the slow start, a limit that holds nobody back would not grow
        return self._round_trip / self.limit / HASTE

    def _leave(self) -> None:
        self._calling -= 1
        self._admit()

    def _has_room(self) -> bool:
        return self._calling < int(self.limit) and self._open < self.most and not self._in_doubt

    def _admit(self) -> None:
        """Let in whom limit, bound, pause and ceilings allow; be back when the latter two do."""
        while self._waiting and self._has_room():
            turn = self._waiting[0][2]
            if turn.gone():
                heapq.heappop(self._waiting)
                continue
            now = asyncio.get_running_loop().time()
            ready_at = max(self._paused_until, self._next_at, now + self._ceilings.wait(now))
            if ready_at > now and not self._over():
                self._set_alarm(ready_at)
                return
            heapq.heappop(self._waiting)
            self._calling += 1
            self._open += 1
            self._ceilings.spend(turn.tokens, now)
            turn.epoch = self._epoch
            turn.sent_at = now
            self._next_at = max(self._next_at, now - AT_A_STROKE_S) + self._spacing()
            turn.start()

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            if self._alarm.when() <= when:
                return
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(when, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._admit()
