"""The kinds of corpora: files of passages, folders in the layout of BEIR, and folders of documents."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.documents.isolate import FileBounds, Place, read_all
from finetrail.errors import FinetrailError
from finetrail.isolated import Failed
from finetrail.retrieval.passages import LONGEST, read_passages
from finetrail.rows.records import Row, content_id
from finetrail.text.chunks import chunk_spans

BEIR_FILE = "corpus.jsonl"
PASSAGE_WORDS = 200
"""Longest passage of a document, in words; it ends at the border of a sentence."""
BOUNDS = FileBounds(file_bytes=100_000_000, seconds=120.0, memory_bytes=2_000_000_000)


def read_corpus(places: Sequence[Path], dropped: list[Row], *, longest: int = LONGEST) -> Iterator[Row]:
    """Stream the passages ``{"id", "title", "text", "url"}`` of a corpus.

    Args:
        places: files of passages (JSON Lines), folders with a `corpus.jsonl` (Thakur et al. 2021), and folders of
            documents.
        longest: tokens of the longest passage that a page of numbered sentences is cut into.
        dropped: takes what holds no text, or cannot be read, as ``{"id", "reason", "file"}``.

    Raises:
        FinetrailError: a passage is bad, an id occurs twice, or a folder holds no document.
    """
    files = [place / BEIR_FILE if (place / BEIR_FILE).is_file() else place for place in places]
    yield from read_passages([path for path in files if not path.is_dir()], dropped, longest=longest)
    for folder in (path for path in files if path.is_dir()):
        yield from _documents(folder, dropped)


def _documents(folder: Path, dropped: list[Row]) -> Iterator[Row]:
    """Cut the documents below a folder into passages; their ids are made of folder and file name, text and place."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    inner = [path.relative_to(folder) for path in paths]
    inner = [path for path in inner if not any(part.startswith(".") for part in path.parts)]
    if not inner:
        raise FinetrailError("the folder holds no document", where=str(folder), hint="Look at source.corpus")
    places = [Place(str(folder), path.as_posix()) for path in inner]
    for place, opened in zip(places, read_all(places, BOUNDS, processes=1), strict=True):
        name, read = os.fsencode(f"{folder.name}/{place.name}").decode("utf-8", "backslashreplace"), opened.outcome
        if isinstance(read, Failed):
            dropped.append({"id": name, "reason": read.reason, "file": name})
            continue
        for start, end in chunk_spans(read["text"], PASSAGE_WORDS):
            text = read["text"][start:end]
            passage_id = content_id("passage", name, text, str(start))
            yield {"id": passage_id, "title": read["title"] or Path(name).stem, "text": text, "url": ""}
