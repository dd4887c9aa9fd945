"""What other processes add to a call store while this one writes to it, and who wins where two have paid for one key.

Each process looks around when it has written. Who sees no other answer to its key uses its own. Of two that write at
the same moment, both may see the other's answer, or only the later one may. So whoever sees one proposes it, in a file
that can be made only once, and goes by what that file says: the answer of a process that saw nothing always wins.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from finetrail.calls.index import SUFFIX as INDEX_SUFFIX
from finetrail.calls.index import Entry
from finetrail.calls.segment import SUFFIX, scan
from finetrail.calls.write_once import write_once

CHOICE_SUFFIX = ".chosen"
# A folder's time may stay the same while another file is added a moment later.
SETTLED_NS = 2_000_000_000


class Rivals:
    """Follows the segments of other processes.

    Args:
        folder: the store.
        known: segments that were read when the store was opened, and how many bytes of each.
    """

    def __init__(self, folder: Path, known: dict[Path, int]) -> None:
        self._folder = folder
        self._seen = set(known)
        self._growing = {path: size for path, size in known.items() if not path.with_suffix(INDEX_SUFFIX).exists()}
        self._listed_at = -1

    def ignore(self, segment: Path) -> None:
        """Pass over a segment of this process."""
        self._seen.add(segment)

    def news(self) -> Iterator[tuple[Path, str, Entry]]:
        """Yield the records that others have added since the last look: their segments, keys and places."""
        changed = self._folder.stat().st_mtime_ns
        if changed != self._listed_at or time.time_ns() - changed < SETTLED_NS:
            self._listed_at = changed
            for path in sorted(self._folder.glob(f"*{SUFFIX}")):
                if path not in self._seen:
                    self._seen.add(path)
                    self._growing[path] = 0
        for path, start in list(self._growing.items()):
            try:
                closed = path.with_suffix(INDEX_SUFFIX).exists()
                size = path.stat().st_size
            except FileNotFoundError:
                del self._growing[path]
                continue
            if size > start:
                yield from self._read_on(path, start)
            if closed:
                del self._growing[path]

    def _read_on(self, path: Path, start: int) -> Iterator[tuple[Path, str, Entry]]:
        for item in scan(path, start):
            if item.torn:
                return
            self._growing[path] = item.offset + item.length
            if item.key is not None:
                yield path, item.key, Entry.of(item.key, item.offset, item.length)


def propose(folder: Path, key: str, answer_sha256: str) -> str:
    """Propose which of several answers to a key is used, and return the one that is: the first proposal's.

    Raises:
        OSError: the file cannot be written.
    """
    write_once(folder / f"{key}{CHOICE_SUFFIX}", answer_sha256)
    return chosen(folder, key) or answer_sha256


def chosen(folder: Path, key: str) -> str | None:
    """Return the hash of the answer to a key that was chosen among several; None where none was."""
    try:
        return (folder / f"{key}{CHOICE_SUFFIX}").read_text(encoding="ascii").strip() or None
    except (FileNotFoundError, UnicodeDecodeError):
        return None
