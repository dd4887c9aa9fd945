import json
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.metrics.compare import Measurement, compare, table_lines

UNITS = [f"u{n:02d}" for n in range(40)]


def measured(shift: float, tokens: int = 10) -> dict[str, Measurement]:
    noise = [((n * 7) % 11 - 5) / 10 for n in range(40)]
    return {u: Measurement(f"g{n // 2}", tokens * (2 + shift + noise[n]), tokens) for n, u in enumerate(UNITS)}


def losses(**more: dict[str, Measurement]) -> dict[str, dict[str, Measurement]]:
    return {"tuned": measured(0), "base": measured(1), "same": measured(0), "better": measured(-0.5), **more}


def test_each_control_has_its_difference_and_its_reading() -> None:
    row = compare("loss", "tuned", losses(), higher_is_better=False, resamples=1000, seed=0)
    assert list(row["models"]) == ["tuned", "base", "same", "better"]
    assert row["units"] == 40
    assert row["models"]["tuned"]["groups"] == 20
    differences = row["differences"]
    assert {name: d["estimate"] for name, d in differences.items()} == {
        "base": -1.0,
        "same": 0.0,
        "better": 0.5,
    }
    assert {name: d["better"] for name, d in differences.items()} == {
        "base": True,
        "same": None,
        "better": False,
    }
    turned = compare("accuracy", "tuned", losses(), higher_is_better=True, resamples=1000, seed=0)
    assert {name: d["better"] for name, d in turned["differences"].items()} == {
        "base": False,
        "same": None,
        "better": True,
    }
    assert json.loads(json.dumps(row)) == row


def test_the_order_of_the_units_does_not_matter() -> None:
    models = losses(base=dict(reversed(measured(1).items())))
    settings: dict[str, Any] = {"higher_is_better": False, "resamples": 300, "seed": 0}
    assert compare("loss", "tuned", models, **settings) == compare("loss", "tuned", losses(), **settings)


def test_what_cannot_be_compared_is_refused() -> None:
    short = {unit: m for unit, m in measured(1).items() if unit != "u03"}
    moved = measured(1) | {"u03": Measurement("elsewhere", 1.0)}
    for models, subject, cause in (
        (losses(base=short), "tuned", "u03: the unit is measured for one model only"),
        (losses(base=moved), "tuned", "groups of 'base' differ"),
        (losses(), "none", "'none' has no measurements"),
    ):
        with pytest.raises(FinetrailError, match=cause):
            compare("loss", subject, models, higher_is_better=False, resamples=10, seed=0)


def test_the_table_shows_every_model() -> None:
    lines = table_lines(compare("loss", "tuned", losses(), higher_is_better=False, resamples=300, seed=0))
    assert lines[0] == "| loss | value | difference | 95 % interval |"
    assert lines[2].startswith("| **tuned** | 2.0")
    assert [line.split(" | ")[0] for line in lines[3:]] == ["| base", "| same", "| better"]
    assert "-1.0000 | -1.0000 to -1.0000" in lines[3]
