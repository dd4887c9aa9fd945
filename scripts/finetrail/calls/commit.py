"""Group commit: answers that arrive within a few milliseconds share one fsync, and count only after it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore

WINDOW_S = 0.01


class Committer:
    """Writes answers to the store in batches, from one event loop."""

    def __init__(self, store: CallStore) -> None:
        self._store = store
        self._pending: list[tuple[StoredCall, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="call-store")

    async def commit(self, call: StoredCall) -> None:
        """Return when the answer is on the disk.

        Raises:
            FinetrailError: the store cannot be written.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((call, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await done

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
                await asyncio.get_running_loop().run_in_executor(self._thread, self._store.put_many, calls)
            except Exception as error:  # every waiting call must hear of it
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
