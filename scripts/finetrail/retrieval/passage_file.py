"""Passages by id from their file: read when they are asked for, so that no text stays in memory."""

import json
from pathlib import Path
from types import TracebackType
from typing import IO

from finetrail.errors import FinetrailError
from finetrail.records import Row


class PassageFile:
    """The rows of a ``passages.jsonl``; memory holds their ids and places."""

    def __init__(self, path: Path) -> None:
        """Note where each passage stands.

        Raises:
            FinetrailError: the file cannot be read, or a row has no id.
        """
        self._path = path
        self._places: dict[str, int] = {}
        place = 0
        with path.open("rb") as stream:
            for raw in stream:
                if raw.strip():
                    self._places[str(json.loads(raw)["id"])] = place
                place += len(raw)
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> "PassageFile":
        self._stream = self._path.open("rb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def __getitem__(self, passage_id: str) -> Row:
        if self._stream is None:
            raise ValueError("the file is not open")
        if passage_id not in self._places:
            raise FinetrailError("the candidate passage is not in the corpus", where=passage_id)
        self._stream.seek(self._places[passage_id])
        row: Row = json.loads(self._stream.readline())
        return row
