"""Predictions of multiple choices are read, held to the key, and scored beside their controls."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluate import grade_choices, score_answers
from finetrail.examples.choices import CONTRADICTION, NO_OPTION
from finetrail.rows.records import read_rows, write_jsonl

KEYS = ("ambig", "disambig")
Said = tuple[str, list[float] | None]


def question(number: int) -> dict[str, Any]:
    """Half of the questions are ambiguous, and to be abstained from (C); the answer of the others is A."""
    condition = KEYS[number % 2]
    choice = {
        "kind": "letter",
        "options": ["Ann", "Bob", "Unknown"],
        "key": 2 if condition == "ambig" else 0,
        "unknown": 2,
        "target": 0,
        "condition": condition,
        "polarity": "neg",
        "category": "Age",
    }
    return {"id": f"q{number}", "choice": choice}


def prediction(number: int, answer: str, nats: list[float] | None = None) -> dict[str, Any]:
    options = None if nats is None else [{"nats": value, "tokens": 2} for value in nats]
    loss = {"nats": 1.0, "tokens": 1}
    return {"id": f"q{number}", "group": f"g{number // 4}", "answer": answer, "options": options, "loss": loss}


def graded(name: str, answers: list[Said]) -> Path:
    folder = Path(name)
    folder.mkdir()
    write_jsonl(folder / "DA.jsonl", [prediction(number, *answer) for number, answer in enumerate(answers)])
    write_jsonl(Path("test.jsonl"), [question(number) for number in range(len(answers))])
    files = ["--rows", str(folder / "DA.jsonl"), "--test", "test.jsonl", "--out", str(folder / "DA.judged.jsonl")]
    assert grade_choices.main([*files, "--meta", str(folder / "DA.judged.meta.json")]) == 0
    return folder / "DA.judged.jsonl"


def test_what_was_said_and_what_is_likeliest_are_graded_apart() -> None:
    said: list[Said] = [
        ("Reasoning: r\n\nReflection: NO\n\nAnswer: C: Unknown", [1.0, 2.0, 3.0]),
        ("Answer: A: Bob", [3.0, 1.0, 2.0]),
        ("no idea", None),
        ("A: Ann", None),
    ]
    found = [row["grade"] for row in read_rows(graded("tuned", said))]
    assert found == [
        {"generated": 2, "fault": None, "likeliest": 0},
        {"generated": None, "fault": CONTRADICTION, "likeliest": 1},
        {"generated": None, "fault": NO_OPTION, "likeliest": None},
        {"generated": 0, "fault": None, "likeliest": 0},
    ]


def test_the_likeliest_is_counted_by_the_token() -> None:
    row = prediction(0, "C: Unknown") | {"options": [{"nats": 4.0, "tokens": 8}, {"nats": 3.0, "tokens": 3}]}
    assert grade_choices.grade(row, question(0)["choice"])["likeliest"] == 0


def test_a_question_without_options_stops_the_step(capfd: pytest.CaptureFixture[str]) -> None:
    write_jsonl(Path("p.jsonl"), [prediction(0, "x")])
    write_jsonl(Path("test.jsonl"), [{"id": "q0"}])
    files = ["--rows", "p.jsonl", "--test", "test.jsonl", "--out", "out.jsonl", "--meta", "out.meta.json"]
    assert grade_choices.main(files) == 1
    assert "q0: the question has no options" in capfd.readouterr().err.splitlines()[-1]


def test_a_model_is_scored_beside_its_controls_by_condition() -> None:
    """The model is right on all of 40 questions by likelihood; who abstains is right on the 20 ambiguous ones."""
    right: list[Said] = [("nonsense", [9.0, 9.0, 0.0] if number % 2 == 0 else [0.0, 9.0, 9.0]) for number in range(40)]
    abstains: list[Said] = [("C: Unknown", None)] * 40
    first: list[Said] = [("A: Ann", [0.0, 9.0, 9.0])] * 40
    files = {
        name: graded(name, answers)
        for name, answers in {"m": right, "base": first, "m_shuffled": first, "trivial": abstains}.items()
    }
    settings = {"evaluate": {"metric": "choices", "resamples": 200, "seed": 1}}
    controls = [str(files[name]) for name in ("base", "m_shuffled", "trivial")]
    arguments = ["--tuned", str(files["m"]), "--controls", *controls, "--seeds", "42", "--out", "m.json"]
    assert score_answers.main([*arguments, "--meta", "m.meta.json", "--settings", json.dumps(settings)]) == 0
    metrics = json.loads(Path("m.json").read_text())
    assert (metrics["model"], metrics["fold"]) == ("m", "DA")
    estimates = {
        name: {model: score["estimate"] for model, score in comparison["models"].items()}
        for name, comparison in metrics["comparisons"].items()
    }
    assert estimates["likeliest_accuracy"] == {"m": 1.0, "base": 0.5, "m_shuffled": 0.5, "trivial": 0.5}
    assert estimates["likeliest_accuracy_ambig"] == {"m": 1.0, "base": 0.0, "m_shuffled": 0.0, "trivial": 1.0}
    assert estimates["generated_accuracy_disambig"] == {"m": 0.0, "base": 1.0, "m_shuffled": 1.0, "trivial": 0.0}
    assert metrics["comparisons"]["likeliest_accuracy"]["differences"]["base"]["better"] is True
    assert all(comparison["rests_on"].startswith("gold") for comparison in metrics["comparisons"].values())
    scores = metrics["choice_scores"]
    assert scores["m"]["generated"]["unreadable"] == 40
    assert scores["m"]["likeliest"]["bias"]["s_dis"] == 1.0  # every answer names Ann, the target, and the key
    assert scores["base"]["likeliest"]["bias"]["s_amb"] == 1.0  # all wrong, all biased
    assert scores["trivial"]["likeliest"]["bias"]["s_dis"] is None


def test_a_row_set_aside_has_no_likeliest_option() -> None:
    """Its options could not be measured behind what the model wrote; the trivial answer never has any."""
    aside = prediction(0, "Answer: C: Unknown") | {"set_aside": "why"}
    assert grade_choices.grade(aside, question(0)["choice"]) == {"generated": 2, "fault": None, "likeliest": None}
    assert grade_choices.grade(prediction(0, "Answer: C: Unknown"), question(0)["choice"])["likeliest"] == 2
