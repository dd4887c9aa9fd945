"""The trainer's callback that saves in time, marks checkpoints complete, keeps the last and the best, and stops."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.training.checkpoints.checkpoints import checkpoint_folder, mark_complete, rotate
from finetrail.training.checkpoints.deadline import Deadline
from finetrail.training.checkpoints.failures import InputFault

if TYPE_CHECKING:
    from transformers import TrainerCallback


def build_keeper(state_dir: Path, keep: int, deadline: Deadline, *, evaluate: bool, fp16: bool) -> "TrainerCallback":
    """Make the callback; it must come behind all that decide, so that it sees what they did.

    Args:
        state_dir: holds the checkpoints.
        keep: how many of the newest stay.
        deadline: when to save and stop.
        evaluate: whether to take the dev loss after the last step.
        fp16: whether gradients may overflow, which the scaler of fp16 answers by leaving out the update.
    """
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):  # type: ignore[misc]
        """Attributes: stopped, why the attempt ends before the training does."""

        stopped: str | None = None

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            deadline.longest_step = max(deadline.longest_step, time.monotonic() - self.began)
            if state.global_step >= state.max_steps:
                control.should_evaluate = control.should_evaluate or evaluate
                # The end of an epoch that is saved comes after this.
                control.should_save = args.save_strategy != "epoch" or not float(state.epoch).is_integer()
            else:
                soon = evaluates_next(args, state, last=evaluate)
                self.stopped = agree(deadline.reason(time.time(), evaluates=soon), args)
                if self.stopped is not None:
                    control.should_save = control.should_training_stop = True
            self.began = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            check_finite(logs, state.global_step, fp16=fp16)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any], **_: Any) -> None:
            deadline.longest_evaluation = max(deadline.longest_evaluation, time.monotonic() - self.began)
            # The trainer compares after this; a better model, or the last one, must be on disk.
            better = args.metric_for_best_model is not None and (
                state.best_metric is None or metrics["eval_loss"] < state.best_metric
            )
            if better or control.should_training_stop:
                control.should_save = True
            self.began = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            wait_for_all()
            if args.process_index == 0:
                mark_complete(checkpoint_folder(state_dir, state.global_step))
                rotate(state_dir, keep, state.best_global_step)
            deadline.last_save = time.monotonic() - self.began

    return Keeper()


def evaluates_next(args: Any, state: Any, *, last: bool) -> bool:
    """Tell whether the dev loss is taken after the next step, as it is after the last one where `last` says so."""
    following = state.global_step + 1
    by_steps = args.eval_strategy == "steps" and following % args.eval_steps == 0
    return by_steps or (last and following >= state.max_steps)


def agree(reason: str | None, args: Any) -> str | None:
    """Let all processes stop at the same step: if one has a reason, it is the reason of all."""
    import torch

    if args.world_size == 1:
        return reason
    told = torch.tensor([reason is not None], dtype=torch.uint8, device=args.device)
    torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
    if not told.item():
        return None
    reasons: list[str | None] = [None] * args.world_size
    torch.distributed.all_gather_object(reasons, reason)
    return reason or next(filter(None, reasons))


def wait_for_all() -> None:
    """Wait until every process has come here; one process alone goes on."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def check_finite(logs: dict[str, Any], step: int, *, fp16: bool) -> None:
    """Stop before a model without use is saved.

    Raises:
        InputFault: a loss is no number, or the gradient that an update was made of.
    """
    losses = [logs[name] for name in ("loss", "eval_loss") if name in logs]
    spoilt = not fp16 and not math.isfinite(logs.get("grad_norm", 0.0))
    if spoilt or not all(math.isfinite(loss) for loss in losses):
        hint = "Use `precision: bf16` or fp32" if fp16 else "Lower `learning_rate` or set `max_grad_norm`"
        raise InputFault(
            f"the loss is not finite at step {step}",
            where="train.models",
            hint=f"{hint}. The checkpoints before it are kept, and are of other settings then",
        )
