"""Texts about images: likeness to references, swapped images, and the page that shows models side by side."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluate import compare_texts, score_texts
from finetrail.metrics.quantiles import quantiles
from finetrail.metrics.rouge import rouge
from finetrail.metrics.similarity import STAND_IN
from finetrail.report.comparison_page import comparison_page
from finetrail.rows.records import Row, read_rows, write_jsonl

EVIL = '<script>alert(1)</script> & "quotes" | pipe'
PLACES = ("Ohio and Indiana", "western Texas")
SETTINGS: dict[str, Any] = {
    "evaluate": {"resamples": 100, "seed": 1, "embedding": None, "page_rows": 2, "printed": 1, "judge": None}
    | {"criteria": ["hazards", "style"], "measures": ["cosine", "rougeL"]},
    "source": {"images": "images"},
}


def prediction(number: int, answer: str, swap: float | None = None) -> Row:
    row: Row = {
        "id": f"r{number}", "group": f"g{number % 2}", "kind": "summary", "answer": answer, "class": "scp",
        "reference": f"Hail over {PLACES[number % 2]} with {EVIL}", "rests_on": "record",
        "image": {"path": "a.gif", "sha256": "x"},
    }  # fmt: skip
    if swap is not None:
        row |= {"loss": {"nats": 10.0, "tokens": 5}, "swapped": [{"id": "o", "nats": 10.0 + swap}]}
    return row


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run"))
    Path("images").mkdir()
    Image.new("RGB", (30, 20), (200, 0, 0)).save("images/a.gif")
    good = [prediction(number, f"Hail over {PLACES[number % 2]}", 1.0 if number else -1.0) for number in range(4)]
    same = [prediction(number, "One text for all") for number in range(4)]
    for name, rows in {"tuned": good, "base": same, "frequent": same}.items():
        Path("predictions", name).mkdir(parents=True)
        write_jsonl(Path("predictions", name, "fold0.jsonl"), rows)
    write_jsonl(Path("test.jsonl"), [{"id": f"r{n}", "task": {"cond_name": "scp" if n else "shr6"}} for n in range(4)])


def files(*names: str) -> list[str]:
    return [f"predictions/{name}/fold0.jsonl" for name in names]


def score(**evaluate: Any) -> dict[str, Any]:
    """Run the step, and return the metrics."""
    settings = SETTINGS | {"evaluate": SETTINGS["evaluate"] | evaluate}
    arguments = ["--tuned", *files("tuned"), "--controls", *files("base", "frequent"), "--test", "test.jsonl"]
    arguments += ["--seeds", "1", "--settings", json.dumps(settings), "--out", "m.json", "--meta", "m.meta.json"]
    assert score_texts.main(arguments) == 0
    metrics: dict[str, Any] = json.loads(Path("m.json").read_text())
    return metrics


def test_the_scores_of_a_judge_are_compared_like_the_others() -> None:
    for name, given in {"tuned": 8.0, "base": 2.0, "frequent": 2.0}.items():
        path = Path("predictions", name, "fold0.jsonl")
        scored = {"hazards": given, "style": 5.0, "overall": given - 1}
        write_jsonl(path, [row | {"judged": scored} for row in read_rows(path)])
    metrics = score(judge={"model": "offline-teacher-1"})
    compared = metrics["comparisons"]
    assert compared["summary_judged_hazards"]["differences"]["base"]["estimate"] == 6.0
    assert compared["summary_judged_style"]["differences"]["base"]["estimate"] == 0.0
    assert "the judge offline-teacher-1" in compared["summary_judged_overall"]["rests_on"]
    assert metrics["judge"]["rests_on_offline_teacher"] is True


def test_rouge_is_that_of_the_reference_implementation() -> None:
    """By hand: 4 of 5 words are shared, 3 of them in one order."""
    (found,) = rouge([("Large hail expected over Ohio", "Hail over Ohio is expected")])
    assert found == {"rouge1": 0.8, "rougeL": 0.6}
    assert list(rouge([("", "Hail"), ("HAIL.", "hails")])) == [
        {"rouge1": 0.0, "rougeL": 0.0},
        {"rouge1": 1.0, "rougeL": 1.0},
    ]


def test_a_model_is_scored_beside_mismatched_pairs_and_swapped_images() -> None:
    metrics = score()
    assert metrics["judge"]["model"] is None
    assert set(metrics["comparisons"]) == {"summary_cosine", "summary_rougeL"}, "what evaluate.measures names"
    assert metrics["comparisons"]["summary_rougeL"]["differences"]["base"]["estimate"] > 0
    assert metrics["embedding"] == STAND_IN
    own, other = (metrics["mismatched"]["tuned"]["summary"][name] for name in ("matched", "mismatched"))
    assert own > other
    flat = metrics["mismatched"]["base"]["summary"]
    assert flat["matched"] == pytest.approx(flat["mismatched"], abs=0.05)
    assert metrics["right_image_beats_another"]["tuned"]["summary"]["estimate"] == 0.75
    assert metrics["right_image_beats_another"]["tuned"]["all"]["pairs"] == 4
    assert metrics["classifier_agrees"] == {"rows": 4, "agree": 3}
    assert metrics["comparisons"]["summary_cosine"]["differences"]["base"]["estimate"] > 0


def test_the_page_shows_every_model_and_escapes_all_texts() -> None:
    arguments = ["--predictions", *files("base", "tuned"), "--settings", json.dumps(SETTINGS), "--meta", "c.meta.json"]
    outputs = {"page": "index.html", "table": "table.md", "distribution": "d.svg", "per-sample": "p.svg"}
    arguments += [word for name, path in outputs.items() for word in (f"--{name}", path)]
    assert compare_texts.main(arguments) == 0
    page = Path("index.html").read_text()
    assert page.count("<article") == 2 and "<script" not in page and "&lt;script&gt;" in page
    assert "data:image/gif;base64," in page and "base (cosine" in page and "tuned (cosine" in page
    for picture in ("d.svg", "p.svg"):
        assert "cosine with the reference" in Path(picture).read_text()
    table = Path("table.md").read_text().splitlines()
    assert len(table) == 4 and all(line.count(" | ") == 3 for line in (table[0], *table[2:]))


def test_predictions_about_different_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(Path("predictions/base/fold0.jsonl"), [prediction(9, "x")])
    arguments = ["--predictions", *files("base", "tuned"), "--settings", json.dumps(SETTINGS), "--meta", "c.meta.json"]
    arguments += ["--page", "i", "--table", "t", "--distribution", "d", "--per-sample", "p"]
    assert compare_texts.main(arguments) == 1
    assert "the models wrote about different rows" in capsys.readouterr().err


def test_quantiles_are_of_nearest_rank() -> None:
    assert quantiles([3, 1, 2]) == {"mean": 2.0, "p0": 1, "p5": 1, "p50": 2, "p95": 3, "p100": 3}


def test_an_empty_answer_is_shown_as_such() -> None:
    row = {"image": "data:image/gif;base64,AA==", "about": "x", "reference": "r", "answers": {"m": ""}}
    assert "(nothing)" in comparison_page("t", [], [row])
