"""What readers of single-turn records share: fields that must be there, and the record that comes out."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from finetrail.rows.problems import Problems
from finetrail.rows.records import Line, Row, content_id, sha256_text
from ingest.readers.images import RowError

HINT = "Mend or remove these rows; nothing was written"


def text_of(row: Row, name: str) -> str:
    """Return a field that must hold a text.

    Raises:
        RowError: it does not.
    """
    value = row.get(name)
    if isinstance(value, str) and value.strip():
        return value
    if value is None or isinstance(value, str):
        raise RowError(f"`{name}` is missing or empty")
    raise RowError(f"`{name}` is {type(value).__name__}, expected a text")


def good_records(
    read: Iterable[Line], path: Path, problems: Problems, make: Callable[[Line, Path], Row]
) -> Iterator[Row]:
    """Yield the record of each line of a file; the causes of a `RowError` go to the problems, with the line."""
    for line in read:
        try:
            record = make(line, path)
        except RowError as error:
            for cause in error.causes:
                problems.add(f"{path}:{line.number}", cause)
            continue
        yield record


class Single:
    """Makes records of single turns; equal ones are told apart by their number and stay in one group."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def record(
        self, prompt: str, answer: str, *, template: str | None, path: Path, line: int, extra: Mapping[str, object]
    ) -> Row:
        """Make a record.

        Args:
            prompt: what the model reads, to the last character.
            answer: the right answer, or the finished response.
            template: what the record was made from together with others, where that is known.
            path, line: where it stands.
            extra: what else is known of it.
        """
        place = content_id("rec", prompt, answer)
        number = self._seen[place]
        self._seen[place] += 1
        row_id = content_id("rec", prompt, answer, str(number)) if number else place
        return {
            "id": row_id,
            "group_keys": {"template": template, "prompt": sha256_text(prompt)[:16]},
            "session_id": row_id,
            "turn": 0,
            "question": prompt,
            "answer": answer,
            "image": None,
            "history": [],
            "origin": {"file": path.name, "line": line},
            "extra": dict(extra),
        }
