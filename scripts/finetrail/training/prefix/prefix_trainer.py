"""The trainer of models that read pictures: rows in the order of their draw, two rates, samples in the log."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.models.chat_tokens import pad_id
from finetrail.models.masks import IGNORED
from finetrail.training.prefix.image_prefix import build_prefix_model, load_prefix_weights, save_prefix_model
from finetrail.training.prefix.prefix_rows import TaskCollator
from finetrail.training.settings.job import Job
from finetrail.training.trainer.load_model import build_lora, build_model, order_targets
from finetrail.training.trainer.trainer import row_tracker
from finetrail.vision.image_encoder import load_eyes

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

SAMPLES = "samples.jsonl"

logger = logging.getLogger(__name__)


class PrefixSteps:
    """What a trainer does otherwise here; it saves and loads what was trained alone.

    Attributes:
        recorder: its `saw` is told the loss of every row.
        encoder_rate: peak rate of the encoder's blocks.
    """

    recorder: Any
    encoder_rate: float
    args: Any
    model: Any
    optimizer: Any
    accelerator: Any
    processing_class: Any
    train_dataset: Any
    get_optimizer_cls_and_kwargs: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        from torch.utils.data import SequentialSampler

        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Return the weighted loss of a batch."""
        inputs = {name: value for name, value in inputs.items() if name != "skip_logits"}  # for Liger's own models
        outputs = model(**inputs)
        if model.training:
            self.recorder.saw(losses=[round(loss, 6) for loss in outputs["row_losses"].tolist()])
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def create_optimizer(self, model: Any = None) -> Any:
        """Make the optimizer with two groups."""
        if self.optimizer is None:
            cls, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = cls(_groups(self.model, self.args.weight_decay, self.encoder_rate), **options)
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_prefix_model(self.accelerator.unwrap_model(self.model), folder)
            self.processing_class.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_prefix_weights(self.model if model is None else model, Path(resume_from_checkpoint))


def build_prefix_trainer(
    job: Job,
    tokenizer: "PreTrainedTokenizerBase",
    train: "Dataset",
    evaluation: "Dataset | None",
    arguments: "TrainingArguments",
    recorder: Any,
    callbacks: Sequence["TrainerCallback"],
) -> "Trainer":
    """Build the trainer with model, adapter and prefix; nothing has been trained yet.

    Args:
        job: what is trained, with the folder of encoder and classifier.
        tokenizer: for padding, and to be saved with the weights.
        train, evaluation: from `finetrail.training.prefix.prefix_rows.build_task_dataset`.
        arguments: of the trainer.
        recorder: its `saw` is called with the rows of every batch and with their losses.
        callbacks: what else watches and decides, in order.
    """
    from peft import get_peft_model
    from transformers import Trainer, set_seed

    settings, prefix = job.settings, job.settings.prefix
    assert prefix is not None and job.vision_dir is not None

    class PrefixTrainer(PrefixSteps, row_tracker(Trainer, recorder)):  # type: ignore[misc]
        """What is ours comes first."""

    eyes = load_eyes(job.vision_dir)
    if settings.launch.distributed:
        arguments.ddp_find_unused_parameters = True  # a batch of text alone passes the prefix by
    set_seed(settings.seed)
    llm = build_model(job.base_dir, settings, job.choices, arguments.local_process_index)
    llm = get_peft_model(llm, build_lora(settings, llm))
    order_targets(llm)
    model = build_prefix_model(llm, eyes, image_tokens=prefix.image_tokens, trainable_blocks=prefix.trainable_blocks)
    collate = TaskCollator(pad_id(tokenizer), eyes.settings.image_size)
    watchers = [_sampler(job, tokenizer, train, collate)] if job.saving.sample_steps else []
    PrefixTrainer.recorder, PrefixTrainer.encoder_rate = recorder, prefix.encoder_learning_rate
    return PrefixTrainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        callbacks=[recorder, *watchers, *callbacks],
    )


def _groups(model: Any, weight_decay: float, encoder_rate: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups: what is new, and the encoder's blocks at a rate of their own."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    blocks = [weight for name, weight in named if name.startswith("encoder.")]
    ours = [weight for name, weight in named if not name.startswith("encoder.")]
    groups: list[dict[str, Any]] = [{"params": ours, "weight_decay": weight_decay}]
    return [*groups, *([{"params": blocks, "lr": encoder_rate, "weight_decay": 0.0}] if blocks else [])]


def _sampler(
    job: Job, tokenizer: "PreTrainedTokenizerBase", train: "Dataset", collate: TaskCollator
) -> "TrainerCallback":
    """Make the callback that writes what the model says to one row of each task, every so many steps."""
    from transformers import TrainerCallback

    shown: dict[bool, int] = {}
    for place, class_id in enumerate(train["class_ids"]):
        shown.setdefault(class_id >= 0, place)

    class Sampler(TrainerCallback):  # type: ignore[misc]
        """Greedy, so that no random number is drawn and a resumed run goes on as the straight one."""

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            due = state.global_step % job.saving.sample_steps == 0 or state.global_step >= state.max_steps
            if args.process_index != 0 or not due:
                return
            model = more["model"]
            was_training = model.training
            model.eval()
            with (job.state_dir / SAMPLES).open("a", encoding="utf-8") as stream:
                for place in sorted(shown.values()):
                    text, wanted = sample(model, tokenizer, collate, train[place], job.saving.sample_tokens)
                    row = {"step": state.global_step, "row": place, "text": text, "target": wanted}
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                    logger.info("step %d, a sample: %s", state.global_step, text)
            model.train(was_training)

    return Sampler()


def sample(model: Any, tokenizer: Any, collate: TaskCollator, item: Any, tokens: int) -> tuple[str, str]:
    """Return what a model writes to a row of the data set, and its target."""
    import torch

    begin = next(place for place, label in enumerate(item["labels"]) if label != IGNORED)
    asked = dict(item) | {"input_ids": item["input_ids"][:begin], "labels": item["labels"][:begin]}
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in collate([asked]).items() if name not in ("labels", "weights")}
    options = {"do_sample": False, "max_new_tokens": tokens, "pad_token_id": collate.pad}
    with torch.no_grad():
        (made,) = model.generate(**batch, **options).tolist()
    return (
        tokenizer.decode(made, skip_special_tokens=True).strip(),
        tokenizer.decode(item["input_ids"][begin:], skip_special_tokens=True).strip(),
    )
