"""Reader for CRAG-MM conversations: questions about an image, in one or several turns.

Three layouts are read, recognised row by row (the KDD Cup 2025 data set and what was derived from it):
one session a row with ``turns`` and ``answers`` as lists of objects (v0.1.1) or as objects of columns
(v0.1.2), and one turn a row (``query``, ``ans_full``, ``pre_messages``).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from finetrail.rows.problems import Problems, lines
from finetrail.rows.records import Line, Row, content_id
from ingest.readers.images import ImageFinder, RowError, image_key
from ingest.readers.rows import text_of

SESSION_FIELDS = frozenset({"session_id", "image", "image_url", "turns", "answers"})
TURN_FIELDS = frozenset({"interaction_id", "query", "ans_full"})
FLAT_FIELDS = frozenset({"session_id", "image", "image_url", "pre_messages", "turn_idx"}) | TURN_FIELDS
HINT = "Mend or remove these rows; nothing was written"


class _Turn(NamedTuple):
    """One turn, whichever layout it came from."""

    session_id: str
    interaction_id: str
    number: int
    question: str
    answer: str
    image: Row | None
    history: list[Row]
    extra: Row


def read_records(files: Sequence[Path], *, images_root: Path | None) -> Iterator[Row]:
    """Stream one record a turn from CRAG-MM files.

    Images are looked up under `images_root` and hashed; addresses are recorded, not fetched.

    Raises:
        FinetrailError: after the last row, if any row or file is bad; it lists them all (20 in full).
    """
    problems = Problems("records")
    reader = _Reader(ImageFinder(images_root), problems)
    for path in files:
        for line in lines(path, problems):
            yield from reader.read(line, path)
    problems.raise_any(HINT)


class _Reader:
    """Reads rows one by one and remembers what must be unique or is needed by later rows."""

    def __init__(self, images: ImageFinder, problems: Problems) -> None:
        self._images = images
        self._problems = problems
        self._places: dict[tuple[str, ...], str] = {}
        self._histories: dict[str, list[Row]] = {}

    def read(self, line: Line, path: Path) -> list[Row]:
        """Return the records of one row; a bad row gives none and is noted."""
        place = f"{path}:{line.number}"
        name = line.row.get("interaction_id") or line.row.get("session_id")
        where = f"{place} ({name})" if isinstance(name, str) else place
        try:
            turns = self._turns(line.row)
            self._check_unique(turns, place)
        except RowError as error:
            for cause in error.causes:
                self._problems.add(where, cause)
            return []
        return [_record(turn, path, line.number) for turn in turns]

    def _turns(self, row: Row) -> list[_Turn]:
        if "turns" in row:
            return self._session(row)
        if row.keys() & {"query", "interaction_id", "ans_full"}:
            return [self._flat(row)]
        found = ", ".join(sorted(row)[:8]) or "none"
        raise RowError(f"neither `turns` nor `query` is there, so the layout is unknown (fields: {found})")

    def _session(self, row: Row) -> list[_Turn]:
        session_id = text_of(row, "session_id")
        image = self._images.of_row(row, required=True)
        joined = _join(_table(row, "turns"), _table(row, "answers"))
        shared = {key: value for key, value in row.items() if key not in SESSION_FIELDS}
        turns: list[_Turn] = []
        history: list[Row] = []
        for number, (turn, answer) in enumerate(joined):
            extra = {k: v for part in (shared, answer, turn) for k, v in part.items() if k not in TURN_FIELDS}
            turn_id, question, reply = turn["interaction_id"], turn["query"], answer["ans_full"]
            turns.append(_Turn(session_id, turn_id, number, question, reply, image, list(history), extra))
            history += _exchange(question, reply)
        return turns

    def _flat(self, row: Row) -> _Turn:
        session_id, interaction_id = text_of(row, "session_id"), text_of(row, "interaction_id")
        question, answer = text_of(row, "query"), text_of(row, "ans_full")
        image = self._images.of_row(row, required=False)
        given = row.get("pre_messages")
        if given is None:
            grown = self._histories.setdefault(session_id, [])
            history = list(grown)
            grown += _exchange(question, answer)
        else:
            history = _messages(given)
        number = row.get("turn_idx", len(history) // 2)
        if type(number) is not int or number < 0:
            raise RowError(f"turn_idx is {number!r}, expected a whole number from 0")
        extra = {key: value for key, value in row.items() if key not in FLAT_FIELDS}
        return _Turn(session_id, interaction_id, number, question, answer, image, history, extra)

    def _check_unique(self, turns: Sequence[_Turn], place: str) -> None:
        keys: list[tuple[str, ...]] = [("interaction_id", turn.interaction_id) for turn in turns]
        keys += [("turn", turn.session_id, str(turn.number)) for turn in turns]
        known = [key for key in keys if key in self._places]
        if known:
            raise RowError(*(f"duplicate {' '.join(key)}, first seen at {self._places[key]}" for key in known))
        self._places.update(dict.fromkeys(keys, place))


def _record(turn: _Turn, path: Path, line: int) -> Row:
    key = image_key(turn.image)
    return {
        "id": content_id("rec", turn.session_id, turn.interaction_id, turn.question, turn.answer, key or ""),
        "group_keys": {"session": turn.session_id, "image": key},
        "session_id": turn.session_id,
        "turn": turn.number,
        "question": turn.question,
        "answer": turn.answer,
        "image": turn.image,
        "history": turn.history,
        "origin": {"file": path.name, "line": line, "interaction_id": turn.interaction_id},
        "extra": turn.extra,
    }


def _table(row: Row, name: str) -> list[Row]:
    """Return a list of objects from either a list of objects or an object of equally long columns."""
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        table: list[Row] = value
    elif isinstance(value, dict) and all(isinstance(column, list) for column in value.values()):
        lengths = {key: len(column) for key, column in value.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
            raise RowError(f"the lists in `{name}` are of unequal length: {listed}")
        table = [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    else:
        raise RowError(f"`{name}` is neither a list of objects nor an object of lists")
    if not table:
        raise RowError(f"`{name}` is empty")
    return table


def _join(turns: list[Row], answers: list[Row]) -> list[tuple[Row, Row]]:
    """Pair each turn with its answer by ``interaction_id``, in the order of the turns.

    Raises:
        RowError: everything that does not join, with its id.
    """
    causes: list[str] = []
    for name, table in (("turns", turns), ("answers", answers)):
        ids = [text_of(item, "interaction_id") for item in table]
        repeated = [key for key, times in Counter(ids).items() if times > 1]
        causes += [f"`{name}` has the interaction_id {key!r} more than once" for key in repeated]
    by_id = {answer["interaction_id"]: answer for answer in answers}
    known = {turn["interaction_id"] for turn in turns}
    causes += [f"the answer {key!r} joins no turn" for key in by_id if key not in known]
    for turn in turns:
        key = turn["interaction_id"]
        causes += [] if _has_text(turn, "query") else [f"the turn {key!r} has no query"]
        if key not in by_id:
            causes.append(f"the turn {key!r} has no answer")
        elif not _has_text(by_id[key], "ans_full"):
            causes.append(f"the answer {key!r} has no `ans_full`")
    if causes:
        raise RowError(*causes)
    return [(turn, by_id[turn["interaction_id"]]) for turn in turns]


def _has_text(row: Row, name: str) -> bool:
    value = row.get(name)
    return isinstance(value, str) and bool(value.strip())


def _exchange(question: str, answer: str) -> list[Row]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _messages(value: Any) -> list[Row]:
    if not isinstance(value, list) or len(value) % 2:
        raise RowError("`pre_messages` is no list of question and answer pairs")
    roles = ("user", "assistant")
    for index, message in enumerate(value):
        good = isinstance(message, dict) and message.get("role") == roles[index % 2]
        if not good or not isinstance(message.get("content"), str):
            raise RowError(f"`pre_messages`[{index}] is no {roles[index % 2]} message with a text as content")
    return [{"role": message["role"], "content": message["content"]} for message in value]
