"""Requests that wait together are answered together: one thread runs the model, the event loop takes the requests."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

LOGGER = logging.getLogger(__name__)
Job = TypeVar("Job")


class Batches(Generic[Job]):
    """Gathers jobs into batches; lives in one event loop.

    Args:
        work: does a batch, in a thread of its own; one batch at a time.
        size: most jobs of a batch.
        alike: jobs of one batch share this value.
    """

    def __init__(self, work: Callable[[Sequence[Job]], None], size: int, alike: Callable[[Job], object]) -> None:
        self._work, self._size, self._alike = work, size, alike
        self._waiting: deque[tuple[Job, asyncio.Future[None]]] = deque()
        self._thread = ThreadPoolExecutor(1)
        self._runner: asyncio.Task[None] | None = None

    async def do(self, jobs: Sequence[Job]) -> None:
        """Wait until jobs are done, in whatever batches.

        Raises:
            Exception: what the work of one of their batches raised.
        """
        futures = [asyncio.get_running_loop().create_future() for _ in jobs]
        self._waiting.extend(zip(jobs, futures, strict=True))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()  # whoever asked has gone: what has not begun is left out

    async def _run(self) -> None:
        await asyncio.sleep(0)  # what arrived in the same turn of the loop comes along
        while batch := self._next():
            try:
                jobs = [job for job, _ in batch]
                await asyncio.get_running_loop().run_in_executor(self._thread, self._work, jobs)
            except Exception as error:
                LOGGER.exception("a batch of %d answers failed", len(batch))
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for _, future in batch:
                    if not future.done():
                        future.set_result(None)

    def _next(self) -> list[tuple[Job, "asyncio.Future[None]"]]:
        """Take the oldest job and those like it, up to a batch; the others keep their places."""
        batch: list[tuple[Job, asyncio.Future[None]]] = []
        kept: deque[tuple[Job, asyncio.Future[None]]] = deque()
        for job, future in self._waiting:
            if future.done():
                continue
            fits = not batch or self._alike(job) == self._alike(batch[0][0])
            (batch if fits and len(batch) < self._size else kept).append((job, future))
        self._waiting = kept
        return batch
