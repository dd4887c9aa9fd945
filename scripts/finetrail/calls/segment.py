"""Segments of the call store: files of records that one process writes once, from beginning to end.

A record is one line of JSON that starts with the SHA-256 of all that follows its first comma, so that a
torn or damaged line is recognised without being parsed; the key and the answer's hash stand at fixed
places.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from finetrail.calls.index import Entry, write_index
from finetrail.rows.artifacts import sync_path
from finetrail.rows.records import canonical_json, sha256_text

LOGGER = logging.getLogger(__name__)
SUFFIX = ".jsonl"
SEGMENT_BYTES = 64 << 20
# The field of an answer that says why a reply, which was paid, is of no use.
UNUSABLE = "unusable"
HEAD = b'{"check":"'
BEHIND_CHECK = b'",'
PAYLOAD = len(HEAD) + 64 + len(BEHIND_CHECK)
KEY_FIELD = re.compile(rb'"key":"[0-9a-f]{64}"')
KEY = slice(PAYLOAD + len(b'"key":"'), PAYLOAD + len(b'"key":"') + 64)


class Request(Protocol):
    """What is known of a request in any protocol; `canonical` decides the answer and its `key`."""

    @property
    def row_id(self) -> str:
        """The row that needs the answer."""

    @property
    def phase(self) -> str:
        """The rule that asks."""

    @property
    def canonical(self) -> Mapping[str, Any]:
        """Everything that decides the answer."""

    @property
    def key(self) -> str:
        """SHA-256 of `canonical`."""


@dataclass(frozen=True)
class StoredCall:
    """One paid answer.

    `answer` is what the server said (text, finish_reason, model, fingerprint, usage), `request` the
    canonical request whose SHA-256 is the key, `paid` who paid for it and when (phase, row, UTC time).
    """

    key: str
    answer_sha256: str
    answer: Mapping[str, Any]
    request: Mapping[str, Any]
    paid: Mapping[str, Any]

    @classmethod
    def make(
        cls, key: str, answer: Mapping[str, Any], request: Mapping[str, Any], paid: Mapping[str, Any]
    ) -> "StoredCall":
        """Describe an answer; its hash is taken over what the server said, not over who paid when."""
        digest = hashlib.sha256(canonical_json(answer).encode("utf-8")).hexdigest()
        return cls(key, digest, answer, request, paid)

    @classmethod
    def of(cls, request: Request, answer: Mapping[str, Any], usd: float | None) -> "StoredCall":
        """Describe an answer that a request has just got, at its price; None where that is not known."""
        paid = {"phase": request.phase, "row": request.row_id, "at": _now(), "usd": usd}
        return cls.make(request.key, answer, request.canonical, paid)

    def stamped(self) -> "StoredCall":
        """Return the record with the time at which it is written: of two, the older is used."""
        return replace(self, paid={**self.paid, "at": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def encode(call: StoredCall) -> bytes:
    """Render a call as one line."""
    body = json.dumps(vars(call), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")[1:]
    return HEAD + hashlib.sha256(body).hexdigest().encode("ascii") + BEHIND_CHECK + body + b"\n"


def is_whole(line: bytes) -> bool:
    """Say whether a line is a complete, undamaged record."""
    check = line[len(HEAD) : len(HEAD) + 64]
    return (
        line.startswith(HEAD)
        and line[PAYLOAD - len(BEHIND_CHECK) : PAYLOAD] == BEHIND_CHECK
        and KEY_FIELD.match(line, PAYLOAD) is not None
        and line.endswith(b"}\n")
        and hashlib.sha256(line[PAYLOAD:-1]).hexdigest().encode("ascii") == check
    )


def decode(line: bytes) -> StoredCall:
    """Parse a line that `is_whole`.

    Raises:
        ValueError: it is no record, though its checksum fits: nobody of ours has written it.
    """
    record = json.loads(line.decode("utf-8"))
    del record["check"]
    try:
        call = StoredCall(**record)
    except TypeError as error:
        raise ValueError(f"it has other fields than a record ({error})") from error
    if not (isinstance(call.answer, dict) and isinstance(call.request, dict) and isinstance(call.paid, dict)):
        raise ValueError("its answer, its request or who paid is no object")
    return call


def disproof(call: StoredCall) -> str | None:
    """Say which hash of a record does not fit; None where all do."""
    if sha256_text(canonical_json(call.request)) != call.key:
        return "has a key that is not the hash of the request"
    if sha256_text(canonical_json(call.answer)) != call.answer_sha256:
        return "has another answer's hash"
    return None


class Scanned(NamedTuple):
    """One line of a segment; `key` is None where it is damaged, `torn` where the file ends within it."""

    key: str | None
    offset: int
    length: int
    torn: bool


def scan(path: Path, start: int = 0) -> Iterator[Scanned]:
    """Read a segment's lines from an offset on, checking each."""
    with path.open("rb") as stream:
        stream.seek(start)
        offset = start
        for line in stream:
            key = line[KEY].decode("ascii") if is_whole(line) else None
            yield Scanned(key, offset, len(line), torn=key is None and not line.endswith(b"\n"))
            offset += len(line)


def scan_entries(path: Path, start: int = 0) -> list[Entry]:
    """Find the whole records of a segment from an offset on; what is damaged is passed over and logged."""
    entries = []
    for item in scan(path, start):
        if item.key is None:
            state = "the last record is torn (its writer was killed, or writes still)"
            if not item.torn:
                state = "a record is damaged (restore the segment, for example with dvc checkout)"
            LOGGER.warning("%s: byte %d: %s; it is passed over", path, item.offset, state)
        else:
            entries.append(Entry.of(item.key, item.offset, item.length))
    return entries


class SegmentWriter:
    """Writes one new segment; a segment that is closed is never written again.

    Args:
        folder: the store's folder, which exists.
        owner: the store's id, which stands in the segment's name; None for none.
    """

    def __init__(self, folder: Path, owner: str | None = None) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        names = filter(None, (stamp, owner, secrets.token_hex(8)))
        self.path = folder / f"{'-'.join(names)}{SUFFIX}"
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self.size = 0
        self.entries: list[Entry] = []
        sync_path(folder)

    def append(self, calls: Sequence[StoredCall]) -> list[Entry]:
        """Write calls and return their places once they are on the disk: one fsync for all.

        Raises:
            OSError: the disk is full or gone; the segment must then be abandoned.
        """
        lines = [encode(call) for call in calls]
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)
        written = []
        for call, line in zip(calls, lines, strict=True):
            written.append(Entry.of(call.key, self.size, len(line)))
            self.size += len(line)
        self.entries += written
        return written

    def close(self, *, indexed: bool = True) -> None:
        """Close the segment and write its index; without one, the segment itself is read. An empty one is removed."""
        os.close(self._descriptor)
        if not self.entries and self.path.stat().st_size == 0:
            self.path.unlink()
        elif indexed:
            try_index(self.path, self.entries, self.size)


def try_index(segment: Path, entries: Sequence[Entry], covered: int) -> None:
    """Write the index of a segment, or say why there is none: it only saves time, and the answers are on the disk."""
    try:
        write_index(segment, entries, covered)
    except OSError as error:
        LOGGER.warning("%s: its index cannot be written (%s); all answers are kept", segment, error.strerror)
