"""Group commit: answers that arrive within a few milliseconds share one fsync, and count only after it."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore

WINDOW_S = 0.01


class Committer:
    """Writes answers to the store in batches, from one event loop."""

    def __init__(self, store: CallStore) -> None:
        self._store = store
        self._pending: list[tuple[StoredCall, asyncio.Future[StoredCall]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="call-store")

    async def commit(self, call: StoredCall) -> StoredCall:
        """Return, when an answer is on the disk, what readers get: another's where that was there before.

        Raises:
            FinetrailError: the store cannot be written.
        """
        done: asyncio.Future[StoredCall] = asyncio.get_running_loop().create_future()
        self._pending.append((call, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await done

    async def finish(self) -> None:
        """Write what is pending, whether or not anyone still waits for it."""
        if self._flusher is not None:
            await self._flusher
        self._thread.shutdown()

    async def _flush(self) -> None:
        while self._pending:
            await asyncio.sleep(WINDOW_S)
            batch, self._pending = self._pending, []
            calls = [call for call, _ in batch]
            try:
                chosen = await asyncio.get_running_loop().run_in_executor(self._thread, self._write, calls)
            except Exception as error:  # every waiting call must hear of it
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for (_, done), call in zip(batch, chosen, strict=True):
                    if not done.done():
                        done.set_result(call)

    def _write(self, calls: Sequence[StoredCall]) -> list[StoredCall]:
        return self._store.put_many([call.stamped() for call in calls])
