"""No key of a stored call changes without being named: whoever has paid for calls would pay for them again.

The keys were first recorded before the library was divided into rooms; `changes.yaml` names every change since.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from finetrail.rows.records import sha256_file
from tests.unit.calls_kept.asked import ASKING, CASES, PUBLISHED, ROOT, asked_keys, load_case
from tests.unit.calls_kept.recorded import KEYS_FILE, read_changes, read_keys, told

MODEL_FIELDS = {"model", "temperature", "max_tokens"}


@pytest.mark.parametrize("name", CASES)
def test_the_keys_are_those_that_were_recorded(name: str, tmp_path: Path) -> None:
    recorded = read_keys()
    different = told({name: recorded.get(name, {})}, {name: asked_keys(CASES[name], tmp_path)})
    assert not different, different


def test_every_recording_has_its_reason() -> None:
    changes = read_changes()
    assert all(change["reason"].strip() for change in changes)
    assert changes[-1]["keys_sha256"] == sha256_file(KEYS_FILE), "keys.json was edited by hand: see `recorded.COMMAND`"
    assert [*read_keys()] == [*CASES]


def test_another_format_of_keys_is_noticed_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetrail.llm.request.KEY_FORMAT", 2)
    recorded = {"cal": read_keys()["cal"]}
    different = told(recorded, {"cal": asked_keys(CASES["cal"], tmp_path)})
    assert "cal / write_reasoning / letters / call 1: was " in different
    assert "recorded ones: 3 (" in different and "name it: " in different


def test_a_call_that_comes_or_goes_is_noticed() -> None:
    assert told({"c": {"ask": {"r": ["1"]}}}, {"c": {"ask": {"r": ["1"]}}}) == ""
    different = told({"c": {"ask": {"r": ["1"]}}}, {"c": {"ask": {"s": ["1", "2"]}}})
    assert "r / call 1: is no longer asked" in different and "s / call 2: is not recorded" in different


def test_every_recipe_and_every_script_that_asks_is_recorded() -> None:
    assert {*PUBLISHED} == {path.stem for path in (ROOT / "config" / "recipes").glob("*.yaml")}
    phases = [path for path in (ROOT / "scripts").glob("*/*.py") if path.parent.name != "finetrail"]
    asks = {f"{path.parent.name}.{path.stem}" for path in phases if re.search(r"\basking_parser\(", path.read_text())}
    assert asks == {asking.script for asking in ASKING.values()}
    assert {*ASKING} == {rule for case in CASES.values() for rule in case.rules}
    silent = [
        (rule, name) for name, rules in read_keys().items() for rule, rows in rules.items() if not any(rows.values())
    ]
    assert not silent, "a step whose rows ask for nothing guards nothing"


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_model_of_a_published_recipe_is_asked(name: str, tmp_path: Path) -> None:
    settings = load_case(PUBLISHED[name], tmp_path).result_settings(name)
    assert {*model_keys(settings)} == {ASKING[rule].asks for rule in PUBLISHED[name].rules}


def model_keys(settings: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted keys of the models that a recipe asks."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value.keys() >= MODEL_FIELDS:
            yield f"{above}{key}"
        elif isinstance(value, Mapping):
            yield from model_keys(value, f"{above}{key}.")
