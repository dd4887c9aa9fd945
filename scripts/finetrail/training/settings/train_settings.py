"""The settings of training, as plain values; the config model is mapped onto them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from finetrail.models.limits import Limits, Loss


@dataclass(frozen=True)
class Quantization:
    """How the frozen base of a QLoRA model is held (Dettmers et al. 2023, arXiv:2305.14314).

    Attributes:
        type: number format of four bits.
        double: whether the scales are quantized too.
        compute: format of the arithmetic; ``auto`` asks the hardware.
    """

    type: Literal["nf4", "fp4"] = "nf4"
    double: bool = True
    compute: Literal["auto", "bf16", "fp16", "fp32"] = "auto"


@dataclass(frozen=True)
class Launch:
    """Over how many processes a model is trained, one a GPU.

    Attributes:
        processes: a node.
        nodes: how many.
        deepspeed_stage: ZeRO's stage (Rajbhandari et al. 2020, arXiv:1910.02054); None for DDP.
        offload: what ZeRO keeps in the CPU's memory.
    """

    processes: int = 1
    nodes: int = 1
    deepspeed_stage: int | None = None
    offload: Literal["none", "optimizer", "all"] = "none"

    @property
    def world(self) -> int:
        """How many processes there are in all."""
        return self.processes * self.nodes

    @property
    def distributed(self) -> bool:
        """Whether the processes need a launcher: DeepSpeed does for one process, too."""
        return self.world > 1 or self.deepspeed_stage is not None


@dataclass(frozen=True)
class DrawingPhase:
    """A stretch of training in which tasks are drawn with fixed shares.

    Attributes:
        tasks: share of each task; they sum to 1.
        epochs: length, as a multiple of the rows of its tasks; used when draws is None.
        draws: length, in drawn rows.
    """

    tasks: Mapping[str, float]
    epochs: float | None = None
    draws: int | None = None


@dataclass(frozen=True)
class Prefix:
    """The tokens that an image becomes before a prompt, and which tasks are drawn when.

    Attributes:
        image_tokens: soft tokens that the image's latent is projected to.
        trainable_blocks: last blocks of the encoder that are trained too.
        encoder_learning_rate: their peak rate.
        phases: stretches of training, one after the other.
    """

    image_tokens: int
    trainable_blocks: int
    encoder_learning_rate: float
    phases: tuple[DrawingPhase, ...]

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Prefix":
        """Read the result keys of a model's section `prefix`, or what JSON kept of one."""
        return cls(
            plain["image_tokens"],
            plain["trainable_blocks"],
            plain["encoder_learning_rate"],
            tuple(DrawingPhase(**phase) for phase in plain["phases"]),
        )


@dataclass(frozen=True)
class TrainSettings:
    """How an adapter (or a whole model) is tuned; all of it decides the weights.

    Attributes:
        method: ``lora``, ``qlora``, ``full`` or ``image_prefix``.
        rank, alpha, dropout, target_modules: LoRA's; ``all-linear`` means every linear layer but the head.
        modules_to_save: modules trained whole beside the adapter.
        vision_layers: whether the adapter reaches into a vision model's image encoder.
        loss: which of the assistant's turns carry loss.
        quantization: of the base under ``qlora``.
        learning_rate, warmup_share, schedule, optimizer, weight_decay, max_grad_norm: the optimizer's (AdamW).
        epochs: passes over the rows; used when max_steps is None.
        max_steps: optimizer steps; replaces epochs.
        batch_size, gradient_accumulation: rows per device and step, and steps summed before an update.
        fit_to_memory: whether a batch too large for the GPU is made smaller and accumulated more often.
        precision: format of the arithmetic; ``auto`` asks the hardware.
        weights: format of the weights that ``full`` changes.
        limits: what of a row the model sees.
        gradient_checkpointing: trades time for memory.
        packing: several rows in one sequence of ``limits.max_length`` tokens, each blind to the others.
        attention, liger: forms of the kernels; ``auto`` asks the hardware.
        deterministic: only operations that give the same bits each time.
        eval_steps: how often the dev loss is taken; the best model is kept. None for the end only.
        patience: stop after so many dev losses without a better one.
        row_order: ``shuffled`` in each epoch, or as ``written``.
        seed: of the order of rows, dropout and the adapter's start.
        launch: processes and nodes.
        prefix: of ``image_prefix``; None for the other methods.
    """

    method: Literal["lora", "qlora", "full", "image_prefix"] = "lora"
    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05
    target_modules: str | tuple[str, ...] = "all-linear"
    modules_to_save: tuple[str, ...] = field(default=())
    vision_layers: bool = False
    loss: Loss = "answer"
    quantization: Quantization = field(default_factory=Quantization)
    learning_rate: float = 5e-5
    warmup_share: float = 0.05
    schedule: str = "cosine"
    optimizer: str = "adamw_torch"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 1
    gradient_accumulation: int = 8
    fit_to_memory: bool = True
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    weights: Literal["fp32", "bf16"] = "fp32"
    limits: Limits = field(default_factory=Limits)
    gradient_checkpointing: bool = False
    packing: bool = False
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    liger: Literal["auto", "on", "off"] = "auto"
    deterministic: bool = False
    eval_steps: int | None = None
    patience: int | None = None
    row_order: Literal["shuffled", "written"] = "shuffled"
    seed: int = 42
    launch: Launch = field(default_factory=Launch)
    prefix: Prefix | None = None

    @property
    def adapter(self) -> bool:
        """Whether an adapter is trained, not the model itself."""
        return self.method != "full"


@dataclass(frozen=True)
class Tracking:
    """What is shown to Weights & Biases; none of it changes the weights.

    Attributes:
        mode: ``offline`` keeps it for ``wandb sync``.
        project, entity: where it is shown; None for the key's own entity.
        name: of the run.
        base_model: as the metadata of artifacts name it.
        resume: alias of the artifact that a training goes on from where its checkpoints are gone; None for never.
        answers: how many dev rows are answered at each evaluation, for exact match and F1.
    """

    mode: Literal["offline", "online"] = "offline"
    project: str = "finetrail"
    entity: str | None = None
    name: str = "training"
    base_model: str = ""
    resume: Literal["latest", "best"] | None = "latest"
    answers: int = 16


@dataclass(frozen=True)
class Saving:
    """When checkpoints are written and kept, and when an attempt must end; none of it changes the weights.

    Attributes:
        strategy: a checkpoint every ``save_steps``, or every epoch.
        save_steps: optimizer steps between checkpoints.
        keep: how many of the newest are kept; the best is kept besides.
        on_code_change: what a retry does with checkpoints that other code wrote.
        code: digest of the code that trains now; None where nobody says.
        max_hours: longest attempt.
        save_before_minutes: an attempt with a time limit saves and stops so long before its end.
        tracking: what is shown to Weights & Biases; None for nothing.
        sample_steps: steps between samples of what the model writes; None for none.
        sample_tokens: longest sample.
        workers: processes that read rows ahead.
    """

    strategy: Literal["steps", "epoch"] = "steps"
    save_steps: int = 100
    keep: int = 2
    on_code_change: Literal["continue", "restart"] = "continue"
    code: str | None = None
    max_hours: float | None = None
    save_before_minutes: float = 30.0
    tracking: Tracking | None = None
    sample_steps: int | None = None
    sample_tokens: int = 80
    workers: int = 0


def train_settings(tuning: Mapping[str, Any], limits: Mapping[str, Any]) -> TrainSettings:
    """Return the trainer's settings for what a recipe says of a model.

    Args:
        tuning: the result keys of one of ``train.models``.
        limits: the result keys of ``limits``.
    """
    chosen = dict(tuning)
    prefix = chosen.pop("prefix", None)
    if prefix is not None:
        chosen |= {"epochs": 1.0, "fit_to_memory": False, "liger": "off", "prefix": Prefix.from_plain(prefix)}
    targets = chosen.pop("target_modules", None)
    return TrainSettings(
        warmup_share=chosen.pop("warmup_ratio"),
        target_modules=tuple(targets) if targets else "all-linear",
        modules_to_save=tuple(chosen.pop("modules_to_save", ())),
        epochs=chosen.pop("epochs") or 1.0,
        limits=Limits(**limits),
        quantization=Quantization(**chosen.pop("quantization", {})),
        launch=Launch(**chosen.pop("launch")),
        **chosen,
    )
