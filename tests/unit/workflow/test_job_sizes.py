"""What jobs ask for by themselves: no large base without a GPU, memory for its weights, time for its rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetrail.config.load import LoadedConfig, load_config
from finetrail.workflow.base_facts import kept_facts
from finetrail.workflow.declared import read_declared
from finetrail.workflow.job_resources import JobOf, JobResources
from finetrail.workflow.job_sizes import GB, Size
from tests.workspace import ROOT

RECIPES = sorted(path.stem for path in (ROOT / "config/recipes").glob("*.yaml"))
TUTORIALS = sorted(path.stem for path in (ROOT / "config/tutorial").glob("*.yaml"))
SCRIPTS = {
    path.stem: path for path in (ROOT / "scripts").glob("*/*.py") if path.parent.name not in ("setup", "finetrail")
}
# Jobs that touch the weights of a model without computing with them, or only on a CPU; and why.
ON_CPU = {
    "fetch_model": "downloads",
    "fetch_encoder": "downloads",
    "merge_adapter": "adds matrices, once each, in fp32",
    "convert_gguf": "copies one tensor after the other",
    "check_parity": "both sides answer in fp32 on the CPU, so that they may be compared",
    "export_safetensors": "reads the tokenizer, and hashes files",
    "measure_targets": "reads the tokenizer",
    "score_texts": "embeds some hundred texts by a model of 109 million weights",
    "compare_texts": "the same",
}


def loaded(*recipes: str, scale: str = "full", **config: Any) -> LoadedConfig:
    return load_config(ROOT, config={"recipes": list(recipes), "scale": scale, **config})


def job(run: LoadedConfig, script: str, rule: str | None = None) -> JobResources:
    return JobResources(run, rule or script, script, read_declared(SCRIPTS[script]), 1)


def size(run: LoadedConfig, script: str, model: str | None = None, **files: Path) -> Size:
    (recipe,) = run.recipes
    found = job(run, script).size(JobOf(recipe, model, files=SimpleNamespace(**files)))
    assert found is not None
    return found


def sizes(run: LoadedConfig, recipe: str) -> dict[tuple[str, str | None], Size]:
    """Return the sizes of all jobs that load a model, by script and model."""
    models = run.recipe(recipe).train.models if run.recipe(recipe).train else [None]  # type: ignore[union-attr]
    found = {(name, model): job(run, name).size(JobOf(recipe, model)) for name in SCRIPTS for model in models}
    return {key: one for key, one in found.items() if one is not None}


@pytest.mark.parametrize("recipe", TUTORIALS)
def test_a_tiny_base_asks_for_nothing(recipe: str) -> None:
    assert sizes(loaded(recipe, scale="tutorial"), recipe) == {}


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_large_base_is_without_a_gpu(recipe: str) -> None:
    found = sizes(loaded(recipe), recipe)
    assert len({script for script, _ in found}) >= 8
    for (script, _), one in found.items():
        assert bool(one.gpus) == (script not in ON_CPU), script
        assert bool(one.gpus) == bool(one.gpu_gb), script
        assert one.mem_mb >= one.weights_mb and one.mem_mb >= 2000 and one.minutes >= 10, script


def test_a_qlora_of_four_billion_weights_fits_a_small_gpu_and_all_weights_do_not() -> None:
    run = loaded("cal")
    adapter, whole = size(run, "train_adapter", "qlora"), size(run, "train_adapter", "full")
    assert 4 <= adapter.gpu_gb <= 8 and 16 <= whole.gpu_gb <= 24
    assert adapter.gpus == 1 and adapter.weights_mb == 8044


def test_a_merge_has_memory_for_what_it_was_measured_to_take(tmp_path: Path) -> None:
    """The shape, and the 5582 MB, of a merge on a CPU."""
    config: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 16}
    config |= {"num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 32000, "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    run = loaded("documents", overrides={"documents": {"base_model": {"path": str(tmp_path)}}})
    one = size(run, "merge_adapter", "lora")
    assert one.weights_mb == pytest.approx(4 * 886, abs=4) and 5582 < one.mem_mb < 2 * 5582
    seven = size(loaded("documents"), "merge_adapter", "lora")
    assert 1.0 < seven.mem_mb / (5582 * 7248 / 886) < 1.5


def test_four_processes_have_four_gpus_and_memory_for_their_weights() -> None:
    run = loaded("crag_mm")
    one = size(run, "train_adapter", "lora_shuffled")
    weights = 2 * kept_facts()["meta-llama/Llama-3.2-11B-Vision-Instruct"]["parameters"]
    assert one.gpus == 4 and one.mem_mb * 1e6 > 4 * weights
    assert job(run, "train_adapter").gpus(JobOf("crag_mm", "lora")) == 4
    several = {"crag_mm": {"train": {"models": {"lora": {"launch": {"nodes": 2}}}}}}
    assert "--gpus-per-node=4" in job(loaded("crag_mm", overrides=several), "train_adapter").spread(
        JobOf("crag_mm", "lora")
    )


def test_the_rows_of_a_file_decide_the_time_once_it_is_there(tmp_path: Path) -> None:
    run = loaded("documents")
    times = []
    for rows in (10, 1000, 100_000):
        (tmp_path / f"{rows}.jsonl").write_text('{"id": 1}\n' * rows)
        times.append(size(run, "train_adapter", "lora", train=tmp_path / f"{rows}.jsonl").minutes)
    assert times[0] < times[1] < times[2] == 1440, "a longer training goes on from its checkpoints"
    faster = loaded("documents", site={"gpu_tflops": 200.0})
    assert size(faster, "train_adapter", "lora", train=tmp_path / "1000.jsonl").minutes < times[1]
    long = tmp_path / "long.jsonl"
    long.write_text(f'{{"text": "{"x" * 1000}"}}\n' * 5000)
    assert size(run, "train_adapter", "lora", train=long).minutes > times[1], "5000 rows, estimated by the first ones"


def test_records_are_those_of_the_recipe_until_they_are_counted() -> None:
    few, many = (
        size(loaded("cal", overrides={"cal": {"source": {"records": count}}}), "train_adapter", "qlora").minutes
        for count in (100, 20_000)
    )
    pilot = size(loaded("cal", overrides={"cal": {"limit": 100}}), "train_adapter", "qlora").minutes
    assert pilot == few < many


def asked(run: LoadedConfig, script: str, one: JobOf) -> dict[str, int]:
    found = job(run, script)
    return {
        "gpus": found.gpus(one), "mem_mb": found.memory(one, 1), "runtime": found.minutes(one),
        "threads": found.threads(one),
    }  # fmt: skip


def test_what_a_rules_own_entry_says_is_above_and_the_default_is_below() -> None:
    one = JobOf("documents", "lora")
    plain = asked(loaded("documents"), "train_adapter", one)
    assert plain["gpus"] == 1 and plain["threads"] == 4
    entry = {"gpus": 2, "mem_mb": 900, "runtime": 7, "threads": 2}
    assert asked(loaded("documents", resources={"train_adapter": entry}), "train_adapter", one) == entry
    default = {"mem_mb": 500_000, "runtime": 9, "threads": 1}
    expected = plain | {"mem_mb": 500_000}
    assert asked(loaded("documents", resources={"default": default}), "train_adapter", one) == expected
    part = asked(loaded("documents", resources={"train_adapter": {"mem_mb": 64_000}}), "train_adapter", one)
    assert part == plain | {"mem_mb": 64_000}


def test_an_unknown_base_is_sized_by_its_name() -> None:
    base = {"hub": "someone/Model-70B", "revision": "a" * 40}
    unknown = loaded("documents", overrides={"documents": {"base_model": base}})
    assert size(unknown, "predict_answers", "lora").weights_mb == 140_000


def test_a_small_model_of_a_folder_stays_on_cores_with_memory_for_fp32(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
    }
    config |= {"num_key_value_heads": 3, "vocab_size": 49152, "torch_dtype": "bfloat16", "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = loaded("documents", overrides={"documents": {"base_model": {"path": str(tmp_path)}}})
    one = size(run, "train_adapter", "lora")
    assert (one.gpus, one.gpu_gb, one.threads) == (0, 0.0, 8)
    assert one.weights_mb == pytest.approx(538, abs=2) and one.mem_mb == 7000, "538 MB in fp32, beside 269 of the file"


SERVER = {"endpoints": {"own": {"kind": "transformers", "serve": {"tensor_parallel": 2}}}}
LLAMA = {
    "endpoint": "own",
    "model": "meta-llama/Llama-3.2-11B-Vision-Instruct",
    "revision": kept_facts()["meta-llama/Llama-3.2-11B-Vision-Instruct"]["revision"],
}


def test_a_server_of_our_own_asks_for_its_weights_and_the_job_that_merges_shards_for_nothing() -> None:
    teacher: Mapping[str, Any] = {"crag_mm": {"synthesize": {"teacher": LLAMA, "shards": 4}}}
    run = loaded("crag_mm", llm=SERVER, overrides=teacher)
    alone, shard = (asked(run, "generate_answers", JobOf("crag_mm", shards=shards)) for shards in (1, 4))
    assert alone["gpus"] == shard["gpus"] == 2
    assert alone["mem_mb"] * 1e6 > 21 * GB and alone["runtime"] > shard["runtime"] > 60
    merging = asked(run, "generate_answers", JobOf("crag_mm", merges=True))
    assert merging == {"gpus": 0, "mem_mb": 2000, "runtime": 60, "threads": 1}
    paid = asked(loaded("crag_mm"), "judge_answers", JobOf("crag_mm"))
    assert paid == merging, "another server is asked"
