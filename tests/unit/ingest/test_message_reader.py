"""Conversations in OpenAI's and ShareGPT's form: each reply is a record, and what is no conversation is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row
from ingest.readers.registry import READERS

OPENAI: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "When does it open?"},
    {"role": "assistant", "content": "At seven."},
    {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "close?"}]},
    {"role": "assistant", "content": "At nine."},
]
SHAREGPT = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "When does it open?"},
    {"from": "gpt", "value": "At seven."},
    {"from": "human", "value": "And close?"},
    {"from": "gpt", "value": "At nine."},
]


def read(path: Path, *rows: Any) -> list[Row]:
    lines = "\n".join(json.dumps(row) for row in rows)
    path.write_text(lines if path.suffix == ".jsonl" else json.dumps(rows))
    return list(READERS["messages"]([path], images_root=None))


@pytest.mark.parametrize("row", [{"messages": OPENAI, "topic": "hours"}, {"conversations": SHAREGPT, "topic": "hours"}])
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_each_reply_is_a_record_with_what_was_said_before(tmp_path: Path, row: Row, ending: str) -> None:
    first, second = read(tmp_path / f"a.{ending}", row)
    assert [(one["question"], one["answer"], one["turn"]) for one in (first, second)] == [
        ("When does it open?", "At seven.", 0), ("And close?", "At nine.", 1),
    ]  # fmt: skip
    assert second["history"] == [
        {"role": "user", "content": "When does it open?"}, {"role": "assistant", "content": "At seven."},
    ]  # fmt: skip
    assert first["extra"] == second["extra"] == {"topic": "hours", "system": "Be brief."}
    assert first["session_id"] == second["session_id"] and first["id"] != second["id"]


def test_one_form_gives_the_records_of_the_other(tmp_path: Path) -> None:
    ours = [
        read(tmp_path / "a.jsonl", {name: held})[1]
        for name, held in (("messages", OPENAI), ("conversations", SHAREGPT))
    ]
    assert ours[0] == ours[1]


def test_equal_conversations_are_told_apart_and_stay_in_one_group(tmp_path: Path) -> None:
    found = read(tmp_path / "a.jsonl", {"messages": OPENAI[1:3]}, {"messages": OPENAI[1:3]})
    assert len({row["id"] for row in found}) == 2
    assert len({row["group_keys"]["prompt"] for row in found}) == 1


def test_a_reply_without_weight_is_history_only(tmp_path: Path) -> None:
    untaught = [*OPENAI[:2], OPENAI[2] | {"weight": 0}, *OPENAI[3:]]
    (row,) = read(tmp_path / "a.jsonl", {"messages": untaught})
    assert (row["answer"], len(row["history"])) == ("At nine.", 2)


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"prompt": "a"}, "neither `messages` nor `conversations` is there .fields: prompt"),
        ({"messages": []}, ".messages. is no list of messages"),
        ({"messages": OPENAI[:2]}, "the conversation does not end with the assistant's reply"),
        ({"messages": [OPENAI[2], *OPENAI[1:3]]}, "turn 1 is the assistant's, expected the user's"),
        ({"messages": [OPENAI[1], {"role": "tool", "content": "x"}]}, "message 2: the role 'tool' is not read"),
        ({"messages": [OPENAI[1], {"role": "assistant", "content": None}]}, "message 2: `content` holds no text"),
        ({"messages": [OPENAI[1] | {"content": [{"type": "image_url"}]}]}, "message 1: `content` holds no text"),
        ({"conversations": [{"from": "human"}]}, "message 1: `value` holds no text"),
    ],
)
def test_what_is_no_conversation_is_named_with_its_line(tmp_path: Path, row: Row, cause: str) -> None:
    with pytest.raises(FinetrailError, match=f"a.jsonl:2: {cause}"):
        read(tmp_path / "a.jsonl", {"messages": OPENAI}, row)
