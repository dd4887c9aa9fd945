"""Files are read in processes of their own, with bounds of memory and time: one that breaks a parser harms no other."""

import multiprocessing
import resource
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from finetrail.documents.kinds import NotRead
from finetrail.documents.read import failure, read_document
from finetrail.errors import FinetrailError
from finetrail.rows.records import Row

AHEAD = 4  # files in hand for each process, so that none waits
START_S = 120.0


@dataclass(frozen=True)
class Bounds:
    """What one file may take: bytes of the file, seconds, and bytes of memory."""

    file_bytes: int
    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Failed:
    """A file that gave no document, and why."""

    reason: str


class Reader:
    """A process that reads one file after another; it is started anew after a file that broke it."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._process: Any = None
        self._connection: Connection | None = None

    def read(self, path: Path) -> Row | Failed:
        """Read a file.

        Raises:
            FinetrailError: a library is missing, which is no fault of the file.
        """
        connection = self._started()
        try:
            connection.send(str(path))
            if not connection.poll(self._bounds.seconds):
                self.close()
                return Failed(f"not read within {self._bounds.seconds:g} s")
            answer: Row | str | ImportError = connection.recv()
        except (EOFError, OSError):
            self.close()
            return Failed(f"its parser crashed (it may use {self._bounds.memory_bytes >> 20} MB)")
        if isinstance(answer, ImportError):
            raise FinetrailError(
                f"a library that reads documents is missing: {answer}", hint="Set the environment up anew"
            )
        return answer if isinstance(answer, dict) else Failed(answer)

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._bounds), daemon=True)
            self._process.start()
            theirs.close()
            if not ours.poll(START_S):
                raise OSError("the process that reads documents does not start")
            ours.recv()
            self._connection = ours
        return self._connection

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._connection = None


def read_all(paths: Iterable[Path], bounds: Bounds, processes: int) -> Iterator[tuple[Path, Row | Failed]]:
    """Read files in several processes and yield them in their order."""
    readers = [Reader(bounds) for _ in range(processes)]
    free: SimpleQueue[Reader] = SimpleQueue()
    for reader in readers:
        free.put(reader)

    def read(path: Path) -> tuple[Path, Row | Failed]:
        reader = free.get()
        try:
            return path, reader.read(path)
        finally:
            free.put(reader)

    waiting = iter(paths)
    try:
        with ThreadPoolExecutor(processes) as pool:
            pending = [pool.submit(read, path) for path in islice(waiting, processes * AHEAD)]
            while pending:
                yield pending.pop(0).result()
                pending += [pool.submit(read, path) for path in islice(waiting, 1)]
    finally:
        for reader in readers:
            reader.close()


def _serve(connection: Connection, bounds: Bounds) -> None:
    """Answer with a document, or with the reason why there is none."""
    import logging

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    logging.getLogger().setLevel(logging.CRITICAL)  # parsers would tell of every odd file
    resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send("ready")
    while True:
        try:
            path = connection.recv()
        except EOFError:
            return
        try:
            answer: Row | str | ImportError = read_document(Path(path), bounds.file_bytes)
        except (NotRead, OSError) as error:
            answer = failure(error)
        except ImportError as error:
            answer = error
        except MemoryError:
            answer = f"needs more than {bounds.memory_bytes >> 20} MB of memory"
        connection.send(answer)
