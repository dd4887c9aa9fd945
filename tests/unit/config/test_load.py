"""Layers, origins, --config, variants, and what each phase reads."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetrail.config.load import LoadedConfig, load_config
from finetrail.config.recipe import PHASES, RecipeConfig
from finetrail.config.sections.schema import kind_of, walk_keys
from finetrail.config.sections.train import Train, TrainedModel
from finetrail.errors import FinetrailError
from finetrail.llm.ask import endpoint_of
from tests.unit.config.fish_project import Project

ROOT = Path(__file__).resolve().parents[3]


def lora(loaded: LoadedConfig, recipe: str = "fish") -> dict[str, Any]:
    settings: dict[str, Any] = loaded.settings_at(recipe, "train.models.lora")["train"]["models"]["lora"]
    return settings


def test_each_layer_wins_over_the_one_before(project: Project) -> None:
    full = load_config(project.root)
    assert (lora(full)["rank"], lora(full)["alpha"], lora(full)["learning_rate"]) == (128, 32, 5e-5)
    assert full.recipes["fish"].splits.train == 0.8

    tutorial = load_config(project.root, config={"scale": "tutorial"})
    assert lora(tutorial)["rank"] == 8

    user = "overrides: {fish: {train: {models: {lora: {rank: 4, dropout: 0.1}}}}}\n"
    with (project.root / "config/config.yaml").open("a", encoding="utf-8") as stream:
        stream.write(user)
    assert lora(load_config(project.root, config={"scale": "tutorial"}))["rank"] == 4

    extra = project.write("extra.yaml", "scale: tutorial\noverrides: {fish: {train: {models: {lora: {rank: 3}}}}}\n")
    loaded = load_config(project.root, configfiles=[extra])
    assert (lora(loaded)["rank"], lora(loaded)["dropout"]) == (3, 0.1)

    given = {"overrides": {"fish": {"train": {"models": {"lora": {"rank": "2"}}}}}}
    assert lora(load_config(project.root, configfiles=[extra], config=given))["rank"] == 2


def test_origins_name_layer_file_and_line(project: Project) -> None:
    extra = project.write("extra.yaml", "overrides:\n  fish:\n    limit: 7\n")
    loaded = load_config(project.root, configfiles=[extra], config={"scale": "tutorial"})
    key = "recipes.fish.train.models.lora"
    rank = project.line("tutorial/fish.yaml", "rank")
    rate = project.line("recipes/fish.yaml", "learning_rate")
    assert str(loaded.origin(f"{key}.rank")) == f"overlay {rank}"
    assert str(loaded.origin(f"{key}.learning_rate")) == f"recipe {rate}"
    assert str(loaded.origin("recipes.fish.limit")) == "user config/extra.yaml:3"
    assert str(loaded.origin(f"{key}.alpha")) == "default"
    assert str(loaded.origin("scale")) == "user --config"
    assert loaded.origin("llm.endpoints.paid.kind").line == 6


def test_a_choice_of_a_later_layer_voids_what_belongs_to_the_earlier_one(project: Project) -> None:
    loaded = load_config(project.root, config={"scale": "tutorial"})
    base = loaded.recipes["fish"].base_model
    assert base is not None and (base.tiny, base.hub, base.revision) == ("llama", None, None)
    assert (lora(loaded)["max_steps"], lora(loaded)["epochs"]) == (20, None)
    assert loaded.origin("recipes.fish.base_model.hub").layer == "default"

    project.write("tutorial/fish.yaml", "synthesize: {teacher: {model: teacher-2}}\n")
    synthesize = load_config(project.root, config={"scale": "tutorial"}).recipes["fish"].synthesize
    assert synthesize is not None and synthesize.teacher is not None
    teacher = synthesize.teacher
    assert (teacher.model, teacher.revision, teacher.temperature) == ("teacher-2", None, 0.8)


def test_null_takes_back_what_an_earlier_layer_said(project: Project) -> None:
    project.write("tutorial/fish.yaml", "recall: {top_k: null}\nexport:\nlimit: null\nsynthesize: {versions: ~}\n")
    project.replace("recipes/fish.yaml", "top_k: 30", "top_k: 31")
    recipe = load_config(project.root, config={"scale": "tutorial"}).recipes["fish"]
    assert recipe.recall is not None and recipe.recall.top_k == 30
    assert recipe.export is None
    assert recipe.phases == ("ingest", "recall", "label", "synthesize", "folds", "train", "evaluate", "audit")


@pytest.mark.parametrize(
    ("config", "read"),
    [
        ({"overrides": "{fish: {limit: 5, queries: {enabled: false, count: 2}}}"}, ("limit", 5)),
        ({"overrides": {"fish": {"limit": "5"}}}, ("limit", 5)),
        ({"overrides": {"fish": {"limit": "None"}}}, ("limit", None)),
        ({"overrides": {"fish": {"source": {"licence": 2}}}}, ("source.licence", "2")),
        ({"overrides": {"fish": {"recall": "{k1: 1}"}}}, ("recall.k1", 1.0)),
        (
            {"overrides": {"fish": {"evaluate": {"allow_same_judge": "true"}}}},
            ("evaluate.allow_same_judge", True),
        ),
        (
            {"overrides": {"fish": {"train": {"models": {"lora": {"max_steps": "2"}}}}}},
            ("train.models.lora.max_steps", 2),
        ),
        (
            {"overrides": {"fish": {"train": {"models": {"lora": {"learning_rate": "5e-4"}}}}}},
            ("train.models.lora.learning_rate", 5e-4),
        ),
    ],
)
def test_texts_of_the_command_line_become_what_is_expected(
    project: Project, config: dict[str, Any], read: tuple[str, Any]
) -> None:
    value: Any = load_config(project.root, config=config).settings_at("fish", read[0])
    for name in read[0].split("."):
        value = value[name]
    assert value == read[1]
    assert type(value) is type(read[1])


def test_recipes_and_scale_on_the_command_line(project: Project) -> None:
    loaded = load_config(project.root, config={"recipes": "[fish]", "scale": "tutorial", "results_dir": 12})
    assert loaded.results == Path("12/tutorial")
    assert load_config(project.root).results == Path("results")


def test_a_variant_starts_from_its_base_with_all_layers(project: Project) -> None:
    project.write("recipes/trout.yaml", "extends: fish\nsynthesize:\n  refusal_share: 0.1\n")
    project.write("recipes/small_trout.yaml", "extends: trout\nlimit: 3\n")
    project.replace("config.yaml", "recipes: [fish]", "recipes: [fish, small_trout]")
    given = {"scale": "tutorial", "overrides": {"fish": {"rerank": {"chunk_words": 50}}}}
    loaded = load_config(project.root, config=given)
    fish, trout = loaded.recipes["fish"], loaded.recipes["small_trout"]
    assert list(loaded.recipes) == ["fish", "small_trout"]
    assert lora(loaded, "small_trout")["rank"] == 8
    assert fish.rerank.chunk_words == trout.rerank.chunk_words == 50
    assert fish.synthesize is not None and trout.synthesize is not None
    assert (fish.synthesize.refusal_share, trout.synthesize.refusal_share) == (0.2, 0.1)
    assert (fish.limit, trout.limit, fish.extends, trout.extends) == (None, 3, None, "trout")
    assert str(loaded.origin("recipes.small_trout.limit")) == "recipe config/recipes/small_trout.yaml:2"


def test_every_result_key_belongs_to_exactly_one_phase() -> None:
    def owners(key: str) -> list[str]:
        return [
            phase
            for phase, keys in PHASES.items()
            if any(key == owned or key.startswith(f"{owned}.") for owned in keys)
        ]

    leaves = [key for key, field in walk_keys(RecipeConfig) if kind_of(field) == "result"]
    above = {key.rpartition(".")[0] for key in leaves}
    assert {key: owners(key) for key in leaves if key not in above and len(owners(key)) != 1} == {}
    assert [key for keys in PHASES.values() for key in keys if key not in leaves] == []


def test_operation_keys_are_in_no_settings(project: Project) -> None:
    loaded = load_config(project.root)
    text = str(loaded.result_settings("fish"))
    assert [key for key in ("endpoint", "save_steps", "extends") if f"'{key}'" in text] == []
    assert loaded.settings_at("fish", "label.model") == {
        "label": {
            "model": {
                "model": "judge-1",
                "revision": None,
                "temperature": 0.0,
                "top_p": 1.0,
                "max_tokens": 512,
                "logprobs": None,
                "extra_body": {},
            }
        }
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"llm": {"mode": "replay", "max_quarantined_share": 0.5, "endpoints": {"paid": {"timeout_s": 7}}}},
        {"resources": {"default": {"mem_mb": 9}}},
        {"results_dir": "elsewhere"},
        {"overrides": {"fish": {"train": {"save_steps": 3}}}},
    ],
)
def test_an_operation_key_changes_no_settings(project: Project, changes: dict[str, Any]) -> None:
    before, after = load_config(project.root), load_config(project.root, config=changes)
    assert after.merged() != before.merged()
    assert after.result_settings("fish") == before.result_settings("fish")


@pytest.mark.parametrize(
    ("recipe", "path", "one", "other"),
    [
        ("crag_mm", "source.fetch", {"refresh": False}, {"refresh": True}),
        ("weatherqa", "train.models.uniform.prefix", {}, {"sample_steps": 7, "sample_tokens": 9, "workers": 1}),
    ],
)
def test_operation_keys_of_the_recipes_change_no_settings(
    recipe: str, path: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    def loaded(values: dict[str, Any]) -> LoadedConfig:
        for key in reversed(path.split(".")):
            values = {key: values}
        return load_config(ROOT, config={"scale": "full", "recipes": [recipe], "overrides": {recipe: values}})

    before, after = loaded(one), loaded(other)
    assert after.merged() != before.merged()
    assert after.result_settings(recipe) == before.result_settings(recipe)


def test_keys_that_mean_nothing_are_left_out(project: Project) -> None:
    settings = load_config(project.root).settings_at("fish", "base_model")
    tokenizer = {"template", "family", "pad_token", "new_tokens"}
    assert set(settings["base_model"]) == {"tiny", "hub", "revision", "path", *tokenizer}


def test_resources_fall_back_to_the_entry_default(project: Project) -> None:
    entries = {"default": {"mem_mb": 500, "threads": 2}, "train_adapter": {"gpus": 1, "mem_mb": 9000}}
    loaded = load_config(project.root, config={"resources": entries}, rule_names=["train_adapter", "make_folds"])
    least = {"local": False, "runtime": 60, "threads": 2, "llm": 1}
    assert loaded.resources_for("make_folds") == {"mem_mb": 500, "gpus": 0, **least}
    assert loaded.resources_for("train_adapter") == {"mem_mb": 9000, "gpus": 1, **least}


@pytest.mark.parametrize("scale", ["full", "tutorial"])
def test_a_written_run_config_is_plain_data(project: Project, scale: str) -> None:
    entries = {"default": {"mem_mb": 500}, "train_adapter": {"gpus": 1}}
    merged = load_config(project.root, config={"scale": scale, "resources": entries}).merged()
    assert yaml.safe_load(yaml.safe_dump(merged, sort_keys=False)) == merged
    assert merged["recipes"]["fish"]["train"]["save_steps"] == 100
    assert merged["recipes"]["fish"]["label"]["model"]["endpoint"] == "paid"


def test_loading_imports_nothing_heavy() -> None:
    heavy = {
        "torch",
        "numpy",
        "transformers",
        "openai",
        "aiohttp",
        "snakemake",
        "jsonschema",
        "pandas",
        "jinja2",
    }
    code = f"import sys, finetrail.config.load; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_attempt_may_not_stop_at_its_first_step() -> None:
    models = {"lora": TrainedModel(method="lora", learning_rate=1e-4, max_steps=1)}
    with pytest.raises(ValueError, match=r"`save_before_minutes` is 30 and `max_hours` 24 minutes: .* its first step"):
        Train(models=models, max_hours=0.4)
    assert Train(models=models, max_hours=0.4, save_before_minutes=5.0).max_hours == 0.4
    assert Train(models=models, save_before_minutes=600.0).max_hours is None


@pytest.mark.parametrize("name", ["base", "trivial", "lora_shuffled"])
def test_a_model_may_not_have_the_name_of_a_control(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` is the name of a control"):
        Train(models={name: TrainedModel(method="lora", learning_rate=1e-4, max_steps=1)})
    assert Train(models={"baseline": TrainedModel(method="lora", learning_rate=1e-4, max_steps=1)}).models


@pytest.mark.parametrize("name", ["overall", "reason"])
def test_a_criterion_may_not_have_the_name_of_what_is_asked_for_anyway(name: str) -> None:
    changes = f"{{documents: {{synthesize: {{criteria: [accuracy, {name}]}}}}}}"
    with pytest.raises(FinetrailError, match=f"`{name}` is asked for anyway"):
        load_config(ROOT, config={"recipes": "[documents]", "overrides": changes})


def test_every_price_says_who_states_it_and_when_that_was_read() -> None:
    merged = load_config(ROOT).merged()
    priced = [
        *(price for entry in merged["llm"]["endpoints"].values() for price in entry["prices"].values()),
        *(entry for entry in merged["search"]["endpoints"].values() if entry["usd_per_1000"]),
    ]
    assert len(priced) >= 5
    for price in priced:
        if price.get("input", 0) is None:
            assert (price["output"], price["source"], price["read_on"]) == (None, None, None)
        else:
            assert price["source"].startswith("https://") and price["read_on"] >= "2026-01-01"


def test_a_price_that_no_page_states_is_none(project: Project) -> None:
    prices = {"m": {"input": None, "output": None, "source": None}}
    entry = {"kind": "openai", "base_url": "https://api.example.org/v1", "prices": prices}
    merged = load_config(project.root, config={"llm": {"endpoints": {"other": entry}}}).merged()
    assert endpoint_of("other", merged["llm"]["endpoints"]["other"]).price_of("m") is None
