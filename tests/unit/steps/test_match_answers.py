"""Replies of a teacher: only those whose answer equals the key are kept; each other one is listed with the reason."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from finetrail.examples.choices import CONTRADICTION, NO_LAYOUT, NO_OPTION
from finetrail.rows.records import read_rows, write_jsonl
from synthesize import match_answers
from synthesize.match_answers import CUT, NOT_BEST, NOT_KEY, REPEATED

LETTER = {"kind": "letter", "options": ["Ann", "Unknown", "Bob"], "key": 1, "unknown": 1, "target": None}
RELATION = {"kind": "relation", "options": ["entailment", "neutral", "contradiction"], "key": 2}
VERDICT = {"kind": "verdict", "options": ["[[A]]", "[[B]]", "[[C]]"], "key": 0}


def laid_out(answer: str) -> str:
    return f"Reasoning: it says so\n\nReflection: NO\n\nAnswer: {answer}"


REPLIES: list[tuple[dict[str, Any], str, str | None]] = [
    (LETTER, f" {laid_out('B: Unknown')}\n", None),
    (LETTER, laid_out("B: Unknown"), REPEATED),
    (LETTER, laid_out("A: Ann"), NOT_KEY),
    (LETTER, laid_out("A: Unknown"), CONTRADICTION),
    (LETTER, laid_out("B"), NO_OPTION),
    (LETTER, "B: Unknown", NO_LAYOUT),
    (RELATION, laid_out("contradiction"), None),
    (RELATION, laid_out("neutral"), NOT_KEY),
    (VERDICT, laid_out("[[A]]"), None),
    (VERDICT, laid_out("[[B]]"), NOT_KEY),
    (VERDICT, laid_out("A"), NO_OPTION),
]


def row(number: int, choice: dict[str, Any], reply: str, finish: str = "stop") -> dict[str, Any]:
    return {
        "id": f"reply{number}",
        "parents": [f"record{choice['kind']}"],
        "record_id": f"record{choice['kind']}",
        "session_id": f"record{choice['kind']}",
        "turn": 0,
        "question": f"a {choice['kind']}",
        "choice": choice,
        "reply": reply,
        "finish_reason": finish,
        "calls": [f"call{number}"],
    }


def run(rows: list[dict[str, Any]], keep: str = "all") -> int:
    write_jsonl(Path("replies.jsonl"), rows)
    files = [
        "--rows",
        "replies.jsonl",
        "--out",
        "synthetic.jsonl",
        "--dropped",
        "dropped.jsonl",
        "--meta",
        "s.meta.json",
    ]
    return match_answers.main([*files, "--settings", json.dumps({"synthesize": {"kind": "reasoning", "keep": keep}})])


def test_only_what_equals_the_key_is_kept_and_the_rest_is_listed() -> None:
    rows = [row(number, choice, reply) for number, (choice, reply, _) in enumerate(REPLIES)]
    rows.append(row(99, LETTER, laid_out("B: Unk"), finish="length"))
    assert run(rows) == 0
    kept = list(read_rows(Path("synthetic.jsonl")))
    dropped = list(read_rows(Path("dropped.jsonl")))
    expected = {f"reply{n}": why for n, (_, _, why) in enumerate(REPLIES) if why} | {"reply99": CUT}
    assert {drop["id"]: drop["reason"] for drop in dropped} == expected
    assert next(drop["winner"] for drop in dropped if drop["reason"] == REPEATED) == "reply0"
    assert [example["parents"] for example in kept] == [["reply0"], ["reply6"], ["reply8"]]
    assert kept[0]["answer"] == laid_out("B: Unknown")
    assert kept[0]["calls"] == ["call0"] and kept[0]["record_id"] == "recordletter"
    counts = json.loads(Path("s.meta.json").read_text())["counts"]
    assert counts == {
        "in": 12,
        "kept": 3,
        "dropped": dict(sorted(Counter(expected.values()).items())),
        "quarantined": 0,
    }


def test_of_a_record_the_first_right_reply_may_be_enough() -> None:
    wrong, right = laid_out("A: Ann"), laid_out("B: Unknown")
    rows = [
        row(0, LETTER, wrong),
        row(1, LETTER, right),
        row(2, LETTER, right.replace("says", "said")),
        row(3, LETTER, right),
    ]
    assert run(rows, keep="best") == 0
    assert [example["parents"] for example in read_rows(Path("synthetic.jsonl"))] == [["reply1"]]
    dropped = {drop["id"]: (drop["reason"], drop["winner"]) for drop in read_rows(Path("dropped.jsonl"))}
    assert dropped == {"reply0": (NOT_KEY, None), "reply2": (NOT_BEST, "reply1"), "reply3": (REPEATED, "reply1")}


def test_nothing_kept_is_an_error_that_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([row(0, LETTER, laid_out("A: Ann")), row(1, LETTER, laid_out("A: Ann"), "length")]) == 1
    assert not Path("synthetic.jsonl").exists()
    assert not Path("dropped.jsonl").exists()
    said = capfd.readouterr().err
    assert "synthetic.jsonl: no row came out of this step of 2 that came in: the answer is not the key (1); the" in said
    assert "was cut at its greatest length (1). Mend the records, or the settings that leave none" in said
