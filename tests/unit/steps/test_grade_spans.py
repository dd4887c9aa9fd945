"""Predictions are held to supporting spans and scored beside their controls, each kind of question by itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluate import grade_spans, score_answers
from finetrail.rows.records import read_rows, write_jsonl

SETTINGS = {"evaluate": {"metric": "spans", "resamples": 200, "seed": 1}}


@pytest.fixture(autouse=True)
def in_folder(folder: Path) -> None:
    """Every test works in an empty folder."""


def asked(number: int) -> dict[str, Any]:
    kind = "seen_document" if number % 2 else "unseen_document"
    more = {"fact_trained": number % 4 == 1} if number % 2 else {}
    return {"id": f"q{number}", "kind": kind, "answer": "It says blue.", "reference": "The blue sky", **more}


def graded(model: str, answers: list[str]) -> Path:
    path = Path(model) / "fold0.jsonl"
    path.parent.mkdir()
    loss = {"nats": 1.0, "tokens": 2}
    write_jsonl(
        path, [{"id": f"q{n}", "group": f"g{n // 4}", "answer": a, "loss": loss} for n, a in enumerate(answers)]
    )
    write_jsonl(Path("test.jsonl"), [asked(number) for number in range(len(answers))])
    out = path.with_suffix(".judged.jsonl")
    files = ["--rows", str(path), "--test", "test.jsonl", "--out", str(out), "--meta", f"{model}/m.json"]
    assert grade_spans.main(files) == 0
    return out


def test_the_span_is_the_reference_not_the_teachers_answer() -> None:
    rows = list(read_rows(graded("m", ["the blue sky.", "blue", "green", "It says blue."])))
    assert [row["grade"]["exact_match"] for row in rows] == [1.0, 0.0, 0.0, 0.0]
    assert [row["grade"]["f1"] for row in rows] == [1.0, pytest.approx(2 / 3), 0.0, 0.4]
    assert [row.get("fact_trained") for row in rows] == [None, True, None, False]


def test_an_existing_pair_without_a_span_is_held_to_its_answer() -> None:
    assert grade_spans.graded({"answer": "Yes"}, {"kind": "existing", "answer": "yes."})["grade"]["exact_match"] == 1.0


def test_each_test_set_is_compared_with_every_control() -> None:
    right, wrong = "The blue sky", "nothing"
    tuned = graded("lora", [right if number % 2 else wrong for number in range(40)])
    controls = [graded(name, [wrong] * 40) for name in ("base", "lora_shuffled", "trivial")]
    files = ["--tuned", str(tuned), "--controls", *map(str, controls), "--seeds", "42", "--out", "metrics.json"]
    assert score_answers.main([*files, "--meta", "m.json", "--settings", json.dumps(SETTINGS)]) == 0
    metrics = json.loads(Path("metrics.json").read_text())
    compared = metrics["comparisons"]
    assert set(compared) == {
        f"{score}_{kind}"
        for score in ("held_out_loss", "exact_match", "f1")
        for kind in ("seen_document", "unseen_document")
    }
    assert compared["exact_match_seen_document"]["models"]["lora"]["estimate"] == 1.0
    assert compared["exact_match_unseen_document"]["models"]["lora"]["estimate"] == 0.0
    assert set(compared["f1_seen_document"]["differences"]) == {"base", "lora_shuffled", "trivial"}
    assert compared["f1_seen_document"]["differences"]["base"]["better"] is True
    assert metrics["test_sets"]["seen_document"]["questions"] == 20
    assert metrics["test_sets"]["seen_document"]["of_which_a_train_pair_rests_on_the_same_words"] == 10
