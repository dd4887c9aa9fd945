"""The call store: every answer that was ever paid for, kept so that it is never paid for again.

A folder of append-only segments (`finetrail.calls.segment`), each written by one process under a name of its
own and never opened for writing again, so that many jobs on many nodes may write at once with neither locks
nor a database. Two jobs that pay for one key leave two answers; both stay, and all readers take the same one:
one that is of use, then the store's own (`finetrail.calls.ownership`), then one that was chosen while two
processes wrote (`finetrail.calls.rivals`), then the older.
"""

import contextlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from finetrail.calls.found_call import FoundCall
from finetrail.calls.index import SUFFIX as INDEX_SUFFIX
from finetrail.calls.index import Columns, Entry, MergedIndex, columns_of, read_index
from finetrail.calls.ownership import claim, read_ownership
from finetrail.calls.rivals import Rivals, chosen, propose
from finetrail.calls.segment import (
    SEGMENT_BYTES,
    SUFFIX,
    UNUSABLE,
    Request,
    SegmentWriter,
    StoredCall,
    decode,
    disproof,
    is_whole,
    scan_entries,
    try_index,
)
from finetrail.calls.verify_store import StoreReport, verify_folder
from finetrail.errors import FinetrailError

LOGGER = logging.getLogger(__name__)
OPEN_FILES = 64
UNINDEXED_BYTES = 4 << 20
SAMPLE = 500
# Said of a reply that is of no use.
ALREADY_PAID = "this reply was paid for and is stored; llm.ask_again: true asks anew"


@dataclass(frozen=True)
class StoreStats:
    """Size of a store: `keys` counts distinct requests, `calls` answers, `bytes` segments without indexes."""

    segments: int
    calls: int
    keys: int
    bytes: int


class CallStore:
    """A store in a folder, read as it was when it was opened, and extended by what this process adds.

    Args:
        folder: the store's folder; made when the first answer is put.
        segment_bytes: the size at which a segment is closed and another begun.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._writer: SegmentWriter | None = None
        self._readers: OrderedDict[int, int] = OrderedDict()
        self._paths = sorted(folder.glob(f"*{SUFFIX}"))
        self._parts = [(number, _columns(path)) for number, path in enumerate(self._paths)]
        self._index = MergedIndex(self._parts)
        self._owner = read_ownership(folder)
        self._foreign = self._brought_from_elsewhere()
        self._numbers = {path: number for number, path in enumerate(self._paths)}
        self._rivals = Rivals(folder, {self._paths[number]: columns.covered for number, columns in self._parts})
        self._fresh: dict[str, list[tuple[int, Entry]]] = {}
        self._news: dict[str, list[tuple[int, Entry]]] = {}
        self._warn_of_strangers()

    def __enter__(self) -> "CallStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the open segment, if any, and write its index."""
        with self._lock:
            self._retire_writer()
            while self._readers:
                os.close(self._readers.popitem()[1])

    def get(self, key: str, answer_sha256: str | None = None) -> StoredCall | None:
        """Find an answer by its request's key: the one with this hash, or the one that all readers take.

        Raises:
            FinetrailError: the record is damaged.
        """
        with self._lock:
            found = self._best(key, answer_sha256)
            if found is None and self._writer is not None:  # another process may have paid for it meanwhile
                self._look_around()
                found = self._best(key, answer_sha256) if key in self._news else None
            return found

    def prepare(self) -> None:
        """Make sure that answers can be kept, before the first one is paid for.

        Raises:
            FinetrailError: the folder cannot be written.
        """
        with self._lock, self._naming_the_folder():
            self._begin_segment()

    def put(self, call: StoredCall) -> StoredCall:
        """Keep one answer; see `put_many`."""
        return self.put_many([call])[0]

    def put_many(self, calls: Sequence[StoredCall]) -> list[StoredCall]:
        """Keep answers; when this returns they are on the disk (one fsync for all).

        Returns:
            for each the answer that is used for its request: another one where that was there before.

        Raises:
            FinetrailError: the disk is full or the folder cannot be written; what was kept before stays.
        """
        with self._lock, self._naming_the_folder():
            self._begin_segment()
            assert self._writer is not None
            entries = self._writer.append(calls)
            for call, entry in zip(calls, entries, strict=True):
                self._fresh.setdefault(call.key, []).append((self._number_of(self._writer.path), entry))
            self._look_around()
            used = [self._used(call) for call in calls]
            if self._writer.size >= self._segment_bytes:
                self._retire_writer()
            return used

    def newest(self, most: int = SAMPLE) -> Iterator[StoredCall]:
        """Yield some of the store's own calls, evenly spread over each segment, the newest first: for estimates.

        Args:
            most: how many calls of one segment are read.
        """
        for number, columns in sorted(self._parts, key=lambda part: part[0], reverse=True):
            step = max(1, columns.offsets.size // most)
            for offset, length in zip(columns.offsets[::step].tolist(), columns.lengths[::step].tolist(), strict=True):
                with self._lock:
                    found = self._found(number, offset, length)
                if found is not None and found.is_own:
                    yield found.call

    def stats(self) -> StoreStats:
        """Count what the store holds, from the indexes alone."""
        import numpy as np

        with self._lock:
            fresh = [entry.prefix for places in self._fresh.values() for _, entry in places]
            known = np.concatenate([self._index.prefixes, np.array(fresh, dtype="<u8")])
            sizes = [path.stat().st_size for path in self._paths if path.exists()]
            return StoreStats(len(sizes), int(known.size), int(np.unique(known).size), sum(sizes))

    def verify(self) -> StoreReport:
        """Read every record and recompute its check sum, its key and its answer's hash."""
        return verify_folder(self.folder)

    @contextlib.contextmanager
    def _naming_the_folder(self) -> Iterator[None]:
        """Turn what the system refuses into an error that names the folder; a half-written segment is abandoned."""
        try:
            yield
        except OSError as error:
            self._retire_writer(whole=False)
            raise FinetrailError(
                f"the call store cannot be written: {error.strerror}",
                where=str(self.folder),
                hint="Free space there, or make it writable, then run again: answers kept so far stay",
            ) from error

    def _warn_of_strangers(self) -> None:
        """Say which segments were brought from elsewhere and have answers to what the store itself has asked."""
        if not self._foreign:
            return
        import numpy as np

        own = [columns.prefixes for number, columns in self._parts if number not in self._foreign]
        for number, columns in self._parts:
            both = np.intersect1d(columns.prefixes, np.concatenate([np.empty(0, "<u8"), *own])).size
            if both and number in self._foreign:
                LOGGER.warning(
                    "%s was brought from elsewhere and has answers to %d of this store's own requests; its own are "
                    "used (python -m finetrail.calls.inspect_store verify lists those that differ)",
                    self._paths[number],
                    both,
                )

    def _brought_from_elsewhere(self) -> set[int]:
        """Return the numbers of the segments that are not the store's own."""
        return {number for number, path in enumerate(self._paths) if not self._owner.owns(path)}

    def _begin_segment(self) -> None:
        if self._writer is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._owner.id is None:
            self._owner = claim(self.folder, self._paths)
            self._foreign = self._brought_from_elsewhere()
        self._index_what_was_left()
        self._writer = SegmentWriter(self.folder, self._owner.id)
        self._number_of(self._writer.path)
        self._rivals.ignore(self._writer.path)

    def _number_of(self, path: Path) -> int:
        if path not in self._numbers:
            self._numbers[path] = len(self._paths)
            if not self._owner.owns(path):
                self._foreign.add(len(self._paths))
            self._paths.append(path)
        return self._numbers[path]

    def _look_around(self) -> None:
        """Take in what other processes have written."""
        for path, key, entry in self._rivals.news():
            self._news.setdefault(key, []).append((self._number_of(path), entry))

    def _used(self, call: StoredCall) -> StoredCall:
        """Return the answer that is used for a request which this process has just paid for."""
        if call.key not in self._news:
            return call
        others = [self._found(*place) for place in self._places(call.key, self._news)]
        usable = [one for one in others if one is not None and one.is_own and UNUSABLE not in one.call.answer]
        if usable and UNUSABLE not in call.answer:
            propose(self.folder, call.key, min(usable, key=FoundCall.rank).call.answer_sha256)
        return self._best(call.key) or call

    def _places(self, key: str, added: dict[str, list[tuple[int, Entry]]]) -> list[tuple[int, int, int]]:
        return [(number, entry.offset, entry.length) for number, entry in added.get(key, ())]

    def _best(self, key: str, answer_sha256: str | None = None) -> StoredCall | None:
        places = list(self._index.find(key))
        if self._fresh or self._news:
            places += [*self._places(key, self._fresh), *self._places(key, self._news)]
        found = [
            one
            for place in places
            if (one := self._found(*place)) is not None
            and one.call.key == key
            and answer_sha256 in (None, one.call.answer_sha256)
        ]
        if len(found) < 2:
            return found[0].call if found else None
        return min(found, key=partial(FoundCall.rank, choice=chosen(self.folder, key))).call

    def _index_what_was_left(self) -> None:
        """Index large segments of killed writers; should one still live, its tail is read as before."""
        for number, columns in self._parts:
            path = self._paths[number]
            indexed = read_index(path)
            if columns.covered - (indexed.covered if indexed else 0) > UNINDEXED_BYTES:
                entries = zip(*(column.tolist() for column in columns[:3]), strict=True)
                try_index(path, [Entry(*entry) for entry in entries], columns.covered)

    def _retire_writer(self, *, whole: bool = True) -> None:
        """End the open segment; after a failed write a half-written record may stand at its end."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.close(indexed=whole)
        if not writer.entries:
            return
        self._parts.append((self._number_of(writer.path), columns_of(writer.entries, writer.size)))
        self._index = MergedIndex(self._parts)
        self._fresh.clear()

    def _found(self, number: int, offset: int, length: int) -> FoundCall | None:
        """Read a record, and check it; None for one that was brought from elsewhere and is not what it says.

        Raises:
            FinetrailError: a record of the store's own is damaged.
        """
        line = os.pread(self._reader(number), length, offset)
        is_own = number not in self._foreign
        wrong = None if is_whole(line) else "is not as it was written"
        if wrong is None:
            try:
                call = decode(line)
                wrong = None if is_own else disproof(call)
            except ValueError as error:
                wrong = f"is none: {error}"
        if wrong is None:
            return FoundCall(call, is_own)
        path = self._paths[number]
        if not is_own:
            LOGGER.warning(
                "%s, brought from elsewhere: the record at byte %d %s; it is passed over", path, offset, wrong
            )
            return None
        raise FinetrailError(
            f"the record at byte {offset} {wrong}",
            where=str(path),
            hint=f"Restore the segment (dvc checkout), or delete its {INDEX_SUFFIX} if that is wrong",
        )

    def _reader(self, number: int) -> int:
        descriptor = self._readers.pop(number, None)
        if descriptor is None:
            descriptor = os.open(self._paths[number], os.O_RDONLY)
            if len(self._readers) >= OPEN_FILES:
                os.close(self._readers.popitem(last=False)[1])
        self._readers[number] = descriptor
        return descriptor


def not_stored(request: Request, what: str, how: str = "makes no calls") -> FinetrailError:
    """Describe that replay cannot go on, because it `makes no calls`, or however else it stops short."""
    return FinetrailError(
        f"phase {request.phase!r} has no stored {what} (call {request.key[:12]}), and replay {how}",
        where=f"row {request.row_id}",
        hint="Fetch the call store (make pull), or set llm.mode: live",
    )


def _columns(path: Path) -> Columns:
    """Read a segment's index, and from the segment itself what the index does not cover."""
    indexed = read_index(path)
    size = path.stat().st_size
    if indexed is None or indexed.covered < size:
        start = indexed.covered if indexed else 0
        tail = scan_entries(path, start)
        if indexed and not tail:
            return indexed
        known = [Entry(*e) for e in zip(*(c.tolist() for c in indexed[:3]), strict=True)] if indexed else []
        covered = max((entry.offset + entry.length for entry in tail), default=start)
        return columns_of(known + tail, covered)
    return indexed
