"""Reader for conversations: OpenAI's form, ``{"messages": [{"role", "content"}]}``, and ShareGPT's,
``{"conversations": [{"from", "value"}]}``, one a line of JSON Lines or one an entry of a JSON list.

Each reply becomes a record, with the turns before it as its history. A system message is kept in ``extra``: what the
model is told stands in the recipe. A message with ``weight: 0`` is history only, as OpenAI means it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from finetrail.rows.json_array import Entry, read_objects
from finetrail.rows.problems import Problems
from finetrail.rows.records import Row, canonical_json, content_id, sha256_text
from ingest.readers.images import RowError
from ingest.readers.rows import HINT

FORMS = {"messages": ("role", "content"), "conversations": ("from", "value")}
ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant",
}  # fmt: skip


class _Message(NamedTuple):
    role: str
    content: str
    is_taught: bool


def read_records(files: Sequence[Path], *, images_root: Path | None) -> Iterator[Row]:
    """Stream one record a reply.

    Raises:
        FinetrailError: after the last row, if any row or file is bad; it lists them all (20 in full).
    """
    problems = Problems("records")
    seen: Counter[str] = Counter()
    for path in files:
        for entry in read_objects(path, problems):
            try:
                yield from _records(entry, path, seen)
            except RowError as error:
                for cause in error.causes:
                    problems.add(entry.where, cause)
    problems.raise_any(HINT)


def _records(entry: Entry, path: Path, seen: Counter[str]) -> list[Row]:
    name = next((name for name in FORMS if name in entry.row), None)
    if name is None:
        found = ", ".join(sorted(entry.row)[:8]) or "none"
        raise RowError(f"neither `messages` nor `conversations` is there (fields: {found})")
    messages = _messages(entry.row[name], name)
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    turns = [message for message in messages if message.role != "system"]
    for number, turn in enumerate(turns):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            raise RowError(f"turn {number + 1} is the {turn.role}'s, expected the {expected}'s: the two take turns")
    if len(turns) < 2 or len(turns) % 2:
        raise RowError("the conversation does not end with the assistant's reply")
    place = content_id("chat", canonical_json([[turn.role, turn.content] for turn in messages]))
    session = content_id("chat", place, str(seen[place])) if seen[place] else place
    seen[place] += 1
    extra = {key: value for key, value in entry.row.items() if key != name} | ({"system": system} if system else {})
    origin = {"file": path.name, "line": entry.number}
    records = []
    for number in range(0, len(turns), 2):
        question, answer = turns[number], turns[number + 1]
        if not answer.is_taught:
            continue
        records.append(
            {
                "id": content_id("rec", session, str(number // 2), question.content, answer.content),
                "group_keys": {"session": session, "prompt": sha256_text(turns[0].content)[:16]},
                "session_id": session,
                "turn": number // 2,
                "question": question.content,
                "answer": answer.content,
                "image": None,
                "history": [{"role": turn.role, "content": turn.content} for turn in turns[:number]],
                "origin": origin,
                "extra": extra,
            }
        )
    return records


def _messages(value: object, name: str) -> list[_Message]:
    role_field, text_field = FORMS[name]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise RowError(f"`{name}` is no list of messages")
    messages, causes = [], []
    for number, one in enumerate(value, start=1):
        role = ROLES.get(str(one.get(role_field)).casefold())
        content = _text(one.get(text_field))
        if role is None:
            causes.append(
                f"message {number}: the {role_field} {one.get(role_field)!r} is not read (calls of tools are not)"
            )
        elif not content.strip():
            causes.append(f"message {number}: `{text_field}` holds no text")
        else:
            messages.append(_Message(role, content, one.get("weight") != 0))
    if causes:
        raise RowError(*causes)
    return messages


def _text(content: object) -> str:
    """Return a content that is a text, or a list of parts that are all texts; empty for any other."""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    return content if isinstance(content, str) else ""
