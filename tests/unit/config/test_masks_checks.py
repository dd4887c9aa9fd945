"""Settings of masks and images that cannot work together are refused with the configuration."""

import json
from typing import Any

import pytest

from finetrail.config.load import load_config
from finetrail.errors import FinetrailError
from tests.unit.config.fish_project import Project


def loaded(project: Project, **changes: Any) -> Any:
    return load_config(project.root, config={"overrides": {"fish": changes}})


VISION = {"tiny": None, "hub": "meta-llama/Llama-3.2-11B-Vision-Instruct", "revision": 40 * "a"}


def test_cut_answers_cannot_carry_loss(project: Project) -> None:
    changes: dict[str, Any] = {"train": {"models": {"lora": {"loss": "assistant"}}}}
    assert loaded(project, **changes)
    with pytest.raises(FinetrailError, match=r"lora\.loss is assistant, but limits\.history_answer_tokens"):
        loaded(project, limits={"history_answer_tokens": 20}, **changes)


@pytest.mark.parametrize("base", ["hub", "path"])
def test_a_vision_model_is_not_exported_as_gguf(base: str, project: Project) -> None:
    folder = project.root / "local"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vision_config": {}}))
    choice = VISION if base == "hub" else {"path": str(folder)}
    with pytest.raises(FinetrailError, match=r"export\.format is gguf, but llama\.cpp's file format has no Mllama"):
        loaded(project, base_model=choice, export={"format": "gguf"})
    assert loaded(project, base_model=choice, export={"format": "safetensors"})


def test_rows_with_images_are_not_packed(project: Project) -> None:
    packed: dict[str, Any] = {"train": {"models": {"lora": {"packing": True}}}, "export": {"format": "safetensors"}}
    assert loaded(project, **packed)
    with pytest.raises(FinetrailError, match=r"train\.models\.lora\.packing is true, but rows with images"):
        loaded(project, base_model=VISION, **packed)
    assert loaded(project, base_model=VISION, limits={"images": "drop"}, **packed)


def test_another_model_takes_back_the_tokenizer_s_changes(project: Project) -> None:
    given = {"base_model": VISION | {"template": "llama3"}, "export": {"format": "safetensors"}}
    assert loaded(project, **given).recipe("fish").base_model.template == "llama3"
    project.write("tutorial/fish.yaml", "base_model: {tiny: qwen3}\n")
    project.replace("recipes/fish.yaml", "base_model:", "base_model:\n  template: chatml")
    tutorial = load_config(project.root, config={"scale": "tutorial"})
    choice = tutorial.recipe("fish").base_model
    assert choice is not None and (choice.tiny, choice.template) == ("qwen3", None)
