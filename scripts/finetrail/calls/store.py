"""The call store: every answer that was ever paid for, kept so that it is never paid for again.

A folder of append-only segments (`finetrail.calls.segment`), each written by one process under a name of its
own and never opened for writing again, so that many jobs on many nodes may write at once with neither locks
nor a database. Two jobs that pay for one key leave two answers; both stay, and the lookup takes the one
with the smallest hash.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from finetrail.calls.index import SUFFIX as INDEX_SUFFIX
from finetrail.calls.index import Columns, Entry, MergedIndex, columns_of, read_index
from finetrail.calls.segment import (
    SEGMENT_BYTES,
    SUFFIX,
    Request,
    SegmentWriter,
    StoredCall,
    decode,
    is_whole,
    scan,
    scan_entries,
    try_index,
)
from finetrail.errors import FinetrailError
from finetrail.rows.records import canonical_json, sha256_text

OPEN_FILES = 64
UNINDEXED_BYTES = 4 << 20
SAMPLE = 500


@dataclass(frozen=True)
class StoreStats:
    """Size of a store: `keys` counts distinct requests, `calls` answers, `bytes` segments without indexes."""

    segments: int
    calls: int
    keys: int
    bytes: int


@dataclass
class StoreReport:
    """What `CallStore.verify` found.

    `torn` names segments whose writer was killed (harmless), `damaged` whatever is not as it was written.
    """

    segments: int = 0
    calls: int = 0
    torn: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


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
        self._readers: OrderedDict[Path, int] = OrderedDict()
        self._paths = sorted(folder.glob(f"*{SUFFIX}"))
        self._parts = [(number, _columns(path)) for number, path in enumerate(self._paths)]
        self._index = MergedIndex(self._parts)
        self._fresh: dict[str, list[tuple[int, Entry]]] = {}

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
        """Find an answer by its request's key: the one with this hash, or the one with the smallest.

        Raises:
            FinetrailError: the record is damaged.
        """
        with self._lock:
            places = list(self._index.find(key))
            places += [(number, entry.offset, entry.length) for number, entry in self._fresh.get(key, ())]
            found = [self._read(self._paths[number], offset, length) for number, offset, length in places]
        calls = [call for call in found if call.key == key and answer_sha256 in (None, call.answer_sha256)]
        return min(calls, key=lambda call: call.answer_sha256, default=None)

    def put(self, call: StoredCall) -> None:
        """Keep one answer; see `put_many`."""
        self.put_many([call])

    def put_many(self, calls: Sequence[StoredCall]) -> None:
        """Keep answers; when this returns they are on the disk (one fsync for all).

        Raises:
            FinetrailError: the disk is full or the folder cannot be written; what was kept before stays.
        """
        with self._lock:
            try:
                if self._writer is None:
                    self._begin_segment()
                assert self._writer is not None
                entries = self._writer.append(calls)
            except OSError as error:
                self._retire_writer(whole=False)
                raise FinetrailError(
                    f"the call store cannot be written: {error.strerror}",
                    where=str(self.folder),
                    hint="Free space there, or make it writable, then run again: answers kept so far stay",
                ) from error
            number = len(self._paths) - 1
            for call, entry in zip(calls, entries, strict=True):
                self._fresh.setdefault(call.key, []).append((number, entry))
            if self._writer.size >= self._segment_bytes:
                self._retire_writer()

    def newest(self, most: int = SAMPLE) -> Iterator[StoredCall]:
        """Yield some of the calls, evenly spread over each segment, the newest segments first: for estimates.

        Args:
            most: how many calls of one segment are read.
        """
        for number, columns in sorted(self._parts, key=lambda part: part[0], reverse=True):
            step = max(1, columns.offsets.size // most)
            for offset, length in zip(columns.offsets[::step].tolist(), columns.lengths[::step].tolist(), strict=True):
                with self._lock:
                    call = self._read(self._paths[number], offset, length)
                yield call

    def stats(self) -> StoreStats:
        """Count what the store holds, from the indexes alone."""
        import numpy as np

        with self._lock:
            fresh = [entry.prefix for places in self._fresh.values() for _, entry in places]
            known = np.concatenate([self._index.prefixes, np.array(fresh, dtype="<u8")])
            size = sum(path.stat().st_size for path in self._paths)
            return StoreStats(len(self._paths), int(known.size), int(np.unique(known).size), size)

    def verify(self) -> StoreReport:
        """Read every record and recompute its check sum, its key and its answer's hash."""
        report = StoreReport()
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            report.segments += 1
            _verify_segment(path, report)
        return report

    def _begin_segment(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._index_what_was_left()
        self._writer = SegmentWriter(self.folder)
        self._paths.append(self._writer.path)

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
        self._parts.append((len(self._paths) - 1, columns_of(writer.entries, writer.size)))
        self._index = MergedIndex(self._parts)
        self._fresh.clear()

    def _read(self, path: Path, offset: int, length: int) -> StoredCall:
        line = os.pread(self._reader(path), length, offset)
        if not is_whole(line):
            raise FinetrailError(
                f"the record at byte {offset} is not as it was written",
                where=str(path),
                hint=f"Restore the segment (dvc checkout), or delete its {INDEX_SUFFIX} if that is wrong",
            )
        return decode(line)

    def _reader(self, path: Path) -> int:
        descriptor = self._readers.pop(path, None)
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY)
            if len(self._readers) >= OPEN_FILES:
                os.close(self._readers.popitem(last=False)[1])
        self._readers[path] = descriptor
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


def _verify_segment(path: Path, report: StoreReport) -> None:
    found = []
    with path.open("rb") as stream:
        for item in scan(path):
            where = f"{path.name}: byte {item.offset}"
            if item.torn:
                report.torn.append(where)
                continue
            if item.key is None:
                report.damaged.append(f"{where}: the check sum does not fit")
                continue
            stream.seek(item.offset)
            call = decode(stream.read(item.length))
            if sha256_text(canonical_json(call.request)) != call.key:
                report.damaged.append(f"{where}: the key is not the hash of the request")
            if sha256_text(canonical_json(call.answer)) != call.answer_sha256:
                report.damaged.append(f"{where}: the answer's hash does not fit")
            found.append(Entry.of(item.key, item.offset, item.length))
            report.calls += 1
    indexed = read_index(path)
    if indexed is None and path.with_suffix(INDEX_SUFFIX).exists():
        report.damaged.append(f"{path.name}: it is shorter than its index says, or its index is broken")
    if indexed is not None:
        entries = [Entry(*e) for e in zip(*(c.tolist() for c in indexed[:3]), strict=True)]
        covered = [entry for entry in found if entry.offset + entry.length <= indexed.covered]
        if entries != sorted(covered):
            report.damaged.append(f"{path.name}: its index does not fit it; delete the {INDEX_SUFFIX} file")
