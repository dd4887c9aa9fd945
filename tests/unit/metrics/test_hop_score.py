import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.metrics.hop_score import average, check_prediction, score_answer, score_facts, score_question
from finetrail.text.answer_words import normal

VECTORS = Path(__file__).parents[2] / "data/eval_vectors"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
ERRORS = {"empty_gold": "there is no gold question|the list is empty", "no_sp_key": "`sp` missing"}


def vectors(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return loaded


def are_near(found: Iterable[float], wanted: Iterable[float]) -> bool:
    return all(abs(a - b) <= 1e-12 for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("vector", vectors("hotpot_answer_pairs.json"), ids=lambda v: f"{v['prediction']}|{v['gold']}")
def test_answers_score_as_the_official_script_says(vector: dict[str, Any]) -> None:
    scored = score_answer(vector["prediction"], vector["gold"])
    assert are_near(scored, (vector["em"], vector["f1"], vector["precision"], vector["recall"]))
    assert " ".join(normal(vector["prediction"])) == vector["normalized_prediction"]
    assert " ".join(normal(vector["gold"])) == vector["normalized_gold"]


@pytest.mark.parametrize("vector", vectors("hotpot_supporting_fact_pairs.json"), ids=lambda v: str(v["prediction"]))
def test_supporting_facts_score_as_the_official_script_says(vector: dict[str, Any]) -> None:
    scored = score_facts(vector["prediction"], vector["gold"])
    assert are_near(scored, (vector["sp_em"], vector["sp_f1"], vector["sp_prec"], vector["sp_recall"]))


@pytest.mark.parametrize("vector", vectors("hotpot_full_runs.json"), ids=lambda v: v["name"])
def test_whole_runs_score_as_the_official_script_says(vector: dict[str, Any], tmp_path: Path, run_script: Run) -> None:
    names = {"predictions": vector["prediction"], "gold": vector["gold"]}
    for name, content in names.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    arguments = [part for name in names for part in (f"--{name}", f"{name}.json")]
    done = run_script("evaluate/score_hotpotqa.py", *arguments, "--out", "scores.json")
    if "error" in vector:
        assert done.returncode == 1 and not (tmp_path / "scores.json").exists()
        assert any(part in done.stderr for part in ERRORS[vector["name"]].split("|")), done.stderr
        assert "Traceback" not in done.stderr
        return
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores["metrics"].keys() == vector["metrics"].keys()
    assert are_near(scores["metrics"].values(), (vector["metrics"][name] for name in scores["metrics"]))
    said = [
        f"missing {kind} {name}"
        for part, kind in (("answer", "answer"), ("sp", "sp fact"))
        for name in scores["missing"][part]
    ]
    assert sorted(said) == sorted(vector["messages"])


def test_all_vectors_are_there() -> None:
    names = ("hotpot_answer_pairs.json", "hotpot_supporting_fact_pairs.json", "hotpot_full_runs.json")
    assert [len(vectors(name)) for name in names] == [87, 16, 10]


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        ([], "`answer` and `sp` missing"),
        ({"sp": {}}, "`answer` missing"),
        ({"answer": {"q": None}, "sp": {}}, "(q): the answer is NoneType"),
        ({"answer": {}, "sp": {"q": None}}, "(q): the supporting facts"),
        ({"answer": {}, "sp": {"q": [["A", [0]]]}}, "(q): the supporting facts"),
        ({"answer": {}, "sp": {"q": ["A"]}}, "(q): the supporting facts"),
    ],
)
def test_what_cannot_be_scored_is_named(prediction: Any, said: str) -> None:
    with pytest.raises(FinetrailError) as caught:
        check_prediction(prediction, "pred.json")
    assert said in str(caught.value)


def test_gold_rows_without_answers_are_all_named(tmp_path: Path, run_script: Run) -> None:
    gold = [{"_id": "a", "question": "?", "context": []}, {"_id": "b", "answer": "x", "supporting_facts": "none"}]
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    (tmp_path / "pred.json").write_text('{"answer": {}, "sp": {}}')
    done = run_script(
        "evaluate/score_hotpotqa.py", "--predictions", "pred.json", "--gold", "gold.jsonl", "--out", "o.json"
    )
    assert done.returncode == 1
    assert "gold.jsonl:1: `answer` is missing" in done.stderr and "gold.jsonl:2: `supporting_facts`" in done.stderr


def test_a_question_without_a_part_adds_nothing_and_counts() -> None:
    gold = {"_id": "q", "answer": "Paris", "supporting_facts": [["A", 0]]}
    full = score_question(gold, {"q": "Paris"}, {"q": [["A", 0]]})
    half = score_question(gold, {"q": "Paris"}, {})
    assert half.joint is None
    means = average([full, half])
    assert (means["em"], means["sp_em"], means["joint_em"]) == (1.0, 0.5, 0.5)
