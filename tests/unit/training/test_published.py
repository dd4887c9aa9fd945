"""The published settings of the seeds become exactly the objects of TRL, PEFT, bitsandbytes and DeepSpeed they name."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.load import load_config
from finetrail.config.sections.schema import result_keys
from finetrail.config.sections.train import TrainedModel
from finetrail.models.model_folder import read_config
from finetrail.training.announce import announce
from finetrail.training.settings.hardware import Hardware
from finetrail.training.settings.machine_choices import Choices, choose
from finetrail.training.settings.train_settings import Saving, TrainSettings, train_settings
from finetrail.training.trainer.arguments import build_arguments, build_deepspeed
from finetrail.training.trainer.load_model import build_lora, build_quantization, count_parameters, weights_dtype

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[3]
GPU = Hardware("A100", 8, 80 * 10**9, bf16=True, flash_attention=False, liger=False)
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HOTPOTQA: dict[str, Any] = {
    "method": "qlora", "rank": 16, "alpha": 32, "target_modules": SEVEN, "learning_rate": 5e-4, "weight_decay": 0.01,
    "epochs": 2.0, "batch_size": 1, "gradient_accumulation": 8, "gradient_checkpointing": True, "eval_steps": 100,
}  # fmt: skip
DOCUMENTS: dict[str, Any] = {"method": "lora", "learning_rate": 2e-4, "epochs": 1.0}  # the seed names LoRA, no number


def built(tuning: dict[str, Any], max_length: int) -> tuple[TrainSettings, Choices]:
    """Settings as a recipe's script makes them, and the choices of a GPU, with `use_cpu` added."""
    model = TrainedModel.model_validate(tuning)
    settings = train_settings(result_keys(model), {"max_length": max_length})
    return settings, dataclasses.replace(choose(settings, GPU), use_cpu=True)


def of_recipe(recipe: str, model: str) -> tuple[TrainSettings, Choices]:
    """The same, from a recipe of ours at full scale."""
    tuning = load_config(ROOT, config={"recipes": [recipe]}).settings_at(recipe, f"train.models.{model}", "limits")
    settings = train_settings(tuning["train"]["models"][model], tuning["limits"])
    return settings, dataclasses.replace(choose(settings, GPU), use_cpu=True)


def arguments(settings: TrainSettings, choices: Choices, path: Path, saving: Saving | None = None) -> Any:
    return build_arguments(settings, choices, saving or Saving(), path, evaluate=True)


def has(thing: Any, **expected: Any) -> None:
    found = {name: getattr(thing, name) for name in expected}
    assert found == expected


@pytest.fixture(autouse=True)
def no_deepspeed_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments with DeepSpeed tell accelerate by the environment, which the next test must not inherit."""
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.setenv(name, "false" if "USE" in name else "no")


@pytest.mark.parametrize(("dev", "said"), [(0, "(No validation set)"), (7, "Size of the validation set: 7.")])
def test_a_training_says_what_it_trains(base_dir: Path, dev: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = TrainSettings(method="qlora", rank=8, alpha=16, learning_rate=1e-4, epochs=3.0)
    trainable, parameters = count_parameters(read_config(base_dir), settings)
    with caplog.at_level("INFO"):
        announce(5454, dev, base_dir, settings)
    assert caplog.messages == [
        f"Size of the train set: 5454. {said}",
        f"trainable params: {trainable} || all params: {parameters} || trainable%: {100 * trainable / parameters:.4f}",
    ]
    assert 0 < trainable < parameters


def test_cal_qlora(tmp_path: Path) -> None:
    import torch

    settings, choices = of_recipe("cal", "qlora")
    has(
        arguments(settings, choices, tmp_path, Saving(strategy="epoch")),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=8,
        num_train_epochs=3.0,
        max_steps=-1,
        learning_rate=1e-4,
        lr_scheduler_type="cosine",
        warmup_steps=0.0,
        optim="paged_adamw_32bit",
        bf16=True,
        fp16=False,
        save_strategy="epoch",
        gradient_checkpointing=False,
        deepspeed=None,
    )
    has(build_lora(settings), r=8, lora_alpha=16, target_modules={*SEVEN}, lora_dropout=0.0, bias="none")
    has(
        build_quantization(settings, choices),
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def test_cal_full(tmp_path: Path) -> None:
    import torch

    settings, choices = of_recipe("cal", "full")
    has(
        arguments(settings, choices, tmp_path),
        bf16=True,
        num_train_epochs=3.0,
        learning_rate=1e-4,
        optim="paged_adamw_32bit",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=8,
        max_length=None,  # rows of 1024 tokens fit as they are
    )
    assert weights_dtype(settings, choices) == torch.bfloat16
    assert settings.limits.max_length == 1024


def test_hotpotqa_generator(tmp_path: Path) -> None:
    settings, choices = built(HOTPOTQA, 2048)
    has(
        arguments(settings, choices, tmp_path, Saving(save_steps=100)),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        num_train_epochs=2.0,
        learning_rate=5e-4,
        weight_decay=0.01,
        gradient_checkpointing=True,
        bf16=True,
        save_strategy="steps",
        save_steps=100,
        eval_strategy="steps",
        eval_steps=100,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
    )
    has(build_lora(settings), r=16, lora_alpha=32, target_modules={*SEVEN})
    has(build_quantization(settings, choices), load_in_4bit=True, bnb_4bit_quant_type="nf4")
    assert settings.limits.max_length == 2048


# What is set for every training; beside it, only what a recipe says may differ from TRL's own.
ALWAYS: dict[str, Any] = {
    "logging_steps": 1, "logging_nan_inf_filter": False, "disable_tqdm": True, "remove_unused_columns": False,
    "dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None, "gradient_checkpointing": False,
    "seed": 5, "data_seed": 5, "lr_scheduler_type": "cosine", "save_steps": 100,
}  # fmt: skip
SAID: dict[tuple[str, str], dict[str, Any]] = {
    ("cal", "qlora"): {
        "learning_rate": 1e-4, "optim": "paged_adamw_32bit", "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4, "gradient_accumulation_steps": 8,  # three epochs are TRL's own
    },
    ("cal", "full"): {
        "learning_rate": 1e-4, "optim": "paged_adamw_32bit", "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4, "gradient_accumulation_steps": 8,
    },
    ("hotpotqa", "generator"): {
        "learning_rate": 5e-4, "weight_decay": 0.01, "num_train_epochs": 1.0, "warmup_steps": 0.05,
        "optim": "adamw_torch", "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": 8, "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False}, "eval_strategy": "steps", "do_eval": True,
        "eval_steps": 100, "metric_for_best_model": "eval_loss", "greater_is_better": False,
        "train_sampling_strategy": "sequential",
    },
    ("crag_mm", "lora"): {
        "learning_rate": 5e-5, "num_train_epochs": 10.0, "warmup_steps": 0.05, "optim": "adamw_torch",
        "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 8,
        "ddp_find_unused_parameters": False,
    },
    ("documents", "lora"): {
        "learning_rate": 2e-4, "warmup_steps": 0.05, "optim": "adamw_torch", "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2, "gradient_accumulation_steps": 8,
    },
    ("weatherqa", "uniform"): {
        "learning_rate": 2e-5, "num_train_epochs": 1.0, "warmup_steps": 0.1, "optim": "adamw_torch",
        "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "ddp_find_unused_parameters": False,
    },
}  # fmt: skip


@pytest.mark.parametrize(("recipe", "model"), SAID)
def test_nothing_else_is_set_than_what_a_recipe_says(recipe: str, model: str, tmp_path: Path) -> None:
    from trl import SFTConfig

    settings, choices = of_recipe(recipe, model)
    launch = dataclasses.replace(settings.launch, deepspeed_stage=None)  # which need not be installed here
    made = arguments(dataclasses.replace(settings, launch=launch, seed=5), choices, tmp_path)
    plain = SFTConfig(output_dir=str(tmp_path), use_cpu=True)
    names = [f.name for f in dataclasses.fields(SFTConfig) if not f.name.startswith("activation_")]  # other names
    expected = ALWAYS | SAID[recipe, model]
    assert {name: getattr(made, name) for name in names} == {name: getattr(plain, name) for name in names} | expected


def test_what_no_recipe_sets_reaches_the_trainer(tmp_path: Path) -> None:
    settings, choices = built(DOCUMENTS | {"max_grad_norm": 0.25, "schedule": "linear"}, 128)
    made = arguments(settings, dataclasses.replace(choices, liger=True), tmp_path, Saving(strategy="epoch", workers=2))
    has(
        made,
        max_grad_norm=0.25,
        lr_scheduler_type="linear",
        use_liger_kernel=True,
        save_strategy="epoch",
        dataloader_num_workers=2,
    )


def test_documents(tmp_path: Path) -> None:
    import torch

    settings, choices = built(DOCUMENTS, 2048)
    has(arguments(settings, choices, tmp_path), bf16=True, optim="adamw_torch", learning_rate=2e-4)
    has(build_lora(settings), r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    assert weights_dtype(settings, dataclasses.replace(choices, use_cpu=False)) == torch.bfloat16


def test_crag_mm_lora_with_deepspeed(tmp_path: Path) -> None:
    settings, choices = of_recipe("crag_mm", "lora")
    plain = dataclasses.replace(settings, launch=dataclasses.replace(settings.launch, deepspeed_stage=None))
    has(
        arguments(plain, choices, tmp_path),  # DeepSpeed itself is asserted below: it need not be installed here
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        num_train_epochs=10.0,
        learning_rate=5e-5,
        warmup_steps=0.05,
        bf16=True,
    )
    has(build_lora(settings), r=128, lora_alpha=256, lora_dropout=0.05)
    assert settings.launch.world > 1
    assert build_deepspeed(settings) == {
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    }


def test_deepspeed_reaches_the_trainer(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    settings, choices = built(DOCUMENTS | {"launch": {"deepspeed_stage": 3, "offload": "all"}}, 128)
    zero = arguments(settings, choices, tmp_path).hf_deepspeed_config.config["zero_optimization"]
    assert zero["stage"] == 3 and zero["offload_param"]["device"] == zero["offload_optimizer"]["device"] == "cpu"
    assert zero["stage3_gather_16bit_weights_on_model_save"] is True


def test_a_gpu_without_bf16(tmp_path: Path) -> None:
    """What is trained stays in fp32 then, or its small steps would be lost."""
    import torch

    old = dataclasses.replace(GPU, bf16=False)
    settings, _ = built(DOCUMENTS | {"method": "qlora"}, 128)
    choices = dataclasses.replace(choose(settings, old), use_cpu=True)
    has(arguments(settings, choices, tmp_path), fp16=True, bf16=False)
    has(build_quantization(settings, choices), bnb_4bit_compute_dtype=torch.float16)
    lora = dataclasses.replace(settings, method="lora")
    assert weights_dtype(lora, dataclasses.replace(choose(lora, old), use_cpu=False)) == torch.float32


def test_one_process_takes_one_gpu_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer would use all, and multiply the batch."""
    from trl import SFTConfig

    monkeypatch.setattr(SFTConfig, "n_gpu", property(lambda self: vars(self).get("_n_gpu") or 8))
    settings, choices = built(DOCUMENTS | {"batch_size": 2}, 128)
    has(arguments(settings, choices, tmp_path), n_gpu=1, train_batch_size=2)


def test_deterministic(tmp_path: Path) -> None:
    settings, choices = built(DOCUMENTS | {"deterministic": True}, 128)
    has(arguments(settings, choices, tmp_path), full_determinism=True)


def test_trainable_parameters_of_cal_by_the_public_configuration() -> None:
    """The seed's log says 6,815,744, which belongs to another model."""
    from transformers import Qwen3Config

    config = Qwen3Config(  # config.json of Qwen3-4B-Instruct-2507
        hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
        head_dim=128, vocab_size=151936, tie_word_embeddings=True,
    )  # fmt: skip
    settings, _ = of_recipe("cal", "qlora")
    assert count_parameters(config, settings) == (16_515_072, 4_038_983_168)
