"""Answer versions: which sessions they are made of, what repeats, what was cut, what another refusal share gives."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.examples.select import BROKEN
from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row, derive_seed, read_rows, write_jsonl
from synthesize import generate_answers, select_answers
from tests.unit.llm.fake_llm import FakeServer, completion
from tests.unit.steps.asking import MODEL, PROMPTS, prepare

SESSIONS = {"single": 1, "multi": 2}


@pytest.fixture(autouse=True)
def own_run_config(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.close()


def write_records(folder: Path) -> None:
    """Write a session of one turn and one of two, each with a relevant passage."""
    rows: list[Row] = [
        {"id": f"{name}-{turn}", "session_id": name, "turn": turn, "question": f"{name} {turn}?", "answer": "Gold."}
        | {"image": None, "history": [], "chunks": [{"passage_id": "p", "start": 0, "end": 4}]}
        | {"labels": [{"passage_id": "p", "relevant": True}]}
        for name, turns in SESSIONS.items()
        for turn in range(turns)
    ]
    write_jsonl(folder / "records.jsonl", rows)
    write_jsonl(folder / "passages.jsonl", [{"id": "p", "title": "", "text": "Text"}])


def settings(*, student: dict[str, Any] | None = None, **changes: Any) -> str:
    chosen = {"turns": "comb", "versions": 3, "teacher": MODEL, "keep_original": False, "keep": "all"}
    chosen |= {"refusal_share": 0.2, "refusal_text": "I don't know", **changes}
    return json.dumps({"synthesize": chosen, "student": student, "source": {"images": None}})


def generate(**changes: Any) -> list[Row]:
    given = ["--rows", "records.jsonl", "--records", "records.jsonl", "--passages", "passages.jsonl"]
    given += ["--settings", settings(**changes), "--prompt", str(PROMPTS / "generate_answers.md")]
    assert generate_answers.main([*given, "--out", "answers.jsonl", "--meta", "answers.meta.json"]) == 0
    return list(read_rows(Path("answers.jsonl")))


def select(versions: list[Row], **changes: Any) -> tuple[list[Row], list[Row], Row]:
    write_jsonl(Path("judged.jsonl"), versions)
    given = ["--rows", "judged.jsonl", "--records", "records.jsonl", "--originals", "records.jsonl"]
    given += ["--settings", settings(**changes), "--report", "refusals.json"]
    assert select_answers.main([*given, "--out", "s.jsonl", "--dropped", "d.jsonl", "--meta", "s.meta.json"]) == 0
    return list(read_rows(Path("s.jsonl"))), list(read_rows(Path("d.jsonl"))), read_json(Path("refusals.json"))


@pytest.mark.parametrize(("turns", "expected"), [("comb", 3), ("single", 1), ("multi", 2)])
def test_single_turn_and_multi_turn_records_together_or_alone(
    folder: Path, server: FakeServer, turns: str, expected: int
) -> None:
    async def answer(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(json.dumps({"answer": f"Answer {number}."}))

    server.handler = answer
    prepare(folder, server.url, [])
    write_records(folder)
    found = generate(turns=turns)
    assert {row["record_id"]: row["turns"] for row in found} == {
        f"{name}-{turn}": name for name, count in SESSIONS.items() if turns in ("comb", name) for turn in range(count)
    }
    assert len(found) == 3 * expected and len(server.bodies) == 3 * expected
    seeds = {(body["messages"][-1]["content"], body.get("seed")) for body in server.bodies}
    assert len(seeds) == len(server.bodies), "every version has a seed of its own"
    kept, dropped, _ = select([row | {"verdict": {"correct": True}} for row in found], turns=turns)
    assert {row["turns"] for row in kept} == {"single", "multi"} & ({turns} if turns != "comb" else set(SESSIONS))
    others = [row["id"] for row in dropped if row["reason"] == select_answers.OTHER_KIND]
    assert len(others) == 3 - expected


def test_versions_that_say_the_same_are_counted_and_one_that_fails_is_set_aside_alone(
    folder: Path, server: FakeServer
) -> None:
    async def answer(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        failing = body.get("seed") == derive_seed("multi-1", "generate_answers")
        return completion("no JSON" if failing else '{"answer": "The same."}')

    server.handler = answer
    prepare(folder, server.url, [], max_quarantined_share=0.5)
    write_records(folder)
    found = generate()
    meta = read_json(folder / "answers.meta.json")
    assert [row["record_id"] for row in found].count("multi-1") == 2, "its first version failed, the others did not"
    assert meta["answers"]["repeated_versions"] == sum(row["repeats"] for row in found) == 5
    assert meta["counts"] == {"in": 9, "kept": 8, "dropped": {}, "quarantined": 1}
    assert meta["records"] == {"single_turn": 1, "multi_turn": 2}


def test_a_version_that_was_cut_ends_with_its_last_whole_sentence_or_is_dropped(
    folder: Path, server: FakeServer
) -> None:
    async def answer(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        said = "It began in 1980. It ended" if "multi" in str(body["messages"]) else "It began in"
        return completion(json.dumps({"answer": said}), finish_reason="length")

    server.handler = answer
    prepare(folder, server.url, [])
    write_records(folder)
    found = generate(versions=1)
    assert {row["record_id"]: (row["answer"], row["cut"]) for row in found} == {
        "single-0": ("It began in", "broken"),
        "multi-0": ("It began in 1980.", "mended"),
        "multi-1": ("It began in 1980.", "mended"),
    }
    kept, dropped, _ = select([row | {"verdict": {"correct": True}} for row in found], refusal_share=0.0)
    assert {row["record_id"] for row in kept} == {"multi-0", "multi-1"}
    assert [row["reason"] for row in dropped if row["kind"] == "version"] == [BROKEN]


def test_the_curve_says_what_other_shares_would_give(folder: Path) -> None:
    write_records(folder)
    versions = [
        {"id": f"v{n}", "record_id": name, "version": 0, "answer": f"A {n}", "passages": [], "calls": []}
        | {"verdict": {"correct": n == 0}, "parents": [name]}
        for n, name in enumerate(("single-0", "multi-0", "multi-1"))
    ]
    _, _, report = select(versions, refusal_share=0.4)
    curve = {entry["refusal_share"]: (entry["answers"], entry["refusals"]) for entry in report["curve"]}
    assert report["refusal_share"] == 0.4
    assert curve[0.0] == (1, 0) and curve[0.4] == (1, 0) and curve[0.5] == (1, 1)
    assert list(curve) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
