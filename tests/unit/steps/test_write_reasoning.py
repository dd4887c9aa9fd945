"""A teacher reasons about train prompts of every kind; it sees no key, and what it was shown is what is trained on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.rows.records import read_rows, write_jsonl
from ingest.readers.multiple_choice import read_records
from synthesize.match_answers import fault_of
from synthesize.write_reasoning import main
from tests.unit.llm.fake_llm import LLM_KEYS, FakeServer, completion

ROOT = Path(__file__).resolve().parents[3]
PROMPT = ROOT / "config" / "prompts" / "cal" / "write_reasoning.md"
MODEL: dict[str, Any] = {
    "model": "m",
    "revision": None,
    "temperature": 0.0,
    "top_p": 1.0,
    "max_tokens": 50,
    "extra_body": {},
    "logprobs": None,
}
LETTERED = {"prompt": "Ann met Bob. Who was late?\nA: Ann\nB: Unknown\nC: Bob", "chosen": "B"}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.handler = answer_first
    yield fake
    fake.close()


async def answer_first(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Choose the first of the answers that the prompt lists."""
    assert "response_format" not in body
    asked = body["messages"][-1]["content"]
    first = asked.rpartition("<answers>\n")[2].splitlines()[0]
    return completion(f"Reasoning: it is the first\n\nReflection: NO\n\nAnswer: {first}")


@pytest.fixture(autouse=True)
def run_config(folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "scale": "full",
        "results_dir": "results",
        "llm": {
            **LLM_KEYS,
            "endpoints": {"fake": {"kind": "openai", "base_url": server.url, "prices": {}}},
        },
        "recipes": {"by_hand": {"synthesize": {"teacher": {"endpoint": "fake"}}}},
    }
    (folder / "run_config.yaml").write_text(json.dumps(content))
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))


def run(records: list[dict[str, Any]], *, versions: int = 1, permute: bool = True, held_out: int = 0) -> int:
    splits = ["dev"] * held_out + ["train"] * (len(records) - held_out)
    write_jsonl(Path("records.jsonl"), records)
    write_jsonl(
        Path("splits.jsonl"),
        [{"id": row["id"], "group": "g", "split": split} for row, split in zip(records, splits, strict=True)],
    )
    settings = {"synthesize": {"versions": versions, "teacher": MODEL, "permute_options": permute}}
    files = ["--rows", "records.jsonl", "--splits", "splits.jsonl", "--out", "replies.jsonl", "--meta", "r.meta.json"]
    return main([*files, "--settings", json.dumps(settings), "--prompt", str(PROMPT)])


def read(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    write_jsonl(Path("own.jsonl"), rows)
    return list(read_records([Path("own.jsonl")], images_root=None))


def test_prompts_of_every_kind_are_answered_and_held_to_their_keys(server: FakeServer) -> None:
    records = list(read_records([ROOT / "data/cal/other_kinds.jsonl"], images_root=None)) + read(LETTERED)
    assert run(records, permute=False) == 0
    replies = list(read_rows(Path("replies.jsonl")))
    right = [row for row in replies if fault_of(row) is None]
    assert {row["choice"]["kind"] for row in right} == {"relation", "verdict"}
    assert len(right) == sum(record["choice"]["key"] == 0 for record in records)
    assert len(replies) == len(records) == len(server.bodies)


def test_the_teacher_is_shown_the_options_in_the_order_that_is_trained_on(server: FakeServer) -> None:
    assert run(read(LETTERED), versions=6) == 0
    replies = list(read_rows(Path("replies.jsonl")))
    asked = [body["messages"][-1]["content"] for body in server.bodies]
    for row in replies:
        assert any(row["question"] in text for text in asked)
        assert row["choice"]["options"][row["choice"]["key"]] == "Unknown"
        assert row["reply"].endswith(f"Answer: A: {row['choice']['options'][0]}")
    assert len({row["question"] for row in replies}) > 2
    assert not any("chosen" in text or '"key"' in text for text in asked)


def test_held_out_records_are_not_asked_about(server: FakeServer) -> None:
    records = read(LETTERED, LETTERED | {"prompt": "Ann met Eve. Who left?\nA: Ann\nB: Unknown\nC: Eve"})
    assert run(records, held_out=1) == 0
    assert [row["record_id"] for row in read_rows(Path("replies.jsonl"))] == [records[1]["id"]]
    assert len(server.bodies) == 1


def test_a_record_without_options_stops_the_step(capfd: pytest.CaptureFixture[str]) -> None:
    (record,) = read(LETTERED)
    del record["choice"]
    assert run([record]) == 1
    assert "the record has no options to choose from" in capfd.readouterr().err.splitlines()[-1]
