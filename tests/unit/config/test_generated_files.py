"""The project's own files: the generated ones are current, the written ones are valid."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.load import load_config
from finetrail.config.recipe import PHASES, ProjectConfig, RecipeConfig
from finetrail.config.reference import json_schema, reference
from finetrail.config.sections.schema import walk_keys
from finetrail.config.yaml_lines import read_yaml

ROOT = Path(__file__).resolve().parents[3]
RECIPES = sorted(path.stem for path in (ROOT / "config/recipes").glob("*.yaml"))


def test_the_generated_files_are_current() -> None:
    advice = "run: python scripts/setup/generate_config_docs.py"
    assert (ROOT / "config/schema.json").read_text(encoding="utf-8") == json_schema(), advice
    assert (ROOT / "config/reference.md").read_text(encoding="utf-8") == reference(), advice


def test_the_script_writes_and_then_finds_them_current(tmp_path: Path) -> None:
    script = ROOT / "scripts/setup/generate_config_docs.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}

    def run(*options: str) -> int:
        command = [sys.executable, str(script), "--folder", str(tmp_path), *options]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert run("--check") == 1
    assert list(tmp_path.iterdir()) == []
    assert run() == 0
    assert run("--check") == 0
    (tmp_path / "reference.md").write_text("old", encoding="utf-8")
    assert run("--check") == 1


def test_every_key_is_described_and_of_a_kind() -> None:
    keys = [*walk_keys(ProjectConfig), *walk_keys(RecipeConfig)]
    assert len(keys) > 100
    assert [key for key, field in keys if not field.description] == []
    text = reference()
    assert [key for key, _ in keys if f"| `{key.rpartition('.')[2]}` |" not in text] == []


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("scale", ["full", "tutorial"])
def test_every_recipe_loads_at_both_scales(recipe: str, scale: str) -> None:
    loaded = load_config(ROOT, config={"recipes": [recipe], "scale": scale})
    assert [loaded.settings_at(recipe, *keys) for keys in PHASES.values()]


@cache
def validator_of(definition: str) -> Any:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    schema = json.loads(json_schema())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]})


def schema_errors(value: Any, definition: str) -> list[str]:
    return [error.message for error in validator_of(definition).iter_errors(value)]


def test_the_schema_accepts_the_files_and_refuses_a_wrong_one() -> None:
    files = [(ROOT / "config/config.yaml", "ProjectConfig")]
    files += [(path, "RecipeConfig") for path in (ROOT / "config").glob("[rt][eu]*/*.yaml")]
    assert len(files) >= 3
    for path, definition in files:
        assert schema_errors(read_yaml(path), definition) == [], path
    assert schema_errors({"limt": 3}, "RecipeConfig")
    assert schema_errors({"limit": "3"}, "RecipeConfig")
