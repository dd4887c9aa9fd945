"""The picture of risk and coverage names every model, also one that answers nothing, and is the same each time."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluate.plot_risk_coverage import main
from finetrail.metrics.risk_coverage import Answered, risk_coverage


def curve(wrong: str) -> dict[str, Any]:
    """Return the curve of a model that is wrong where a letter is x, and refuses where it is -."""
    return risk_coverage([Answered(str(n), 9.0 - n, one == "x", one == "-") for n, one in enumerate(wrong)])


def draw(folder: Path, curves: dict[str, Any]) -> str:
    """Run the step, and return the picture."""
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"risk_coverage": curves}))
    files = ["--metrics", str(folder / "metrics.json"), "--picture", str(folder / "p.svg")]
    assert main([*files, "--meta", str(folder / "p.meta.json"), "--title", "A title"]) == 0
    return (folder / "p.svg").read_text()


def test_every_model_is_drawn_with_its_mean_risk(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curves = {"lora": curve("...xx"), "base": curve("xx..."), "trivial": curve("-----")}
    picture = draw(tmp_path / "a", curves)
    for label in ("A title", "lora: mean risk 0.130", "base: mean risk 0.713", "trivial: answers nothing"):
        assert f">{label}</text>" in picture
    assert draw(tmp_path / "b", curves) == picture
