"""A test row that the model cannot be shown keeps its place, counts as wrong, and ends no job."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evaluate import judge_predictions, predict_answers, predict_trivial, score_answers
from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.errors import FinetrailError
from finetrail.inference.generate import answer_sessions, load_model
from finetrail.metrics.summary import summary_lines
from finetrail.models.base_model import BaseModel
from finetrail.models.limits import Limits
from finetrail.rows.artifacts import read_json, write_manifest
from finetrail.rows.records import Row, read_rows, write_jsonl
from tests.unit.export.tiny_models import build_model
from tests.unit.llm.fake_llm import LLM_KEYS, FakeServer, completion
from tests.unit.models.spoiled import WIDE, spoil
from tests.unit.steps.asking import MODEL, PROMPTS
from tests.unit.training.conftest import make_row

pytestmark = pytest.mark.heavy

REASON = "the tokenizer makes a control token of what stands in the text"
FAILS = "{%- if 'museum' in messages[-1]['content'] %}{{ raise_exception('no museums') }}{% endif %}"
SETTINGS = {
    "predict": {"max_answer_tokens": 4, "trivial_answer": "I don't know"},
    "limits": {"max_length": 512, "history_turns": None, "history_answer_tokens": None, "images": "show"},
    "source": {"images": None},
}
EVALUATE = {"metric": "turns", "judge": MODEL, "allow_same_judge": False, "resamples": 100, "seed": 1}


def rows_with(text: str, *places: int) -> list[Row]:
    """Six rows of three sessions; a text stands in the question of some of them."""
    rows: list[Row] = [make_row(session, turn) for session in range(3) for turn in range(2)]
    for place, row in enumerate(rows):
        row |= {"parents": [f"r{place}"], "group": f"g{place // 2}"}
        if place in places:
            asked = row["messages"][-2]
            row["question"] = f"{row['question']} {text}"
            row["messages"] = [*row["messages"][:-2], {**asked, "content": f"{asked['content']} {text}"}]
            row["messages"].append({"role": "assistant", "content": row["answer"]})
    return rows


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_model(tmp_path_factory.mktemp("base") / "model", "llama")
    spoil(folder)
    write_manifest(folder, folder / "manifest.json", {})
    return folder


async def agree(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return completion(json.dumps({"reason": "So.", "correct": True}))


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A judge that finds every answer correct."""
    monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(folder / "run_config.yaml"))
    fake = FakeServer()
    fake.handler = agree
    endpoint = {"kind": "openai", "base_url": fake.url, "prices": {}}
    llm = LLM_KEYS | {"endpoints": {"fake": endpoint}}
    recipe = {"evaluate": {"judge": {"endpoint": "fake"}}}
    run_config = {"scale": "full", "results_dir": "results", "llm": llm, "recipes": {"by_hand": recipe}}
    Path("run_config.yaml").write_text(json.dumps(run_config), encoding="utf-8")
    yield fake
    fake.close()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_environment: None) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run"))
    return tmp_path


def step(main: Any, settings: Mapping[str, Any], out: Path, *files: str) -> list[Row]:
    """Run a step, and return its rows."""
    out.parent.mkdir(exist_ok=True)
    meta = out.with_suffix(".meta.json")
    assert main([*files, "--settings", json.dumps(settings), "--out", str(out), "--meta", str(meta)]) == 0
    return list(read_rows(out)) if out.suffix == ".jsonl" else []


def predict(name: str, base: Path, rows: Sequence[Row]) -> list[Row]:
    write_jsonl(Path("test.jsonl"), rows)
    files = ("--test", "test.jsonl", "--base", str(base / "manifest.json"))
    return step(predict_answers.main, SETTINGS | {"evaluate": EVALUATE}, Path(name, "DA.jsonl"), *files)


def test_a_row_set_aside_is_predicted_judged_and_scored_as_wrong(server: FakeServer, spoiled: Path) -> None:
    rows = rows_with(WIDE, 2)
    made = predict("tuned", spoiled, rows)
    assert [row["id"] for row in made] == [row["id"] for row in rows], "every row keeps its place"
    bad = made[2]
    assert (bad["answer"], bad["stopped"], bad["loss"], bad["set_aside"]) == ("", "set_aside", None, REASON)
    assert read_json(Path("tuned/DA.meta.json"))["set_aside"] == 1
    clean = predict("base", spoiled, rows_with("at all", 2))
    assert [row for row in made if row["session_id"] != "s1"] == [row for row in clean if row["session_id"] != "s1"]
    assert all("set_aside" not in row and row["loss"] and row["refusal"] for row in (made[3], *clean))

    given = ("--train", "test.jsonl", "--base", str(spoiled / "manifest.json"))
    write_jsonl(Path("train.jsonl"), rows)
    write_jsonl(Path("asked.jsonl"), rows)
    trivial = step(predict_trivial.main, SETTINGS, Path("trivial", "DA.jsonl"), "--test", "asked.jsonl", *given)
    assert (trivial[2]["answer"], trivial[2]["loss"], trivial[2]["set_aside"]) == ("I don't know", None, REASON)

    judged = {}
    for name in ("tuned", "base", "trivial"):
        out = Path(name, "DA.judged.jsonl")
        files = ("--rows", f"{name}/DA.jsonl", "--test", "asked.jsonl", "--prompt", str(PROMPTS / "judge_answers.md"))
        judged[name] = step(judge_predictions.main, {"evaluate": EVALUATE}, out, *files)
    assert judged["tuned"][2]["grade"] == {"correct": False, "exact_match": False, "miss": False}, "it is wrong"
    assert judged["tuned"][2]["calls"] == [] and judged["tuned"][3]["grade"]["correct"], "nobody was paid for it"
    controls = [f"{name}/DA.judged.jsonl" for name in ("base", "trivial")]
    compared = ("--tuned", "tuned/DA.judged.jsonl", "--controls", *controls, "--seeds", "1")
    step(score_answers.main, {"evaluate": EVALUATE}, Path("scores", "DA.json"), *compared)
    metrics = read_json(Path("scores/DA.json"))
    told = {"rows": 1, "of": 6, "without_loss": 1, "reasons": {REASON: 1}, "first": ["s1-t0"]}
    assert metrics["set_aside"] == {"tuned": told | {"unanswered": 1}, "trivial": told | {"unanswered": 0}}
    assert metrics["comparisons"]["held_out_loss"]["units"] == 5, "losses are compared on the rows that all models have"
    assert metrics["turn_scores"]["tuned"]["before_early_stop"]["total"] == 6
    assert metrics["risk_coverage"]["tuned"]["questions"] == 6
    assert any("tuned could not be shown 1 of 6 rows" in line for line in summary_lines(Path("scores/DA.json")))


def asked(base: Path, rows: Sequence[Row], template: str | None = None) -> list[str | None]:
    """Answer rows; return why each was set aside."""
    tokenizer = BaseModel(base).tokenizer
    if template is not None:
        tokenizer.chat_template = template + str(tokenizer.chat_template)
    model = load_model(base)
    return [
        answer.set_aside for answer in answer_sessions(model, tokenizer, rows, limits=Limits(512), max_answer_tokens=4)
    ]


def test_a_template_that_fails_at_some_rows_sets_them_aside_alone(spoiled: Path) -> None:
    found = asked(spoiled, rows_with("about the museum", 1), FAILS)
    assert [reason is None for reason in found] == [True, False, True, True, True, True]
    assert found[1] == "the chat template refuses the messages: no museums"


def test_a_template_that_fails_at_most_rows_is_at_fault_itself(spoiled: Path) -> None:
    with pytest.raises(FinetrailError, match=r"fails at 4 of 6 rows; the first is s0-t0: .*no museums") as raised:
        asked(spoiled, rows_with("about the museum", 0, 1, 2, 3), FAILS)
    assert raised.value.where == "chat_template"


def test_where_no_row_can_be_shown_there_is_no_score(spoiled: Path) -> None:
    with pytest.raises(FinetrailError, match="none of 6 rows can be shown to this model; the first is s0-t0: "):
        asked(spoiled, rows_with(WIDE, *range(6)))
