"""Our settings as the arguments of TRL's trainer and as DeepSpeed's configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.training.settings.machine_choices import Choices
from finetrail.training.settings.train_settings import Saving, TrainSettings

if TYPE_CHECKING:
    from trl import SFTConfig


def build_arguments(
    settings: TrainSettings, choices: Choices, saving: Saving, state_dir: Path, *, evaluate: bool
) -> "SFTConfig":
    """Name every argument of the trainer that our settings decide.

    Args:
        settings, choices: what was set, and what was chosen for the machine.
        saving: when checkpoints are written; how many are kept is our own care
            (`finetrail.training.checkpoints.checkpoint_callback`).
        state_dir: where they go.
        evaluate: whether there are dev rows.
    """
    from trl import SFTConfig

    choose_best = evaluate and settings.eval_steps is not None
    arguments = SFTConfig(
        output_dir=str(state_dir),
        use_cpu=choices.use_cpu,
        bf16=choices.precision == "bf16",
        fp16=choices.precision == "fp16",
        gradient_checkpointing=choices.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if choices.gradient_checkpointing else None,
        use_liger_kernel=choices.liger,
        max_length=None,  # rows fit already; the trainer must not cut them
        packing=False,  # rows are packed already, and our collator keeps them apart
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_share,  # below 1 it is a share of the steps
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=settings.optimizer,
        num_train_epochs=settings.epochs,
        max_steps=-1 if settings.max_steps is None else settings.max_steps,
        per_device_train_batch_size=choices.batch_size,
        per_device_eval_batch_size=choices.batch_size,
        gradient_accumulation_steps=choices.gradient_accumulation,
        eval_strategy="steps" if choose_best else "no",
        eval_steps=settings.eval_steps if choose_best else None,
        metric_for_best_model="eval_loss" if choose_best else None,
        greater_is_better=False if choose_best else None,
        save_strategy=saving.strategy,
        save_steps=saving.save_steps,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        dataloader_num_workers=saving.workers,
        dataloader_pin_memory=not choices.use_cpu,
        ddp_find_unused_parameters=False if settings.launch.distributed else None,
        deepspeed=build_deepspeed(settings) if settings.launch.deepspeed_stage is not None else None,
        train_sampling_strategy="sequential" if settings.row_order == "written" else "random",
        full_determinism=settings.deterministic,
        seed=settings.seed,
        data_seed=settings.seed,
    )
    # One process trains on one GPU: else the trainer spreads it over all that it sees, and the batch grows with them.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def build_deepspeed(settings: TrainSettings) -> dict[str, Any]:
    """DeepSpeed's configuration; what the trainer's arguments say already stands there as ``auto``.

    Source: the configuration JSON of DeepSpeed's documentation, and transformers' integration.
    """
    stage, offload = settings.launch.deepspeed_stage, settings.launch.offload
    zero: dict[str, Any] = {"stage": stage}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # else checkpoints hold no whole weights
    if offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    return {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # bitsandbytes' optimizers
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    }
