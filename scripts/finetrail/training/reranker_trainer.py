"""Training of a cross-encoder on lists of one positive and several negative passages, with resume."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from finetrail.errors import FinetrailError
from finetrail.retrieval.reranker_model import load_cross_encoder
from finetrail.rows.artifacts import read_json, write_json
from finetrail.rows.records import canonical_json, sha256_file, sha256_text
from finetrail.training.checkpoints.checkpoints import TRAINER_STATE, hold
from finetrail.training.ranking_loss import Kind, ranking_loss

if TYPE_CHECKING:
    from datasets import Dataset

FINISHED = "finished.json"
MODEL = "model"

logger = logging.getLogger(__name__)


class PassageList(NamedTuple):
    """A query, the passages, of which the first is the positive one."""

    query: str
    passages: Sequence[str]


@dataclass(frozen=True)
class RankerSettings:
    """What decides the weights.

    Attributes:
        loss, margin: see `finetrail.training.ranking_loss`.
        max_tokens: longest pair, in tokens; the passage is cut.
        learning_rate, epochs, max_steps, warmup_ratio, weight_decay: the optimizer's (AdamW, linear schedule).
        batch_size: lists a step.
        precision: ``auto``: fp16 on a GPU, fp32 on a CPU.
        gradient_checkpointing: trades time for memory.
        seed: of the order of the lists and of dropout.
    """

    loss: Kind = "softmax"
    margin: float = 1.0
    max_tokens: int = 256
    learning_rate: float = 2e-5
    epochs: float = 2.0
    max_steps: int | None = None
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    batch_size: int = 32
    precision: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    gradient_checkpointing: bool = True
    seed: int = 42


def train_cross_encoder(
    base: Path,
    lists: Sequence[PassageList],
    settings: RankerSettings,
    *,
    state_dir: Path,
    out: Path,
    save_steps: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train, and save the model as a folder that sentence-transformers and transformers load.

    Args:
        base: folder of the model to begin from.
        lists: in a fixed order.
        settings: see there.
        state_dir: checkpoints; a run that finds one continues from the newest whole one, and one that finds the
            training finished only copies the model. A directory of other lists or settings is emptied.
        out: an existing folder.
        save_steps: optimizer steps between checkpoints.
        progress: called with (steps done, steps in all).

    Returns:
        ``steps``, ``lists`` and ``loss`` (the last logged one).

    Raises:
        FinetrailError: there is no list; half precision was asked for, and there is no GPU.
    """
    if not lists:
        raise FinetrailError(
            "there is no list to train a reranker on", hint="See how many gold passages were retrieved"
        )
    weights = sorted((path.name, sha256_file(path)) for path in base.iterdir() if path.is_file())
    identity = sha256_text(canonical_json([asdict(settings), weights, [list(one) for one in lists]]))
    with hold(state_dir):
        done = state_dir / FINISHED
        if not done.exists() or read_json(done)["identity"] != identity:
            made = _train(base, lists, settings, identity, state_dir, save_steps, progress)
            write_json(done, {"identity": identity, **made})
        shutil.copytree(state_dir / MODEL, out, dirs_exist_ok=True)
        return {key: value for key, value in read_json(done).items() if key != "identity"}


def _train(
    base: Path,
    lists: Sequence[PassageList],
    settings: RankerSettings,
    identity: str,
    state_dir: Path,
    save_steps: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    from sentence_transformers import CrossEncoderTrainer
    from transformers import set_seed

    begun = state_dir / "begun.json"
    if not begun.exists() or read_json(begun)["identity"] != identity:
        for path in state_dir.glob("checkpoint-*"):
            shutil.rmtree(path)
        write_json(begun, {"identity": identity})
    set_seed(settings.seed)
    model = load_cross_encoder(base, settings.max_tokens)
    trainer = CrossEncoderTrainer(
        model=model,
        args=_arguments(settings, state_dir, save_steps),
        train_dataset=_dataset(lists),
        loss=ranking_loss(model, settings.loss, settings.margin),
        callbacks=[_reporter(progress)] if progress else None,
    )
    newest = _newest_whole(state_dir)
    if newest is not None:
        logger.info("resuming from %s", newest)
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    model.save_pretrained(str(state_dir / MODEL), create_model_card=False)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": trainer.state.global_step,
        "lists": len(lists),
        "loss": round(losses[-1], 6) if losses else None,
        "resumed": newest is not None,
    }


def _arguments(settings: RankerSettings, state_dir: Path, save_steps: int) -> Any:
    import torch
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    gpu = torch.cuda.is_available()
    if settings.precision in ("fp16", "bf16") and not gpu:
        raise FinetrailError(
            f"the reranker's precision is {settings.precision}, and there is no GPU",
            where="rerank.train.precision",
            hint="Set it to auto: fp16 on a GPU, fp32 on a CPU",
        )
    return CrossEncoderTrainingArguments(
        output_dir=str(state_dir),
        use_cpu=not gpu,
        fp16=gpu and settings.precision in ("auto", "fp16"),
        bf16=settings.precision == "bf16",
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=settings.batch_size,
        save_strategy="steps",
        save_steps=save_steps,
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        dataloader_pin_memory=gpu,
        seed=settings.seed,
        data_seed=settings.seed,
    )


def _dataset(lists: Sequence[PassageList]) -> "Dataset":
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "query": [one.query for one in lists],
            "docs": [list(one.passages) for one in lists],
            "labels": [[1] + [0] * (len(one.passages) - 1) for one in lists],
        }
    )


def _newest_whole(state_dir: Path) -> Path | None:
    """Return the newest checkpoint whose last file was written."""
    found = [path for path in state_dir.glob("checkpoint-*") if (path / TRAINER_STATE).is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _reporter(progress: Callable[[int, int], None]) -> Any:
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, state.max_steps)

    return Reporter()
