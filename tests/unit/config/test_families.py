"""A family of prompts that does not fit the base model is an error before anything is downloaded."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.config.checks import TINY_FAMILIES
from finetrail.config.load import load_config
from finetrail.config.sections.train import Family
from finetrail.errors import FinetrailError
from finetrail.tiny.tiny_settings import Architecture
from finetrail.tiny.tiny_tokenizer import layout_of

ROOT = Path(__file__).resolve().parents[3]
COMMIT = "0" * 40


def load(choice: dict[str, Any]) -> None:
    overrides = {"documents": {"base_model": choice}}
    load_config(ROOT, config={"recipes": "[documents]", "scale": "full", "overrides": json.dumps(overrides)})


@pytest.mark.parametrize(
    ("choice", "own"),
    [
        ({"hub": "microsoft/DialoGPT-medium", "revision": COMMIT, "family": "mistral"}, "none that is known"),
        ({"hub": "meta-llama/Llama-3.2-1B-Instruct", "revision": COMMIT, "family": "mistral"}, "llama3"),
        ({"hub": "mistralai/Mistral-7B-Instruct-v0.3", "revision": COMMIT, "family": "llama3"}, "mistral"),
        ({"tiny": "qwen3", "family": "mistral"}, "qwen"),
    ],
)
def test_a_family_that_does_not_fit_the_base(choice: dict[str, Any], own: str) -> None:
    with pytest.raises(FinetrailError, match=f"base_model.family is {choice['family']}, but the family of .* is {own}"):
        load(choice)


def test_a_local_model_is_known_by_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(FinetrailError, match=r"base_model.family is mistral, but"):
        load({"path": str(tmp_path), "family": "mistral"})
    load({"path": str(tmp_path), "family": "chatml", "template": "chatml"})


@pytest.mark.parametrize(
    "choice",
    [
        {"hub": "mistralai/Mistral-7B-Instruct-v0.3", "revision": COMMIT, "family": "mistral"},
        {"hub": "NousResearch/Hermes-2-Pro-Mistral-7B", "revision": COMMIT, "family": "chatml"},
        {"hub": "someone/unheard-of", "revision": COMMIT, "family": "gemma"},
        {"tiny": "llama", "family": "llama3"},
    ],
)
def test_what_fits_or_cannot_be_told_from_the_name_passes(choice: dict[str, Any]) -> None:
    load(choice)


def test_the_families_are_those_of_the_layouts() -> None:
    assert set(get_args(Family)) == {layout.family for layout in LAYOUTS.values()}
    assert {name: LAYOUTS[layout_of(name)].family for name in get_args(Architecture)} == TINY_FAMILIES
