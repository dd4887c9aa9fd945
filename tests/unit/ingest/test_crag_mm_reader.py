import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from ingest.readers.registry import READERS

read_records = READERS["crag_mm"]
ROOT = Path(__file__).parents[3]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def listed(session: str = "s1", turns: int = 2, **fields: Any) -> dict[str, Any]:
    """A row of v0.1.1: lists of objects with labels in words."""
    ids = [f"{session}-{number}" for number in range(turns)]
    return {
        "session_id": session,
        "image_url": f"https://images.example/{session}.jpg",
        "turns": [{"interaction_id": i, "domain": "animal", "query": f"What is {i}?"} for i in ids],
        "answers": [{"interaction_id": i, "ans_full": f"It is {i}."} for i in reversed(ids)],
        **fields,
    }


def columns(session: str = "s2", turns: int = 2, **fields: Any) -> dict[str, Any]:
    """The same of v0.1.2: objects of columns with numbered labels."""
    row = listed(session, turns)
    for name in ("turns", "answers"):
        row[name] = {key: [item[key] for item in row[name]] for key in row[name][0]}
    row["turns"]["domain"] = [3] * turns
    return {**row, "image": None, **fields}


def flat(session: str = "s3", number: int = 0, **fields: Any) -> dict[str, Any]:
    turn = f"{session}-{number}"
    return {
        "session_id": session,
        "interaction_id": turn,
        "image": None,
        "query": f"What is {turn}?",
        "ans_full": f"It is {turn}.",
        "data_split": "valid",
        **fields,
    }


def test_all_layouts_in_one_file_give_the_same_kind_of_record(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", listed(), columns(), flat(), flat(number=1), listed("single", 1))
    records = list(read_records([path], images_root=None))
    assert [(r["session_id"], r["turn"]) for r in records] == [
        ("s1", 0), ("s1", 1), ("s2", 0), ("s2", 1), ("s3", 0), ("s3", 1), ("single", 0),
    ]  # fmt: skip
    assert all(r["answer"] == f"It is {r['origin']['interaction_id']}." for r in records)
    for first, second in (records[0:2], records[2:4], records[4:6]):
        assert first["history"] == []
        assert second["history"] == [
            {"role": "user", "content": first["question"]},
            {"role": "assistant", "content": first["answer"]},
        ]
    assert records[0]["image"] == {"url": "https://images.example/s1.jpg", "sha256": None}
    assert records[0]["group_keys"] == {"session": "s1", "image": "url:https://images.example/s1.jpg"}
    assert [records[i]["extra"]["domain"] for i in (0, 2)] == ["animal", 3]
    assert records[4]["image"] is None
    assert records[4]["extra"] == {"data_split": "valid"}
    assert records[5]["origin"] == {"file": "a.jsonl", "line": 4, "interaction_id": "s3-1"}


def test_ids_depend_on_content_and_not_on_file_or_position(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", listed(), columns())
    second = write(tmp_path / "b.jsonl", columns(), listed())
    changed = listed()
    changed["answers"][0]["ans_full"] = "It is another thing."
    third = write(tmp_path / "c.jsonl", changed, columns())
    ids, moved, other = (
        {r["origin"]["interaction_id"]: r["id"] for r in read_records([path], images_root=None)}
        for path in (first, second, third)
    )
    assert ids == moved
    assert len(set(ids.values())) == 4
    assert {key for key in ids if ids[key] != other[key]} == {"s1-1"}


def test_local_images_are_found_and_hashed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    (images / "deep" / "a.png").write_bytes(b"pixels")
    rows = [
        flat("a", image="deep/a.png"),
        flat("b", image="deep/../deep/a.png"),
        flat("c", image="deep/a.png"),
    ]
    records = list(read_records([write(tmp_path / "a.jsonl", *rows)], images_root=images))
    digest = hashlib.sha256(b"pixels").hexdigest()
    assert [r["image"] for r in records] == [{"path": "deep/a.png", "sha256": digest}] * 3
    assert {r["group_keys"]["image"] for r in records} == {f"sha256:{digest}"}


def test_given_history_is_taken_and_numbers_the_turn(tmp_path: Path) -> None:
    before = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]
    rows = [flat(number=1, pre_messages=before), flat("s4", 0, pre_messages=[], turn_idx=7)]
    records = list(read_records([write(tmp_path / "a.jsonl", *rows)], images_root=None))
    assert [(r["turn"], r["history"]) for r in records] == [(1, before), (7, [])]


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def edited(row: dict[str, Any], table: str, **change: Any) -> dict[str, Any]:
    return {**row, table: {**row[table], **change}}


BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "flat row without query": (without(flat(), "query"), "(s3-0): `query` is missing or empty"),
    "blank query": (flat(query="  "), "(s3-0): `query` is missing or empty"),
    "query of another type": (flat(query=7), "`query` is int, expected a text"),
    "turn without query": (
        edited(columns(), "turns", query=["x", None]),
        "(s2): the turn 's2-1' has no query",
    ),
    "no layout": ({"session_id": "s", "text": "x"}, "the layout is unknown (fields: session_id, text)"),
    "answers that join no turn": (
        edited(columns(), "answers", interaction_id=["s2-1", "s9-9"]),
        "the answer 's9-9' joins no turn",
    ),
    "turn without an answer": (
        listed(answers=[{"interaction_id": "s1-0", "ans_full": "x"}]),
        "the turn 's1-1' has no answer",
    ),
    "empty answer": (edited(columns(), "answers", ans_full=["x", ""]), "the answer 's2-0' has no `ans_full`"),
    "repeated turn": (
        edited(columns(), "turns", interaction_id=["s2-0", "s2-0"]),
        "`turns` has the interaction_id 's2-0' more than once",
    ),
    "unequal lists": (
        edited(columns(), "turns", query=["only one"]),
        "the lists in `turns` are of unequal length: interaction_id 2, domain 2, query 1",
    ),
    "no turns": ({**listed(), "turns": []}, "`turns` is empty"),
    "turns of another type": ({**listed(), "turns": "x"}, "`turns` is neither a list of objects nor"),
    "no answers": (without(listed(), "answers"), "`answers` is neither a list of objects nor"),
    "no image": (without(listed(), "image_url"), "neither image nor image_url is given"),
    "two images": (listed(image="a.png"), "both image and image_url are given"),
    "image missing": (flat(image="none.png"), "image 'none.png' is missing"),
    "image outside": (flat(image="../secret.png"), "image '../secret.png' leads out of the images folder"),
    "image outside, absolute": (flat(image="/etc/hostname"), "leads out of the images folder"),
    "image that links outside": (flat(image="link.png"), "image 'link.png' leads out of the images folder"),
    "image that is a folder": (flat(image="."), "image '.' is missing"),
    "image with a NUL": (flat(image="a\0b"), "is no usable path"),
    "embedded image": (flat(image={"bytes": "x"}), "image is dict, expected a text"),
    "address of a file": (flat(image_url="file:///etc/passwd"), "is no http(s) address"),
    "history out of order": (
        flat(pre_messages=[{"role": "assistant", "content": "x"}] * 2),
        "`pre_messages`[0] is no user message",
    ),
    "odd history": (
        flat(pre_messages=[{"role": "user", "content": "x"}]),
        "`pre_messages` is no list of question",
    ),
    "turn number": (flat(turn_idx=True), "turn_idx is True, expected a whole number"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named(case: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (images / "link.png").symlink_to(tmp_path / "secret.png")
    row, cause = BAD_ROWS[case]
    path = write(tmp_path / "a.jsonl", listed("good"), row)
    with pytest.raises(FinetrailError) as caught:
        list(read_records([path], images_root=images))
    assert f"{path}:2" in str(caught.value)
    assert cause in str(caught.value)
    assert "(good)" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", ": the file is empty"),
        (b"\n \n", ": the file is empty"),
        (b'{"session_id": "s3"', ":1: the last line is cut off"),
        (b'{"session_id": "\xff"}\n', ":1: invalid UTF-8 at byte 17"),
        (b"[1]\n", ":1: expected a JSON object"),
        (b'{"query": "\\ud800"}\n', ":1: a text holds half of a surrogate pair"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(FinetrailError) as caught:
        list(read_records([path], images_root=None))
    assert f"{path}{cause}" in str(caught.value)


def test_a_missing_file_and_a_local_image_without_a_folder_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", flat(image="a.png"))
    with pytest.raises(FinetrailError) as caught:
        list(read_records([tmp_path / "none.jsonl", path], images_root=None))
    assert "none.jsonl: cannot be read: No such file" in str(caught.value)
    assert "no images folder is configured" in str(caught.value)


def test_duplicates_are_found_across_files_and_layouts(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", listed("s1"))
    second = write(tmp_path / "b.jsonl", columns("s1"), flat("s1", 0, interaction_id="new"))
    with pytest.raises(FinetrailError) as caught:
        list(read_records([first, second], images_root=None))
    text = str(caught.value)
    assert f"{second}:1 (s1): duplicate interaction_id s1-0, first seen at {first}:1" in text
    assert f"{second}:2 (new): duplicate turn s1 0, first seen at {first}:1" in text


def test_all_bad_rows_are_counted_and_twenty_are_shown(tmp_path: Path) -> None:
    bad = [without(flat(f"s{number}"), "query") for number in range(30)]
    path = write(tmp_path / "a.jsonl", *bad, listed("good"))
    rows = read_records([path], images_root=None)
    assert [next(rows)["session_id"] for _ in range(2)] == ["good", "good"]
    with pytest.raises(FinetrailError) as caught:
        next(rows)
    text = str(caught.value)
    assert text.startswith("30 faults")
    assert text.count("a.jsonl:") == 20
    assert "... and 10 more" in text


def test_the_bundled_turns_are_read() -> None:
    records = list(read_records([ROOT / "data/crag_mm/turns.jsonl"], images_root=None))
    assert len(records) == len({r["id"] for r in records}) == 214
    assert all(len(r["history"]) == 2 * r["turn"] for r in records)
