"""What the plan knows of steps whose rows are still to be made."""

from pathlib import Path

import pytest

from finetrail.config.load import load_config
from setup.plan_calls import calls_in_all

ROOT = Path(__file__).resolve().parents[3]


def test_labels_of_people_and_planted_pairs_bound_the_calibration(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text("{}\n" * 7)
    calibration = {"gold": [str(gold)], "planted": 20}
    changes = {"label": {"calibration": calibration}, "synthesize": {"planted": 3}}
    recipe = load_config(ROOT, config={"overrides": {"crag_mm": changes}}).recipes["crag_mm"]
    assert calls_in_all(recipe, "label_gold") == 27
    assert calls_in_all(recipe, "judge_planted") == 15
    assert calls_in_all(recipe, "label_relevance") is None
    gold.unlink()
    assert calls_in_all(recipe, "label_gold") is None


@pytest.mark.parametrize("rule", ["label_gold", "judge_planted"])
def test_a_recipe_without_them_has_no_such_bound(rule: str) -> None:
    recipe = load_config(ROOT, config={"recipes": ["weatherqa"]}).recipes["weatherqa"]
    assert calls_in_all(recipe, rule) in (None, 0)
