"""What is known of a model before it is fetched: kept, read from its folder or the hub's cache, or assumed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetrail.workflow.base_facts import ASSUMED, counted, folder_facts, hub_facts, kept_facts
from tests.workspace import ROOT

QWEN = "Qwen/Qwen3-4B-Instruct-2507"
LLAMA_1B = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


def named(tree: Any) -> list[tuple[str, str]]:
    """List the models of the hub that a recipe names, with their revisions, wherever they stand in it."""
    if isinstance(tree, list):
        return [pair for item in tree for pair in named(item)]
    if not isinstance(tree, dict):
        return []
    below = [pair for value in tree.values() for pair in named(value)]
    hub = tree.get("hub") or (tree.get("model") if "revision" in tree else None)
    return [*below, *([(hub, tree["revision"])] if hub else [])]


def test_every_model_that_a_shipped_recipe_names_is_known_at_its_revision() -> None:
    files = [*(ROOT / "config/recipes").glob("*.yaml"), *(ROOT / "config").glob("templates/**/*.yaml")]
    found = {pair for file in files for pair in named(yaml.safe_load(file.read_text()))}
    assert len(found) >= 6
    assert found == {(hub, facts["revision"]) for hub, facts in kept_facts().items()}
    assert all(hub_facts(*pair).known_from for pair in found)


def test_what_is_kept_of_a_language_model_adds_up() -> None:
    """A typing error in a width would not be seen otherwise. Image encoders and BERT's layers are not counted so."""
    for hub in (QWEN, "mistralai/Mistral-7B-Instruct-v0.2", "mistralai/Mistral-7B-Instruct-v0.3"):
        facts = hub_facts(hub, kept_facts()[hub]["revision"])
        assert counted(facts) == pytest.approx(facts.parameters, rel=0.001), hub


def test_another_revision_is_another_model() -> None:
    assert hub_facts(QWEN, "0" * 40).known_from == ""


def test_a_model_of_which_nothing_is_known_has_the_size_that_its_name_says() -> None:
    assert hub_facts("someone/Model-1.5B-chat", None).parameters == 1_500_000_000
    assert hub_facts("someone/SmolLM2-135M-Instruct", None).parameters == 135_000_000
    assert hub_facts("someone/Mixtral-8x7B", None) == ASSUMED
    assert hub_facts("someone/v0.2-beta", None) == ASSUMED


def folder(place: Path, config: dict[str, Any], weights: int = 0) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    if weights:
        (place / "model.safetensors").write_bytes(b"\0" * weights)
    return place


def test_a_folder_is_read_and_its_weights_are_those_of_its_files(tmp_path: Path) -> None:
    known = folder_facts(folder(tmp_path / "model", LLAMA_1B))
    assert known is not None and known.parameters == pytest.approx(1_235_814_400, rel=0.001)
    assert (known.layers, known.hidden, known.key_value_heads, known.head_width) == (16, 2048, 8, 64)
    assert known.tied and known.weight_bytes == 2 and "config.json" in known.known_from
    seen = folder_facts(folder(tmp_path / "model", LLAMA_1B, weights=2000))
    assert seen is not None and seen.parameters == 1000 and seen.is_small
    (tmp_path / "model/model.safetensors.index.json").write_text('{"metadata": {"total_size": 4000}}')
    assert folder_facts(tmp_path / "model").parameters == 2000  # type: ignore[union-attr]


def test_a_vision_model_is_read_by_its_text_half(tmp_path: Path) -> None:
    known = folder_facts(folder(tmp_path, {"text_config": LLAMA_1B, "vision_config": {"hidden_size": 9}}))
    assert known is not None and known.hidden == 2048


@pytest.mark.parametrize("content", ["", "[]", '{"hidden_size": "wide"}', '{"text_config": 7}', '{"hidden_size": 9}'])
def test_a_folder_that_cannot_be_read_is_unknown(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert folder_facts(tmp_path) is None
    assert folder_facts(tmp_path / "nothing") is None


def test_a_fetched_folder_and_the_hubs_cache_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    hub, commit = "someone/model", "a" * 40
    assert hub_facts(hub, commit) == ASSUMED
    folder(tmp_path / f"hub/models--someone--model/snapshots/{commit}", LLAMA_1B)
    assert hub_facts(hub, commit).hidden == 2048
    fetched = folder(tmp_path / "results/base_model", LLAMA_1B | {"hidden_size": 1024})
    assert hub_facts(hub, commit, fetched).hidden == 1024
