"""The card of a model that reads a prefix says what was drawn, and why it cannot enter GGUF."""

import re
from typing import Any

import pytest
import yaml

from finetrail.training.prefix.prefix_card import card_text

TUNING: dict[str, Any] = {"rank": 8, "alpha": 16, "learning_rate": 2e-5, "seed": 42}
TUNING |= {"prefix": {"image_tokens": 4, "trainable_blocks": 1, "encoder_learning_rate": 5e-6}}
DRAWN = [{"caption": 10, "link": 10}, {"summary": 7, "caption": 2, "link": 1}]
REVISION = "c" * 40


@pytest.mark.parametrize(
    ("base", "said", "hub"),
    [
        ({"hub": "some/model", "revision": REVISION}, f"some/model at {REVISION}", "some/model"),
        ({"tiny": "mistral"}, "a tiny mistral", None),
        ({"hub": None, "path": "/x"}, "a local folder", None),
    ],
)
def test_base_phases_and_reason_are_there(base: dict[str, Any], said: str, hub: str | None) -> None:
    card = card_text("weatherqa: uniform, fold0", TUNING, DRAWN, base)
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head).get("base_model") == hub
    assert said in body and "2e-05" in body
    assert re.findall(r"^\| \d.*$", body, re.M) == ["| 1 | 10 | 0 | 10 | 0 |", "| 2 | 2 | 7 | 1 | 0 |"]
    assert "An image prefix cannot enter GGUF" in body and "`none`" in body
