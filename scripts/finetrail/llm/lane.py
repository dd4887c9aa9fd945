"""Concurrency that finds the limit by itself: additive increase, multiplicative decrease, a lane a model."""

import asyncio
import heapq
import itertools

FIRST_LIMIT = 4.0
DECREASE = 0.9


class Lane:
    """Admits calls to one (endpoint, model).

    The limit on calls under way doubles each round trip until the first refusal (slow start), then grows by
    one a round trip; a refusal multiplies it by .9, once for all the calls that were sent before it. Apart
    from it, never more than `most` calls are sent and not yet safely stored. Waiting calls are admitted in
    the order of the input.

    Args:
        most: the hard bound.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(FIRST_LIMIT, float(most))
        self.answered = 0
        self.given_up = 0
        self._slow_start = True
        self._epoch = 0
        self._calling = 0
        self._open = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ticket = itertools.count()

    async def enter(self, place: int) -> int:
        """Wait for admission; lower places go first. Returns the epoch, which `refused` wants back."""
        if not self._may_start() or self._waiting:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (place, next(self._ticket), turn))
            self._admit()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._calling -= 1
                    self._open -= 1
                    self._admit()
                raise
        else:
            self._calling += 1
            self._open += 1
        return self._epoch

    def called(self) -> None:
        """Give the call's place to the next one: the server has answered, or failed."""
        self._calling -= 1
        self._admit()

    def settled(self) -> None:
        """The answer is stored, or there is none."""
        self._open -= 1
        self._admit()

    def succeeded(self) -> None:
        """The server answered: try a little more."""
        self.answered += 1
        self.limit = min(float(self.most), self.limit + (1.0 if self._slow_start else 1.0 / self.limit))

    def refused(self, epoch: int) -> None:
        """The server was asked too much by a call of this epoch: try less."""
        self._slow_start = False
        if epoch == self._epoch:
            self._epoch += 1
            self.limit = max(1.0, min(self.limit, self._calling + 1.0) * DECREASE)

    def _may_start(self) -> bool:
        return self._calling < int(self.limit) and self._open < self.most

    def _admit(self) -> None:
        while self._waiting and self._may_start():
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                self._calling += 1
                self._open += 1
                turn.set_result(None)
