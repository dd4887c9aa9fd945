"""Supervised fine-tuning of a chat model: LoRA or all weights, on TRL and PEFT, with exact resume."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.records import canonical_json, sha256_file, sha256_text
from finetrail.training.base import adapter_targets, load_base
from finetrail.training.chat_tokens import check_chat, check_new_tokens, pad_id
from finetrail.training.checkpoints import newest_complete, open_state
from finetrail.training.collator import make_collator
from finetrail.training.dataset import build_dataset
from finetrail.training.hardware import Precision, precision
from finetrail.training.masks import Example, encode_rows
from finetrail.training.pictures import Vision, copy_processor, load_vision
from finetrail.training.settings import TrainSettings
from finetrail.training.training_log import speed_callback, write_training_log

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTConfig, SFTTrainer

ADAPTER = "final_adapter"
CHECKPOINT = "final_checkpoint"

_ABOUT_CHECKPOINTS = ("save_steps", "save_total_limit")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """What a finished run says of itself; the same for a straight and a resumed run.

    Attributes:
        folder: ``final_adapter`` or ``final_checkpoint``.
        steps: optimizer steps in all.
        rows, target_tokens: training rows and the tokens that carry loss in one epoch.
        sequences: what the rows came to: fewer than rows where they are packed.
        trimmed_rows, dropped_passages: rows that lost passages so that they fit, and how many passages.
        dropped_images: rows whose image was not shown, by ``limits.images``.
        trainable_parameters, parameters: counts.
        final_loss, eval_loss: the last logged training loss and the evaluation loss (nats a token).
    """

    folder: str
    steps: int
    rows: int
    target_tokens: int
    trimmed_rows: int
    dropped_passages: int
    trainable_parameters: int
    parameters: int
    final_loss: float | None
    eval_loss: float | None
    sequences: int
    dropped_images: int = 0


def train_adapter(
    base_dir: Path,
    train_rows: Sequence[Mapping[str, Any]],
    eval_rows: Sequence[Mapping[str, Any]],
    settings: TrainSettings,
    *,
    state_dir: Path,
    out_dir: Path,
    images: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainReport:
    """Tune a base model on chat rows; the assistant's last turn carries loss, or all of its turns do.

    Args:
        base_dir: model and tokenizer in the layout of the transformers library, with a chat template.
        train_rows: see `finetrail.training.masks.encode_row` for their fields.
        eval_rows: dev rows for the evaluation loss; may be empty.
        settings: everything that decides the weights.
        state_dir: checkpoints, and ``training_speed.jsonl``; a run that finds a checkpoint continues from the newest
            complete one, bit for bit.
        out_dir: gets ``final_adapter/`` (or ``final_checkpoint/``) and ``training_log.jsonl``.
        images: folder that image paths of the rows are relative to.
        progress: called with (steps done, steps in all).

    Raises:
        FinetrailError: no rows, a row with an image for a model that reads text only, a row that does not fit, a
            tokenizer that would teach the wrong thing, a state directory of another run, or a loss that is not finite.
    """
    from transformers import AutoTokenizer

    if not train_rows:
        raise FinetrailError("there are no rows to train on", hint="See what the folds kept and dropped")
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    check_chat(tokenizer, base_dir, loss=settings.loss, max_length=settings.limits.max_length)
    if settings.mode != "full":
        check_new_tokens(tokenizer, base_dir, settings.modules_to_save)
    vision = load_vision(base_dir, images)
    train, dropped_images = encode_rows(train_rows, tokenizer, settings.limits, loss=settings.loss, vision=vision)
    evaluation, _ = encode_rows(eval_rows, tokenizer, settings.limits, loss=settings.loss, vision=vision)
    open_state(state_dir, _identity(base_dir, train, evaluation, settings))
    trainer = build_trainer(base_dir, tokenizer, train, evaluation, settings, state_dir, vision)
    speed = state_dir / "training_speed.jsonl"
    _train(trainer, newest_complete(state_dir), speed_callback(speed, _tokens_of_step(trainer, settings), progress))
    eval_loss = trainer.evaluate()["eval_loss"] if evaluation else None
    report = _publish(trainer, tokenizer, settings, train, eval_loss, out_dir)
    copy_processor(base_dir, out_dir / report.folder)
    return replace(report, dropped_images=dropped_images)


def _train(trainer: "SFTTrainer", resume: Path | None, watch: "TrainerCallback") -> None:
    """Train from the start or from a checkpoint; a finished one is only loaded: the trainer would go a step too far."""
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(resume / "trainer_state.json")) if resume else None
    if state is not None and state.global_step >= state.max_steps:
        logger.info("%s is complete: nothing to train", resume)
        trainer._load_from_checkpoint(str(resume))  # what train() itself does first
        trainer.state = state
        return
    if resume is not None:
        logger.info("resuming from %s", resume)
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def build_trainer(
    base_dir: Path,
    tokenizer: "PreTrainedTokenizerBase",
    train: Sequence[Example],
    evaluation: Sequence[Example],
    settings: TrainSettings,
    state_dir: Path,
    vision: Vision | None = None,
) -> "SFTTrainer":
    """Build the trainer with model, adapter and encoded rows; nothing has been trained yet."""
    from transformers import set_seed
    from trl import SFTTrainer

    formats = precision()
    set_seed(settings.seed)
    dtype = formats.dtype if settings.mode == "lora" else "float32"  # mixed precision keeps fp32 master weights
    model = load_base(base_dir, dtype)
    targets = adapter_targets(model, settings.target_modules, vision_layers=settings.vision_layers)
    settings = replace(settings, target_modules=targets)
    arguments = trainer_arguments(settings, formats, state_dir, evaluate=bool(evaluation))
    arguments.ddp_find_unused_parameters = vision is not None or None  # a batch of text alone skips the image's layers
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=build_dataset(train, pack_to=settings.limits.max_length if settings.packing else None),
        eval_dataset=build_dataset(evaluation) if evaluation else None,
        data_collator=make_collator(pad_id(tokenizer), packing=settings.packing, vision=vision),
        processing_class=tokenizer,
        peft_config=lora_config(settings) if settings.mode == "lora" else None,
    )


def trainer_arguments(settings: TrainSettings, formats: Precision, state_dir: Path, *, evaluate: bool) -> "SFTConfig":
    """Name every argument of the trainer that our settings decide."""
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(state_dir),
        use_cpu=formats.use_cpu,
        bf16=formats.bf16,
        fp16=formats.fp16,
        gradient_checkpointing=settings.gradient_checkpointing,
        max_length=None,  # rows fit already; the trainer must not cut them
        packing=False,  # packs are made before, so that their rows can be named
        remove_unused_columns=False,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_share,  # below 1 it is a share of the steps
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        num_train_epochs=settings.epochs,
        max_steps=-1 if settings.max_steps is None else settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        eval_strategy="steps" if evaluate and settings.eval_steps else "no",
        eval_steps=settings.eval_steps,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=settings.save_total_limit,
        logging_strategy="steps",
        logging_steps=settings.logging_steps,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        dataloader_pin_memory=not formats.use_cpu,
        seed=settings.seed,
        data_seed=settings.seed,
    )


def lora_config(settings: TrainSettings) -> "LoraConfig":
    """The adapter as PEFT names it."""
    from peft import LoraConfig

    targets = settings.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(settings.modules_to_save) or None,
        bias="none",
    )


def _identity(base_dir: Path, train: Sequence[Example], evaluation: Sequence[Example], settings: TrainSettings) -> str:
    """Digest what decides weights and log: settings, encoded rows, and the bytes of the base."""
    base = sorted((path.name, sha256_file(path)) for path in base_dir.iterdir() if path.is_file())
    rows = [
        [example.input_ids, example.target_tokens, [image.sha256 for image in example.images]]
        for example in (*train, *evaluation)
    ]
    deciding = {name: value for name, value in asdict(settings).items() if name not in _ABOUT_CHECKPOINTS}
    return sha256_text(canonical_json([deciding, base, rows]))


def _tokens_of_step(trainer: "SFTTrainer", settings: TrainSettings) -> float:
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    mean: float = sum(lengths) / len(lengths)
    return mean * settings.batch_size * settings.gradient_accumulation


def _publish(
    trainer: "SFTTrainer",
    tokenizer: "PreTrainedTokenizerBase",
    settings: TrainSettings,
    train: Sequence[Example],
    eval_loss: float | None,
    out_dir: Path,
) -> TrainReport:
    """Write the result folder and the logs, and gather the report."""
    import math

    folder = ADAPTER if settings.mode == "lora" else CHECKPOINT
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    if not all(math.isfinite(loss) for loss in losses):
        raise FinetrailError(
            "the training loss is not finite", where=str(out_dir), hint="Lower the learning rate or use bf16"
        )
    target = out_dir / folder
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    trainer.model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    write_training_log(out_dir / "training_log.jsonl", history)
    trainable = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    return TrainReport(
        folder=folder,
        steps=trainer.state.global_step,
        rows=len(train),
        target_tokens=sum(example.target_tokens for example in train),
        trimmed_rows=sum(example.dropped_passages > 0 for example in train),
        dropped_passages=sum(example.dropped_passages for example in train),
        trainable_parameters=trainable,
        parameters=trainer.model.num_parameters(),
        final_loss=losses[-1] if losses else None,
        eval_loss=eval_loss,
        sequences=len(trainer.train_dataset),
    )
