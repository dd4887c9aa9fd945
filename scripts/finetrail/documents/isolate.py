"""Documents are opened where they were found, without following a link, and read in processes of their own."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from finetrail.documents.kinds import NotRead
from finetrail.documents.read import read_document
from finetrail.isolated import Bounds, Failed, Workers
from finetrail.rows.records import CHUNK_BYTES, Row


@dataclass(frozen=True)
class FileBounds:
    """What one file may take: bytes of the file, seconds, and bytes of memory."""

    file_bytes: int
    seconds: float
    memory_bytes: int


class Place(NamedTuple):
    """Where a file stands: below which folder, and its name there."""

    root: str
    name: str


class Opened(NamedTuple):
    """What came of a file: size and SHA-256 as it was read, None where it could not be; its document, or why not."""

    size: int | None
    sha256: str | None
    outcome: Row | Failed


def open_below(place: Place) -> IO[bytes]:
    """Open a regular file; neither it nor a folder on the way to it below the root may be a link.

    Raises:
        NotRead: it is a link or no regular file, which it was not when it was found.
        OSError: it cannot be opened.
    """
    *folders, last = Path(place.name).parts
    held = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
            os.close(held)
            held = inner
        # without O_NONBLOCK a pipe would wait for a writer
        file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=held)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise NotRead("a link took its place after it was found") from error
        raise
    finally:
        os.close(held)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotRead("no regular file")
    return os.fdopen(file, "rb")


def digest_of(place: Place) -> tuple[int | None, str | None]:
    """Return size and SHA-256 of a file; None where it cannot be opened."""
    try:
        with open_below(place) as stream:
            digest, size = hashlib.sha256(), 0
            while piece := stream.read(CHUNK_BYTES):
                digest.update(piece)
                size += len(piece)
            return size, digest.hexdigest()
    except (OSError, NotRead):
        return None, None


def read_all(places: Iterable[Place], bounds: FileBounds, processes: int) -> Iterator[Opened]:
    """Read files in several processes and yield what came of each, in their order."""
    held = list(places)
    with Workers(processes, _read, Bounds(bounds.seconds, bounds.memory_bytes), (NotRead, OSError)) as workers:
        found = workers.map((place, bounds.file_bytes) for place in held)
        for place, answer in zip(held, found, strict=True):
            yield Opened(*digest_of(place), answer) if isinstance(answer, Failed) else answer


def _read(item: tuple[Place, int]) -> Opened:
    place, largest = item
    with open_below(place) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > largest:
            raise NotRead(f"too large: {size} bytes, more than documents.max_file_mb allows")
        raw = stream.read(size)
    return Opened(len(raw), hashlib.sha256(raw).hexdigest(), read_document(Path(place.name).name, raw))
