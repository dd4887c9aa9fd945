"""TRL's trainer as we need it: it notes which rows each update saw, and its adapter resumes exactly."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from finetrail.models.chat_tokens import pad_id
from finetrail.models.image_inputs import load_vision
from finetrail.training.settings.job import Job
from finetrail.training.settings.machine_choices import VARLEN
from finetrail.training.trainer.collator import make_collator
from finetrail.training.trainer.load_model import build_lora, build_model, order_targets
from finetrail.training.trainer.varlen import TILE

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTConfig, SFTTrainer


def build_trainer(
    job: Job,
    tokenizer: "PreTrainedTokenizerBase",
    train: "Dataset",
    evaluation: "Dataset | None",
    arguments: "SFTConfig",
    recorder: Any,
    callbacks: Sequence["TrainerCallback"],
) -> "SFTTrainer":
    """Build the trainer with model and adapter; nothing has been trained yet.

    Args:
        job: the base model, what was set, and what was chosen for the machine.
        tokenizer: for padding, and to be saved with the weights.
        train, evaluation: from `finetrail.training.trainer.dataset.build_dataset`.
        arguments: what was set and chosen, as the trainer names it. ZeRO 3 needs them before the model.
        recorder: its `saw` is called with the rows of every batch; the first of the callbacks.
        callbacks: what else watches and decides, in order.
    """
    from transformers import enable_full_determinism, set_seed
    from trl import SFTTrainer

    base_dir, settings, choices = job.base_dir, job.settings, job.choices
    vision = load_vision(base_dir, None)  # the data set holds the paths of images
    if vision is not None and settings.launch.distributed:
        arguments.ddp_find_unused_parameters = True  # a batch of text alone skips the layers that look at images
    # Before a model of four bits is on the GPU: cuBLAS reads its workspace's setting when it is first used.
    (enable_full_determinism if settings.deterministic else set_seed)(settings.seed)
    if settings.launch.deepspeed_stage is not None:
        _let_deepspeed_know_the_processes()
    model = build_model(base_dir, settings, choices, arguments.local_process_index)
    varlen = choices.attention == VARLEN
    collator = make_collator(
        pad_id(tokenizer), packing=settings.packing or varlen, vision=vision, multiple=TILE if varlen else 1
    )
    trainer = row_tracker(SFTTrainer, recorder)(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        peft_config=build_lora(settings, model) if settings.adapter else None,
        callbacks=[recorder, *callbacks],
    )
    if settings.method == "qlora":
        _train_adapter_in_fp32(trainer.model)
    if settings.adapter:
        _leave_casts_to_autocast(trainer.model)
        order_targets(trainer.model)
    return trainer


def _let_deepspeed_know_the_processes() -> None:
    """Join DeepSpeed to the processes that talk already: ZeRO 3 divides weights while they load.

    Accelerate does so on GPUs only; without it DeepSpeed counts one process.
    """
    import deepspeed

    deepspeed.init_distributed(auto_mpi_discovery=False)


def row_tracker(base: type, recorder: Any) -> Any:
    """Make a trainer that tells a recorder which rows each update saw.

    Args:
        base: a trainer of transformers or TRL.
        recorder: its `saw` is called with the places of a batch's rows and how many tokens they have.
    """

    class RowTracker(base):  # type: ignore[misc]
        """Batches carry the places of their rows to where an update takes them."""

        data_collator: Any

        def get_train_dataloader(self) -> Any:
            plain = self.data_collator
            self.data_collator = _with_rows(plain)
            try:
                return super().get_train_dataloader()
            finally:
                self.data_collator = plain  # evaluation reads rows without noting them

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            batches, items = super().get_batch_samples(*args, **kwargs)
            for batch in batches:
                recorder.saw(**batch.pop("seen"))
            return batches, items

    return RowTracker


def _train_adapter_in_fp32(model: Any) -> None:
    """Undo TRL's cast of the adapter to bf16: a checkpoint is loaded in fp32, and would not go on as it was."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def _leave_casts_to_autocast(model: Any) -> None:
    """Keep PEFT from copying every layer's input to fp32, which autocast copies back: the bits are the same."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module._cast_input_dtype = partial(_cast_outside_autocast, module._cast_input_dtype)


def _cast_outside_autocast(cast: Any, inputs: Any, dtype: Any) -> Any:
    """Cast as PEFT does where nobody else will, as in generation."""
    import torch

    return inputs if inputs is None or torch.is_autocast_enabled(inputs.device.type) else cast(inputs, dtype)


def _with_rows(collate: Any) -> Any:
    """Make a collator that adds to each batch the places of its rows and how many tokens they have."""

    def collate_with_rows(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = collate(examples)
        rows = [place for example in examples for place in example["rows"]]
        batch["seen"] = {"rows": rows, "tokens": sum(len(example["input_ids"]) for example in examples)}
        return batch

    return collate_with_rows
