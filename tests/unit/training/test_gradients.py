"""Gradients do not depend on how the rows of an update are spread over batches."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.models.limits import Limits
from finetrail.models.masks import encode_row
from finetrail.training.settings.hardware import detect
from finetrail.training.settings.job import Job
from finetrail.training.settings.machine_choices import choose
from finetrail.training.settings.train_settings import Saving, TrainSettings
from finetrail.training.trainer.arguments import build_arguments
from finetrail.training.trainer.dataset import build_dataset
from finetrail.training.trainer.trainer import build_trainer
from finetrail.training.trainer.training_log import step_recorder
from tests.unit.training.conftest import make_row

if TYPE_CHECKING:
    import torch

SETTINGS = TrainSettings(
    method="full", learning_rate=1e-3, max_steps=1, max_grad_norm=0.0, limits=Limits(max_length=256)
)


def uneven_rows() -> list[dict[str, Any]]:
    rows = [make_row(session, turn) for session in range(4) for turn in range(2)]
    for number, row in enumerate(rows):
        row["messages"][-1] = row["messages"][-1] | {"content": "It opened long ago. " * (1 + number)}
    return rows


def gradients(base: Path, folder: Path, batch: int, accumulation: int, **changes: Any) -> "dict[str, torch.Tensor]":
    from transformers import AutoTokenizer, TrainerCallback

    settings = dataclasses.replace(SETTINGS, batch_size=batch, gradient_accumulation=accumulation, **changes)
    choices = choose(settings, detect())
    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = [encode_row(row, tokenizer, settings.limits) for row in uneven_rows()]
    assert len({example.target_tokens for example in examples}) > 4
    found: dict[str, torch.Tensor] = {}

    class Look(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
            for name, weight in model.named_parameters():
                found[name] = weight.grad.clone()

    folder.mkdir()
    pack_to = settings.limits.max_length if settings.packing else None
    trainer = build_trainer(
        Job(base, folder, None, settings, Saving(), choices, started=0.0, longest=0),
        tokenizer,
        build_dataset(examples, pack_to=pack_to),
        None,
        build_arguments(settings, choices, Saving(), folder, evaluate=False),
        step_recorder(folder, 0, None),
        [Look()],
    )
    trainer.train()
    return found


def test_eight_batches_of_one_equal_one_batch_of_eight(base_dir: Path, tmp_path: Path) -> None:
    one_by_one = gradients(base_dir, tmp_path / "a", 1, 8)
    together = gradients(base_dir, tmp_path / "b", 8, 1)
    assert one_by_one.keys() == together.keys()
    assert max(float(weight.abs().max()) for weight in together.values()) > 1e-3
    for name, weight in together.items():
        assert float((one_by_one[name] - weight).abs().max()) < 1e-6, name
