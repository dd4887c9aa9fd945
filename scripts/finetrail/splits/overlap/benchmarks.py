"""Named benchmark files as texts that training must not have seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.records import read_jsonl
from finetrail.splits.overlap.contamination import Text


def benchmark_texts(path: Path) -> Iterator[Text]:
    """Stream the texts of a benchmark: a row of a .jsonl file with all texts in it, or a line of a .txt file.

    Raises:
        FinetrailError: another kind of file, or one that cannot be read.
    """
    if path.suffix == ".jsonl":
        for line in read_jsonl(path):
            yield Text(f"{path.name}:{line.number}", "\n".join(_strings(line.row)))
    elif path.suffix == ".txt":
        try:
            with path.open(encoding="utf-8-sig") as stream:
                for number, text in enumerate(stream, start=1):
                    if text.strip():
                        yield Text(f"{path.name}:{number}", text)
        except (OSError, UnicodeDecodeError) as error:
            raise FinetrailError(f"cannot be read as UTF-8: {error}", where=str(path)) from error
    else:
        raise FinetrailError(
            f"a benchmark is .jsonl or .txt, not {path.suffix or 'a file without a suffix'}",
            where=str(path),
            hint="Convert it: one object, or one text, a line",
        )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
