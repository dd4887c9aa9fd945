"""Rows through every step that asks: a change is paid for by what it changes, and by nothing else."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.rows.records import read_rows, write_jsonl
from label import label_relevance
from recall import make_queries
from synthesize import generate_answers, judge_answers
from tests.unit.llm.fake_llm import FakeServer, completion
from tests.unit.steps.asking import PROMPTS, arguments, prepare, record

CHUNKS = 2
VERSIONS = 2  # as the settings of `asking` have it
WORDS = "A passage of some words"


class Teacher:
    """Answers by schema, each time in words of its own."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.server.handler = self.answer

    async def answer(self, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        reason = f"call {number}"
        replies: dict[str, dict[str, Any]] = {
            "search_queries": {"queries": [reason]},
            "relevance": {"reason": reason, "relevant": True},
            "grounded_answer": {"answer": reason},
            "answer_verdict": {"reason": reason, "correct": True},
        }
        return completion(json.dumps(replies[body["response_format"]["json_schema"]["name"]]))

    def asked(self) -> Counter[str]:
        """Return the calls since the last look, by schema."""
        bodies, self.server.bodies = self.server.bodies, []
        return Counter(body["response_format"]["json_schema"]["name"] for body in bodies)


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    made = Teacher()
    yield made
    made.server.close()


@pytest.fixture(autouse=True)
def own_run_config(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))


def run_chain(folder: Path, teacher: Teacher, rows: int, judge_prompt: Path | None = None) -> Counter[str]:
    """Run the steps that ask, in the chain's order, and return the calls that reached the server."""
    prepare(folder, teacher.server.url, map(record, range(rows)), {"max_concurrency": 32})
    write_jsonl(folder / "splits.jsonl", ({"id": record(number)["id"], "split": "train"} for number in range(rows)))
    passages = [f"p{number}-{place}" for number in range(rows) for place in range(CHUNKS)]
    write_jsonl(folder / "passages.jsonl", ({"id": name, "title": name, "text": WORDS} for name in passages))
    assert make_queries.main(arguments("make_queries", "queries", "--rows", "records.jsonl")) == 0
    reranked = (
        row | {"chunks": [{"passage_id": f"p{n}-{i}", "start": 0, "end": len(WORDS)} for i in range(CHUNKS)]}
        for n, row in enumerate(read_rows(folder / "queries.jsonl"))
    )
    write_jsonl(folder / "reranked.jsonl", reranked)
    to_label = ("--rows", "reranked.jsonl", "--splits", "splits.jsonl", "--passages", "passages.jsonl")
    assert label_relevance.main(arguments("label_relevance", "labeled", *to_label)) == 0
    to_answer = ("--rows", "labeled.jsonl", "--records", "records.jsonl", "--passages", "passages.jsonl")
    assert generate_answers.main(arguments("generate_answers", "answers", *to_answer)) == 0
    to_judge = ("--rows", "answers.jsonl", "--records", "records.jsonl")
    assert judge_answers.main(arguments("judge_answers", "judged", *to_judge, prompt=judge_prompt)) == 0
    return teacher.asked()


def calls_of(rows: int) -> dict[str, int]:
    answers = VERSIONS * rows
    return {
        "search_queries": rows,
        "relevance": CHUNKS * rows,
        "grounded_answer": answers,
        "answer_verdict": answers,
    }


def lines(folder: Path) -> dict[str, list[str]]:
    names = ("queries", "labeled", "answers", "judged")
    return {name: (folder / f"{name}.jsonl").read_text().splitlines() for name in names}


@pytest.mark.parametrize("rows", [40, pytest.param(2000, marks=pytest.mark.long)])
def test_a_row_more_and_another_judge_are_paid_alone(teacher: Teacher, folder: Path, rows: int) -> None:
    assert run_chain(folder, teacher, rows) == calls_of(rows)
    before = lines(folder)
    assert run_chain(folder, teacher, rows) == {}
    assert lines(folder) == before

    assert run_chain(folder, teacher, rows + 1) == calls_of(1)
    after = lines(folder)
    assert {name: found[: len(before[name])] for name, found in after.items()} == before
    one = {"queries": 1, "labeled": 1, "answers": VERSIONS, "judged": VERSIONS}
    assert {name: len(found) - len(before[name]) for name, found in after.items()} == one

    edited = folder / "judge.md"
    edited.write_text((PROMPTS / "judge_answers.md").read_text().replace("# User\n", "# User\nJudge with care.\n"))
    assert run_chain(folder, teacher, rows + 1, edited) == {"answer_verdict": VERSIONS * (rows + 1)}
    judged = lines(folder)
    assert {name for name in judged if judged[name] != after[name]} == {"judged"}
