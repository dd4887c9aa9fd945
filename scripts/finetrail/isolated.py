"""Work on what strangers made, in processes with bounds of memory and time: what breaks one harms no other."""

import multiprocessing
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from finetrail.errors import FinetrailError

AHEAD = 4  # items in hand for each process, so that none waits
START_S = 120.0
LONGEST_REASON = 300


@dataclass(frozen=True)
class Bounds:
    """What one item may take: seconds, and bytes of memory (of the whole process, libraries included)."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Failed:
    """An item that gave nothing, and why."""

    reason: str


class Worker:
    """A process that works on one item after another; it is started anew after one that broke it.

    Args:
        work: a function of a module; what it raises is its item's reason.
        bounds: of one item.
        told: the errors whose text is the whole reason; of any other the kind is named, too.
    """

    def __init__(self, work: Callable[[Any], Any], bounds: Bounds, told: tuple[type[Exception], ...] = ()) -> None:
        self._work, self._bounds, self._told = work, bounds, told
        self._process: Any = None
        self._connection: Connection | None = None

    def run(self, item: Any) -> Any:
        """Work on an item; return what comes of it, or `Failed`.

        Raises:
            FinetrailError: a library is missing, no process can be started, or a signal ended it, which is no fault of
                the item.
        """
        connection = self._started()
        megabytes = self._bounds.memory_bytes >> 20
        try:
            connection.send(item)
            if not connection.poll(self._bounds.seconds):
                self.close()
                return Failed(f"not read within {self._bounds.seconds:g} s")
            answer = connection.recv()
        except (EOFError, OSError):
            process = self._process
            self.close()
            if process.exitcode == -signal.SIGTERM:  # sent to all of a job, as SLURM does
                raise FinetrailError(
                    "a process that reads what strangers made was ended by SIGTERM", hint="Run this step again"
                ) from None
            return Failed(f"its parser crashed (it may use {megabytes} MB)")
        if isinstance(answer, ImportError):
            raise FinetrailError(f"a library that reads files is missing: {answer}", hint="Set the environment up anew")
        return answer

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._work, self._bounds, self._told), daemon=True)
            process.start()
            theirs.close()
            self._process, self._connection = process, ours
            try:
                ready = ours.poll(START_S) and ours.recv()
            except (EOFError, OSError):
                ready = False
            if not ready:
                self.close()
                raise FinetrailError(
                    "a process that reads what strangers made does not start",
                    hint=f"Is there enough memory for it ({self._bounds.memory_bytes >> 20} MB)?",
                )
        return self._connection

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._connection = None


class Workers:
    """Several such processes. Use as a context manager; `run` may be called by many threads.

    Args:
        count: processes; each is started when it is first needed.
        work: see `Worker`.
        bounds: of one item, and so of one process.
        told: see `Worker`.
    """

    def __init__(
        self, count: int, work: Callable[[Any], Any], bounds: Bounds, told: tuple[type[Exception], ...] = ()
    ) -> None:
        self._workers = [Worker(work, bounds, told) for _ in range(count)]
        self._free: SimpleQueue[Worker] = SimpleQueue()
        for worker in reversed(self._workers):
            self._free.put(worker)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, item: Any) -> Any:
        """Work on an item as soon as a process is free; see `Worker.run`."""
        worker = self._free.get()
        try:
            return worker.run(item)
        finally:
            self._free.put(worker)

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield what comes of each item, in their order."""
        waiting = iter(items)
        with ThreadPoolExecutor(len(self._workers)) as pool:
            pending = [pool.submit(self.run, item) for item in islice(waiting, len(self._workers) * AHEAD)]
            while pending:
                yield pending.pop(0).result()
                pending += [pool.submit(self.run, item) for item in islice(waiting, 1)]

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.close()


def _serve(
    connection: Connection, work: Callable[[Any], Any], bounds: Bounds, told: tuple[type[Exception], ...]
) -> None:
    """Answer with what comes of each item, or with the reason why nothing does."""
    import logging

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    logging.getLogger().setLevel(logging.CRITICAL)  # parsers would tell of every odd file
    resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send("ready")
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(_outcome(work, item, bounds, told))


def _outcome(work: Callable[[Any], Any], item: Any, bounds: Bounds, told: tuple[type[Exception], ...]) -> Any:
    try:
        return work(item)
    except ImportError as error:
        return error
    except MemoryError:
        return Failed(f"needs more than {bounds.memory_bytes >> 20} MB of memory")
    except told as error:
        return Failed(str(error))
    except Exception as error:  # a hostile or damaged item may break its library in any way
        return Failed(f"damaged: its parser fails with {type(error).__name__}: {str(error)[:LONGEST_REASON]}")
