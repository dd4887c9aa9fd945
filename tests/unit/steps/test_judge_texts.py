"""Texts about images are scored against their references by criteria; none is left without its score."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evaluate import judge_texts
from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.llm.prompt_file import load_prompt
from finetrail.rows.records import Row, read_rows, write_jsonl
from finetrail.serving.offline.tasks import perform
from tests.unit.llm.fake_llm import LLM_KEYS, FakeServer, asked, completion
from tests.unit.steps.asking import MODEL

PROMPT = Path(__file__).resolve().parents[3] / "config/prompts/weatherqa/judge_texts.md"
CRITERIA = ["hazards", "style"]


async def give(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Give full marks to what names Ohio, and no scores at all to what is broken."""
    if "broken" in json.dumps(body):  # also when it is asked to mend its answer
        return completion("no scores")
    score = 10 if "<text>\nHail over Ohio" in asked(body) else 1
    return completion(json.dumps({"reason": "So.", "hazards": score, "style": 5, "overall": score}))


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))
    fake = FakeServer()
    fake.handler = give
    yield fake
    fake.close()


def prediction(name: str, answer: str) -> Row:
    return {"id": name, "kind": "caption", "answer": answer, "reference": "Hail is likely over Ohio."}


def run(server: FakeServer, rows: list[Row]) -> int:
    """Run the step on predictions."""
    endpoint = {"kind": "openai", "base_url": server.url, "prices": {}}
    llm = LLM_KEYS | {"max_quarantined_share": 1.0}
    recipe = {"evaluate": {"judge": {"endpoint": "fake"}}}
    run_config = {"scale": "full", "results_dir": "results", "llm": llm | {"endpoints": {"fake": endpoint}}}
    Path("run_config.yaml").write_text(json.dumps(run_config | {"recipes": {"by_hand": recipe}}))
    write_jsonl(Path("p.jsonl"), rows)
    settings = json.dumps({"evaluate": {"judge": MODEL, "criteria": CRITERIA}})
    files = ["--rows", "p.jsonl", "--out", "j.jsonl", "--meta", "j.meta.json", "--prompt", str(PROMPT)]
    return judge_texts.main([*files, "--settings", settings])


def test_each_text_gets_a_score_of_each_criterion_and_keeps_its_call(server: FakeServer) -> None:
    assert run(server, [prediction("a", "Hail over Ohio."), prediction("b", "Snow."), prediction("c", "")]) == 0
    rows = list(read_rows(Path("j.jsonl")))
    assert [row["judged"]["overall"] for row in rows] == [10, 1, 1]
    assert all(set(row["judged"]) == {*CRITERIA, "overall"} and len(row["calls"]) == 1 for row in rows)


def test_a_text_that_could_not_be_judged_stops_the_step(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, [prediction("a", "Hail over Ohio."), prediction("b", "broken")]) == 1
    assert "1 texts could not be judged" in capsys.readouterr().err and not Path("j.jsonl").exists()


def test_the_offline_teacher_scores_by_shared_words() -> None:
    render = load_prompt(PROMPT).renderer()

    def score(text: str) -> float:
        messages = render(criteria=CRITERIA, kind="caption", reference="Hail is likely over Ohio.", text=text)
        return float(perform("text_scores", messages[-1].content, None)["overall"])

    assert score("Hail is likely over Ohio.") == 10.0
    assert score("") == 0.0
    assert 0 < score("Hail over Texas.") < 10


def test_a_text_that_the_model_could_not_be_asked_for_costs_nothing_and_has_the_lowest_score(
    server: FakeServer,
) -> None:
    aside = prediction("b", "") | {"set_aside": "why"}
    assert run(server, [prediction("a", "Hail over Ohio."), aside]) == 0
    rows = list(read_rows(Path("j.jsonl")))
    assert [(row["judged"]["overall"], len(row["calls"])) for row in rows] == [(10, 1), (0, 0)]
