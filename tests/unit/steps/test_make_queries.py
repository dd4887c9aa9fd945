"""Search queries are written from what the user said, never from an answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.rows.records import read_rows, write_jsonl
from recall.make_queries import main
from tests.unit.llm.fake_llm import LLM_KEYS, FakeServer, completion

PROMPT = Path(__file__).resolve().parents[3] / "config" / "prompts" / "crag_mm" / "make_queries.md"
MODEL: dict[str, Any] = {
    "model": "m",
    "revision": None,
    "temperature": 0.0,
    "top_p": 1.0,
    "max_tokens": 50,
    "extra_body": {},
    "logprobs": None,
}
ROW: dict[str, Any] = {
    "id": "s1:3",
    "question": "How old is it?",
    "answer": "The target says 1843.",
    "image": None,
    "history": [
        {"role": "user", "content": "What is this bridge?"},
        {"role": "assistant", "content": "An answer: the Rialto."},
        {"role": "user", "content": "Where does it stand?"},
        {"role": "assistant", "content": "An answer: in Venice."},
    ],
}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.handler = write_queries
    yield fake
    fake.close()


async def write_queries(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return completion(json.dumps({"queries": ["age of the bridge", " age of the bridge", "bridge built", "third"]}))


def start(
    server: FakeServer, folder: Path, *rows: dict[str, Any], enabled: bool = True, splits: dict[str, str] | None = None
) -> int:
    """Run the step, which may lose as many rows as it likes, and return its exit code."""
    endpoint = {"kind": "openai", "base_url": server.url, "prices": {}}
    run_config = {
        "scale": "full",
        "results_dir": "results",
        "llm": {
            **LLM_KEYS,
            "max_quarantined_share": 1.0,
            "endpoints": {"fake": endpoint},
        },
        "recipes": {"by_hand": {"queries": {"model": {"endpoint": "fake"}}}},
    }
    (folder / "run_config.yaml").write_text(json.dumps(run_config))
    write_jsonl(folder / "records.jsonl", rows)
    settings = {"queries": {"enabled": enabled, "count": 2, "model": MODEL}, "source": {"images": None}}
    files = ["--rows", "records.jsonl", "--out", "queries.jsonl", "--meta", "queries.meta.json"]
    if splits is not None:
        write_jsonl(folder / "splits.jsonl", [{"id": n, "group": n, "split": s} for n, s in splits.items()])
        files += ["--splits", "splits.jsonl"]
    return main([*files, "--settings", json.dumps(settings), "--prompt", str(PROMPT)])


def run(server: FakeServer, folder: Path, *, enabled: bool) -> list[dict[str, Any]]:
    """Run the step on one row and return what it wrote."""
    assert start(server, folder, ROW, enabled=enabled) == 0
    return list(read_rows(folder / "queries.jsonl"))


@pytest.fixture(autouse=True)
def own_run_config(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))


def test_the_model_sees_the_users_turns_and_no_answer(server: FakeServer, folder: Path) -> None:
    (row,) = run(server, folder, enabled=True)
    (body,) = server.bodies
    sent = json.dumps(body)
    users = [turn["content"] for turn in ROW["history"] if turn["role"] == "user"]
    answers = [turn["content"] for turn in ROW["history"] if turn["role"] == "assistant"]
    assert [text for text in [*users, ROW["question"]] if text not in sent] == []
    assert [text for text in [*answers, ROW["answer"]] if text in sent] == []
    assert [query["text"] for query in row["queries"]] == ["age of the bridge", "bridge built"]


def test_without_a_model_the_question_is_its_own_query(server: FakeServer, folder: Path) -> None:
    (row,) = run(server, folder, enabled=False)
    assert row["queries"] == [{"text": ROW["question"], "origin": "question"}]
    assert server.bodies == []


def test_a_student_that_writes_its_own_queries_is_taught_by_those_of_train_questions_alone(
    server: FakeServer, folder: Path
) -> None:
    splits = {"a": "train", "b": "dev", "c": "test", "d": "train"}
    assert start(server, folder, *(ROW | {"id": name, "question": f"{name}?"} for name in splits), splits=splits) == 0
    found = {row["id"]: row["queries"][0]["origin"] for row in read_rows(folder / "queries.jsonl")}
    assert found == {"a": "model", "b": "question", "c": "question", "d": "model"}
    assert len(server.bodies) == 2, "dev and test questions are not paid for"


def test_no_record_may_be_lost(server: FakeServer, folder: Path) -> None:
    async def refuse_one(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if "the other" in json.dumps(body):
            return completion("no JSON")
        return await write_queries(number, body, request)

    server.handler = refuse_one
    assert start(server, folder, ROW, ROW | {"id": "s2:1", "question": "And the other?"}) == 1
    assert not (folder / "queries.jsonl").exists()
