"""A run that cannot succeed stops early, with everything kept."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.llm.request import CallFailure, ChatRequest
from finetrail.llm.schemas import ANSWER_VERDICT
from tests.unit.llm.fake_llm import FakeServer, Harness, asked, completion, make_request, refusal
from tests.unit.llm.test_budget import AT_ONCE, VERDICT, Job

SCHEMA: dict[str, Any] = {"schema": ANSWER_VERDICT.schema, "schema_name": ANSWER_VERDICT.name}
ROWS = 300


def requests(numbers: range) -> list[ChatRequest]:
    return [make_request(str(number), **SCHEMA) for number in numbers]


async def chatty(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return completion("Well, that depends.")


async def good(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return completion(VERDICT)


@pytest.fixture
def job(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Job:
    job = Job(server, tmp_path, monkeypatch)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"id": "{number}"}}\n' for number in range(ROWS)))
    return job


def test_answers_of_no_use_are_no_answers(harness: Harness) -> None:
    harness.server.handler = chatty
    with pytest.raises(FinetrailError, match="20 rows were given up and none was answered") as caught:
        harness.run(requests(range(ROWS)))
    assert "it begins: 'Well, that depends.'" in str(caught.value)
    assert len(harness.server.bodies) <= 2 * (20 + 16), "each row and its repair"
    with CallStore(harness.folder) as store:
        kept = store.stats().calls
    assert kept >= 20, "what was paid is stored as of no use"
    paid = len(harness.server.bodies)
    with pytest.raises(FinetrailError, match="none was answered"):
        harness.run(requests(range(ROWS)))
    again = [json.dumps(body) for body in harness.server.bodies]
    assert len(again) == len(set(again)), f"{len(again) - paid} calls of another run were others"


def test_bad_rows_at_the_end_of_a_resumed_run_are_no_outage(harness: Harness) -> None:
    """All good rows are answered by the store: those that are left are the bad ones."""

    async def some_are_refused(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(400, "I cannot") if int(asked(body)) % 2 else completion(VERDICT)

    harness.server.handler = some_are_refused
    for _ in range(2):
        outcomes = harness.run(requests(range(60)))
        assert sum(isinstance(outcome, CallFailure) for outcome in outcomes) == 30


def test_a_share_that_cannot_be_met_stops_the_step(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    """One row in ten is bad, one in fifty may be: when the seventh has failed, nothing can help."""

    async def one_in_ten(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        bad = int(asked(body).rstrip("?")) % 10 == 9
        return refusal(400, "I cannot") if bad else completion(VERDICT)

    job.server.handler = one_in_ten
    job.configure("first", max_quarantined_share=0.02)
    assert job.start() == 1
    said = capfd.readouterr().err
    assert f"7 of at most {ROWS} rows could not be processed, more than the share of 0.02" in said
    assert "the step stops early. The first: 9: HTTP 400: I cannot" in said
    assert len(job.server.bodies) <= 70 + AT_ONCE
    (quarantine,) = (job.root / "runs" / "first" / "jobs").glob("*.quarantine.jsonl")
    assert len(quarantine.read_text().splitlines()) == 7, "the rows and their errors are in that file"
    with CallStore(job.root / "results" / "calls") as store:
        assert store.stats().calls == sum(int(text.rstrip("?")) % 10 != 9 for text in job.server.texts())


def test_a_share_that_is_met_stops_nothing(job: Job) -> None:
    async def six_are_bad(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(400, "I cannot") if int(asked(body).rstrip("?")) < 6 else completion(VERDICT)

    job.server.handler = six_are_bad
    job.configure("first", max_quarantined_share=0.02)
    assert job.start() == 0
    assert job.meta()["counts"]["quarantined"] == 6


def test_fences_cost_nothing_and_are_counted(job: Job) -> None:
    async def fenced(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(f"```json\n{VERDICT}\n```" if number % 2 else VERDICT)

    job.server.handler = fenced
    for run in ("first", "second"):
        job.configure(run)
        assert job.start() == 0
        assert job.meta()["llm"]["enclosed"] == ROWS // 2
    assert len(job.server.bodies) == ROWS
    with CallStore(job.root / "results" / "calls") as store:
        texts = {str(call.answer["text"]) for call in store.newest()}
    assert texts == {f"```json\n{VERDICT}\n```", VERDICT}, "replies are stored as they came"


def test_replies_of_no_use_are_asked_for_again_when_asked(job: Job) -> None:
    job.server.handler = chatty
    (job.root / "in.jsonl").write_text("".join(f'{{"id": "{number}"}}\n' for number in range(10)))
    job.configure("first", max_quarantined_share=0.99)
    assert job.start() == 1
    paid = len(job.server.bodies)
    job.server.handler = good
    job.configure("second")
    assert job.start() == 1
    assert len(job.server.bodies) == paid
    job.configure("third", ask_again=True)
    assert job.start() == 0
    assert len(job.server.bodies) == paid + 10
    job.configure("fourth")
    assert job.start() == 0
    assert len(job.server.bodies) == paid + 10
