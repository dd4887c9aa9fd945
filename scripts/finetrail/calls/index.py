"""Sorted indexes of the call store's segments: 16 bytes a record, mapped into memory and merged.

An index says where a record begins and how long it is, under the first 64 bits of its key, and carries a checksum. It
only saves time: what it does not cover is read from the segment itself, and every record is checked when it is read.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from finetrail.rows.artifacts import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAGIC = b"FTCALLS2"
# Without a checksum, a damaged index hid answers: its segment is read instead, until the next index is written.
OUTDATED_MAGIC = b"FTCALLS1"
HEADER = struct.Struct("<8sQQQ")  # magic, bytes covered, entries, checksum (CRC-32) of the other two and the columns
SUFFIX = ".idx"


class Entry(NamedTuple):
    """Where a record stands: the first 64 bits of its key, its offset and its length in bytes."""

    prefix: int
    offset: int
    length: int

    @classmethod
    def of(cls, key: str, offset: int, length: int) -> "Entry":
        """Make an entry from a key in hexadecimal."""
        return cls(int(key[:16], 16), offset, length)


class Columns(NamedTuple):
    """The entries of one segment as columns sorted by prefix, and how many of its bytes they cover."""

    prefixes: "NDArray[np.uint64]"
    offsets: "NDArray[np.uint32]"
    lengths: "NDArray[np.uint32]"
    covered: int


def columns_of(entries: Sequence[Entry], covered: int) -> Columns:
    """Sort entries into columns."""
    import numpy as np

    table = sorted(entries)
    return Columns(
        np.array([entry.prefix for entry in table], dtype="<u8"),
        np.array([entry.offset for entry in table], dtype="<u4"),
        np.array([entry.length for entry in table], dtype="<u4"),
        covered,
    )


def write_index(segment: Path, entries: Sequence[Entry], covered: int) -> None:
    """Write the index of a segment beside it, under a temporary name first."""
    columns = columns_of(entries, covered)
    with atomic_path(segment.with_suffix(SUFFIX)) as temporary, temporary.open("wb") as stream:
        content = b"".join(column.tobytes() for column in columns[:3])
        stream.write(HEADER.pack(MAGIC, covered, len(entries), _checksum(covered, len(entries), content)))
        stream.write(content)


def _checksum(covered: int, count: int, content: bytes | memoryview) -> int:
    return zlib.crc32(content, zlib.crc32(HEADER.pack(MAGIC, covered, count, 0)))


def is_outdated(segment: Path) -> bool:
    """Say whether the index of a segment is of the form without a checksum."""
    try:
        with segment.with_suffix(SUFFIX).open("rb") as stream:
            return stream.read(len(OUTDATED_MAGIC)) == OUTDATED_MAGIC
    except FileNotFoundError:
        return False


def read_index(segment: Path) -> Columns | None:
    """Map the index of a segment into memory; None where there is none, or none that fits the segment."""
    import numpy as np

    path = segment.with_suffix(SUFFIX)
    try:
        data = np.memmap(path, mode="r", dtype=np.uint8)
        size = segment.stat().st_size
    except (FileNotFoundError, ValueError):
        return None
    if data.size < HEADER.size:
        return None
    magic, covered, count, checksum = HEADER.unpack(data[: HEADER.size].tobytes())
    if magic != MAGIC or covered > size or data.size != HEADER.size + 16 * count:
        return None
    if _checksum(covered, count, data[HEADER.size :].data) != checksum:
        return None
    prefixes, offsets, lengths = np.split(data[HEADER.size :], [8 * count, 12 * count])
    return Columns(prefixes.view("<u8"), offsets.view("<u4"), lengths.view("<u4"), covered)


class MergedIndex:
    """All segments' indexes as one, looked up by binary search: 20 bytes a record in memory, no answers."""

    def __init__(self, parts: Sequence[tuple[int, Columns]]) -> None:
        import numpy as np

        columns = [column for _, column in parts]
        prefixes = np.concatenate([np.empty(0, "<u8"), *(c.prefixes for c in columns)])
        numbers = np.array([segment for segment, _ in parts], dtype="<u4")
        segments = np.repeat(numbers, np.array([c.prefixes.size for c in columns], dtype=np.int64))
        order = np.argsort(prefixes, kind="stable")
        self.prefixes: NDArray[np.uint64] = prefixes[order]
        self._segments = segments[order]
        self._offsets = np.concatenate([np.empty(0, "<u4"), *(c.offsets for c in columns)])[order]
        self._lengths = np.concatenate([np.empty(0, "<u4"), *(c.lengths for c in columns)])[order]

    def find(self, key: str) -> Iterator[tuple[int, int, int]]:
        """Yield (segment, offset, length) of every record whose key may be this one."""
        prefix = int(key[:16], 16)
        at = int(self.prefixes.searchsorted(self.prefixes.dtype.type(prefix)))
        while at < self.prefixes.size and int(self.prefixes[at]) == prefix:
            yield int(self._segments[at]), int(self._offsets[at]), int(self._lengths[at])
            at += 1
