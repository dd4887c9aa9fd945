"""Time limits, signals, changed code, full disks, cut checkpoints: what an attempt leaves, and what the next does."""

import dataclasses
import json
import os
import re
import signal
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.models.base_model import BaseModel
from finetrail.models.limits import Limits
from finetrail.training.checkpoints.attempts import (
    begin_attempt,
    end_attempt,
    note_attempt,
    read_attempts,
    refuse_another,
    segments,
)
from finetrail.training.checkpoints.checkpoint_callback import build_keeper, check_finite
from finetrail.training.checkpoints.checkpoints import (
    checkpoint_folder,
    hold,
    is_complete,
    mark_complete,
    newest_complete,
    rotate,
)
from finetrail.training.checkpoints.deadline import Deadline, find_limits, heed_signals, parse_left, slurm_end
from finetrail.training.checkpoints.failures import InputFault, Stopped, failure_as_plain, failure_from_plain
from finetrail.training.settings.train_settings import Saving, TrainSettings
from finetrail.training.sft import TrainReport, train_adapter
from finetrail.training.trainer.training_log import drop_steps_after
from tests.unit.training.conftest import cpu_only

SETTINGS = TrainSettings(
    rank=4, alpha=8, learning_rate=1e-2, max_steps=4, batch_size=2, gradient_accumulation=1,
    limits=Limits(max_length=256),
)  # fmt: skip


def train(base: Path, rows: list[dict[str, Any]], work: Path, **more: Any) -> TrainReport:
    saving = more.pop("saving", Saving(save_steps=1, code="a"))
    settings = dataclasses.replace(SETTINGS, **more)
    return train_adapter(
        BaseModel(base), rows, rows[:2], settings, state_dir=work / "s", out_dir=work / "o", saving=saving
    )


def make_checkpoint(state: Path, step: int) -> Path:
    folder = checkpoint_folder(state, step)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights" * step)
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_a_checkpoint_counts_once_it_is_marked_and_whole(tmp_path: Path) -> None:
    first, second = make_checkpoint(tmp_path, 9), make_checkpoint(tmp_path, 10)
    assert newest_complete(tmp_path) is None
    mark_complete(first)
    assert newest_complete(tmp_path) == first
    mark_complete(second)
    assert newest_complete(tmp_path) == second
    (second / "adapter_model.safetensors").write_bytes(b"cut")
    assert newest_complete(tmp_path) == first


def test_the_last_and_the_best_stay(tmp_path: Path) -> None:
    for step in (8, 9, 10, 11, 12):
        mark_complete(make_checkpoint(tmp_path, step))
    half = make_checkpoint(tmp_path, 7)
    rotate(tmp_path, keep=2, best=9)
    assert not half.exists()
    assert sorted(int(path.name[11:]) for path in tmp_path.iterdir()) == [9, 11, 12]


def test_a_checkpoint_is_never_removed_for_one_that_is_half_written(tmp_path: Path) -> None:
    mark_complete(make_checkpoint(tmp_path, 1))
    newer = make_checkpoint(tmp_path, 2)
    rotate(tmp_path, keep=1, best=None)
    assert is_complete(checkpoint_folder(tmp_path, 1)) and newer.exists()


def test_a_deadline_leaves_three_saves_and_a_step() -> None:
    deadline = Deadline([(1000.0, 0.0, "SLURM's time limit")], last_save=20.0, longest_step=5.0)
    assert deadline.reason(900.0) is None
    assert deadline.reason(936.0) == "SLURM's time limit leaves 0:01:04"
    own = Deadline(find_limits(Saving(max_hours=12.0, save_before_minutes=30.0), started=0.0))
    assert own.reason(11.5 * 3600 - 1) is None
    assert own.reason(11.5 * 3600 + 1) == "`train.max_hours` leaves 0:29:59"
    assert dataclasses.replace(deadline, signalled="SIGUSR1").reason(0.0) == "SIGUSR1 asked for it"


def test_a_deadline_leaves_the_dev_loss_of_the_next_step_as_well() -> None:
    deadline = Deadline([(1000.0, 0.0, "SLURM's time limit")], last_save=20.0, longest_evaluation=300.0)
    assert deadline.reason(900.0) is None
    assert deadline.reason(639.0, evaluates=True) is None
    assert deadline.reason(641.0, evaluates=True) == "SLURM's time limit leaves 0:05:59"


@pytest.mark.heavy
def test_the_keeper_stops_before_a_dev_loss_for_which_no_time_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dev loss is taken every third step and takes 500 seconds, a step one."""
    now = [0.0]
    for name in ("time", "monotonic"):
        monkeypatch.setattr(f"finetrail.training.checkpoints.checkpoint_callback.time.{name}", lambda: now[0])
    deadline = Deadline([(1000.0, 0.0, "the limit")], last_save=1.0)
    keeper: Any = build_keeper(tmp_path, 2, deadline, evaluate=True, fp16=False)
    args = SimpleNamespace(
        world_size=1, save_strategy="no", eval_strategy="steps", eval_steps=3, metric_for_best_model="eval_loss"
    )
    state = SimpleNamespace(global_step=0, max_steps=9, best_metric=0.0, epoch=0.5)
    control = SimpleNamespace(should_evaluate=False, should_save=False, should_training_stop=False)
    stopped = {}
    for step in range(1, 9):
        keeper.on_step_begin(args, state, control)
        now[0] += 1.0
        state.global_step = step
        keeper.on_step_end(args, state, control)
        stopped[step] = keeper.stopped
        if keeper.stopped is not None:
            break
        if step % 3 == 0:
            now[0] += 500.0
            keeper.on_evaluate(args, state, control, {"eval_loss": 1.0})
    assert stopped == {1: None, 2: None, 3: None, 4: None, 5: "the limit leaves 0:08:15"}
    assert control.should_save and control.should_training_stop


@pytest.mark.heavy
def test_the_last_step_takes_a_dev_loss_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetrail.training.checkpoints.checkpoint_callback.time.time", lambda: 0.0)
    args = SimpleNamespace(world_size=1, save_strategy="no", eval_strategy="no", eval_steps=None)
    for evaluate, stops in ((True, True), (False, False)):
        deadline = Deadline([(100.0, 0.0, "the limit")], last_save=1.0, longest_evaluation=500.0)
        keeper: Any = build_keeper(tmp_path, 2, deadline, evaluate=evaluate, fp16=False)
        state = SimpleNamespace(global_step=7, max_steps=9, epoch=0.5)
        control = SimpleNamespace(should_evaluate=False, should_save=False, should_training_stop=False)
        found = []
        for step in (7, 8):
            keeper.on_step_begin(args, state, control)
            state.global_step = step
            keeper.on_step_end(args, state, control)
            found.append(keeper.stopped is not None)
        assert found == [False, stops]


def test_a_signal_that_another_process_heard(tmp_path: Path) -> None:
    deadline = Deadline(stop_file=tmp_path / "stop")
    assert deadline.reason(0.0) is None
    (tmp_path / "stop").write_text("SIGTERM")
    assert deadline.reason(0.0) == "SIGTERM asked for it"


def test_slurm_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert slurm_end() is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm_end() is None  # no squeue here: only a warning
    program = tmp_path / "squeue"
    program.write_text('#!/bin/sh\n[ "$3" = 7 ] && echo 1-02:03:04\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    before = time.time()
    found = slurm_end()
    assert found is not None and before <= found - 93784 <= time.time()
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1234")
    assert slurm_end() == 1234.0
    assert find_limits(Saving(), started=0.0) == [(1234.0, 0.0, "SLURM's time limit")]
    both = find_limits(Saving(max_hours=1.0, save_before_minutes=5.0), started=100.0)
    assert both == [(3700.0, 300.0, "`train.max_hours`"), (1234.0, 0.0, "SLURM's time limit")]


def test_a_first_save_that_nobody_measured_is_taken_for_a_minute() -> None:
    deadline = Deadline([(1000.0, 0.0, "SLURM's time limit")])
    assert deadline.reason(819.0) is None and deadline.reason(821.0) is not None


def test_a_second_signal_means_what_it_meant_before() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        deadline = Deadline()
        with heed_signals(deadline):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (deadline.signalled, heard) == ("SIGUSR1", [])
            os.kill(os.getpid(), signal.SIGUSR1)
            assert heard == [signal.SIGUSR1]
        os.kill(os.getpid(), signal.SIGUSR1)
        assert len(heard) == 2
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93784.0), ("2:03:04", 7384.0), ("3:04", 184.0), ("UNLIMITED", None), ("INVALID", None)],
)
def test_times_of_slurm(text: str, seconds: float | None) -> None:
    assert parse_left(text) == seconds


def test_a_loss_without_use_stops_the_training() -> None:
    check_finite({"loss": 1.0, "grad_norm": float("inf")}, 3, fp16=True)  # the scaler leaves the update out
    with pytest.raises(FinetrailError, match="not finite at step 3"):
        check_finite({"loss": float("nan")}, 3, fp16=True)
    with pytest.raises(FinetrailError, match="not finite at step 3"):
        check_finite({"loss": 1.0, "grad_norm": float("nan")}, 3, fp16=False)
    with pytest.raises(FinetrailError, match="not finite"):
        check_finite({"eval_loss": float("inf")}, 3, fp16=False)


def test_losses_without_use_leave_the_checkpoints(base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="not finite at step"):
        train(base_dir, rows, tmp_path, learning_rate=1e30, max_grad_norm=0.0, warmup_share=0.0)
    assert newest_complete(tmp_path / "s") is not None


def test_an_attempt_out_of_time_saves_and_the_next_goes_on_until_one_advances_nothing(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run1"))
    hurried = Saving(save_steps=100, code="a", max_hours=1.0, save_before_minutes=60.0)
    for step in (1, 2):
        with pytest.raises(Stopped, match=f"stopped at step {step} of 4: `train.max_hours` leaves"):
            train(base_dir, rows, tmp_path, saving=hurried)
    assert train(base_dir, rows, tmp_path).segments == [{"from_step": 0, "code": "a"}]
    attempts = [json.loads(line) for line in (tmp_path / "s/attempts.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in attempts if "outcome" in row] == ["stopped", "stopped", "finished"]


def begun(state: Path, step: int, code: str) -> int:
    number = begin_attempt(state, step, code)
    note_attempt(state, number, step, {})
    return number


def test_an_attempt_that_advanced_nothing_ends_the_retries_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run1"))
    refuse_another(tmp_path, 0)
    end_attempt(tmp_path, begun(tmp_path, 0, "a"), 3, "stopped", Stopped("SIGTERM asked for it"))
    refuse_another(tmp_path, 3)
    end_attempt(tmp_path, begun(tmp_path, 3, "b"), 3, "failed", OSError("the disk is full"))
    with pytest.raises(FinetrailError, match=r"began at step 3 advanced nothing.*: the disk is full"):
        refuse_another(tmp_path, 3)
    begun(tmp_path, 4, "b")  # and was killed
    with pytest.raises(FinetrailError, match="ended from outside"):
        refuse_another(tmp_path, 4)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run2"))
    refuse_another(tmp_path, 4)
    monkeypatch.delenv("FINETRAIL_RUN")
    refuse_another(tmp_path, 4)
    assert segments(tmp_path) == [{"from_step": 0, "code": "a"}, {"from_step": 3, "code": "b"}]


BAD_ROW = {"id": "row-7", "question": "?", "messages": [{"role": "user", "content": "no answer follows"}]}
FAULTS: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    ([BAD_ROW], {}, "row-7: the last message is not an answer of the assistant"),
    ([], {"limits": Limits(max_length=512)}, "limits.max_length is 512, but the model's context is 256. Lower"),
    ([], {"precision": "fp16"}, "`precision: fp16` needs a GPU, and torch sees none"),
    ([], {"method": "qlora"}, "on a CPU four-bit weights need a multiple of 64"),
    ([], {"learning_rate": 1e30, "max_grad_norm": 0.0, "warmup_share": 0.0}, "the loss is not finite at step"),
]


@cpu_only
@pytest.mark.heavy
@pytest.mark.parametrize(("more_rows", "settings", "cause"), FAULTS)
def test_a_fault_of_data_or_settings_is_said_again_at_once(
    more_rows: list[dict[str, Any]],
    settings: dict[str, Any],
    cause: str,
    base_dir: Path,
    rows: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run1"))
    with pytest.raises(InputFault) as first:
        train(base_dir, [*rows, *more_rows], tmp_path, **settings)
    assert cause in str(first.value)
    for _ in range(2):
        with pytest.raises(InputFault) as again:
            train(tmp_path / "not read", [], tmp_path, **settings)
        assert str(again.value) == str(first.value)
    (attempt,) = read_attempts(tmp_path / "s")
    assert attempt["outcome"] == "refused" and attempt["cause"] == str(first.value)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run2"))
    with pytest.raises(InputFault, match=re.escape(cause)):
        train(base_dir, [*rows, *more_rows], tmp_path, **settings)
    assert len(read_attempts(tmp_path / "s")) == 2, "a new run tries again"


@pytest.mark.heavy
def test_memory_that_ran_out_is_no_fault_of_the_inputs(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run1"))

    def exhausted(*_: Any, **__: Any) -> None:
        raise MemoryError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr("trl.SFTTrainer.training_step", exhausted)
        with pytest.raises(FinetrailError, match="out of memory with 2 rows"):
            train(base_dir, rows, tmp_path)
    assert read_attempts(tmp_path / "s")[-1]["outcome"] == "failed"
    with pytest.raises(FinetrailError, match=r"began at step 0 advanced nothing, .*out of memory with 2 rows"):
        train(base_dir, rows, tmp_path)


@pytest.mark.parametrize("kind", [Stopped, InputFault, FinetrailError])
def test_a_failure_reaches_another_process_as_it_is(kind: type[FinetrailError]) -> None:
    error = kind("the cause", where="row-7", hint="Mend it")
    found = failure_from_plain(json.loads(json.dumps(failure_as_plain(error))))
    assert type(found) is kind and str(found) == str(error)


def test_a_line_that_a_full_disk_cut_off_stops_nobody(tmp_path: Path) -> None:
    """The attempt that it was about is known by its whole lines; the next line begins on its own."""
    end_attempt(tmp_path, begun(tmp_path, 0, "a"), 3, "stopped", Stopped("SIGTERM asked for it"))
    path = tmp_path / "attempts.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert [attempt.get("outcome") for attempt in read_attempts(tmp_path)] == [None]
    begun(tmp_path, 3, "b")
    assert [attempt["from_step"] for attempt in read_attempts(tmp_path)] == [0, 3]
    assert segments(tmp_path) == [{"from_step": 0, "code": "a"}, {"from_step": 3, "code": "b"}]


def test_steps_that_come_again_and_a_cut_line_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "steps.0.jsonl"
    lines = [json.dumps({"step": step}) + "\n" for step in (1, 2, 3)]
    path.write_text("".join(lines) + '{"step": 4, "ro')
    drop_steps_after(tmp_path, 9)
    assert path.read_text() == "".join(lines)
    drop_steps_after(tmp_path, 2)
    assert path.read_text() == "".join(lines[:2])


@pytest.mark.parametrize("policy", ["continue", "restart"])
def test_code_that_changed(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hurried = Saving(save_steps=1, code="a", max_hours=1.0, save_before_minutes=60.0)
    with pytest.raises(Stopped):
        train(base_dir, rows, tmp_path, saving=hurried)
    report = train(base_dir, rows, tmp_path, saving=Saving(save_steps=1, code="b", on_code_change=policy))
    first = {"from_step": 0, "code": "a"}
    expected = [first, {"from_step": 1, "code": "b"}] if policy == "continue" else [{"from_step": 0, "code": "b"}]
    assert report.segments == expected
    assert "was written by other code" in caplog.text


@pytest.mark.parametrize(("code", "kept"), [("a", True), ("b", False)])
def test_whose_code_a_checkpoint_is_says_who_wrote_it_and_not_who_tried_last(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path, code: str, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Code `a` wrote a checkpoint, and `b` died behind it, before one of its own."""
    hurried = Saving(save_steps=1, code="a", max_hours=1.0, save_before_minutes=60.0)
    with pytest.raises(Stopped):
        train(base_dir, rows, tmp_path, saving=hurried)
    begin = begin_attempt(tmp_path / "s", 1, "b")
    note_attempt(tmp_path / "s", begin, 1, read_attempts(tmp_path / "s")[0]["choices"])
    report = train(base_dir, rows, tmp_path, saving=Saving(save_steps=1, code=code, on_code_change="restart"))
    assert report.segments == [{"from_step": 0, "code": code}]
    assert ("training begins again" not in caplog.text) == kept
    assert read_attempts(tmp_path / "s")[-1]["from_step"] == (1 if kept else 0)


def test_other_code_that_reads_the_rows_otherwise_begins_again(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(base_dir, rows, tmp_path)
    report = train(base_dir, rows[1:], tmp_path, saving=Saving(save_steps=1, code="b"))
    assert report.rows == len(rows) - 1
    assert "training begins again" in caplog.text


def test_a_full_disk_loses_nothing(base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """The second checkpoint's last file goes to a device that is always full."""
    folder = checkpoint_folder(tmp_path / "s", 2)
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").symlink_to("/dev/full")
    with pytest.raises(FinetrailError, match=r"the disk is full \(\d+ MB left\)") as failure:
        train(base_dir, rows, tmp_path)
    assert "continues from the newest complete checkpoint" in str(failure.value)
    newest = newest_complete(tmp_path / "s")
    assert newest is not None and newest.name == "checkpoint-1"
    (folder / "trainer_state.json").unlink()
    resumed = train(base_dir, rows, tmp_path)
    assert resumed.steps == 4
    straight = train(base_dir, rows, tmp_path / "straight")
    assert resumed.final_loss == straight.final_loss


@cpu_only
def test_the_best_model_is_published_and_patience_ends(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A rate at which the model gets worse: the first evaluation stays the best."""
    report = train(
        base_dir, rows, tmp_path, learning_rate=0.3, max_steps=12, eval_steps=1, patience=3, warmup_share=0.0,
        schedule="constant", saving=Saving(save_steps=100, keep=1),
    )  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "o/training_log.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["eval_loss"] for row in log if "eval_loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert report.published_step == best and report.eval_loss == losses[best]
    assert report.steps == min(best + 3, 12)
    assert report.steps < 12 and report.ended == "no better dev loss in 3 evaluations"
    assert {path.name for path in (tmp_path / "s").glob("checkpoint-*")} == {
        f"checkpoint-{best}",
        f"checkpoint-{report.steps}",
    }
    again = train(
        base_dir, rows, tmp_path, learning_rate=0.3, max_steps=12, eval_steps=1, patience=3, warmup_share=0.0,
        schedule="constant", saving=Saving(save_steps=100, keep=1),
    )  # fmt: skip
    assert again == report


def test_two_processes_never_train_in_one_state_directory(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    with hold(tmp_path / "s"), pytest.raises(FinetrailError, match="another process trains in this state directory"):
        train(base_dir, rows, tmp_path)
    assert train(base_dir, rows, tmp_path).steps == 4


def test_no_dev_rows_where_they_choose(base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="there are no dev rows"):
        train_adapter(
            BaseModel(base_dir),
            rows,
            [],
            dataclasses.replace(SETTINGS, eval_steps=1),
            state_dir=tmp_path / "s",
            out_dir=tmp_path,
        )


def test_permissions_of_what_is_published_follow_the_umask(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    train(base_dir, rows, tmp_path, max_steps=1)
    mask = os.umask(0)
    os.umask(mask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "o/final_adapter").iterdir()}
    assert modes == {0o666 & ~mask}


def test_a_checkpoint_an_epoch(base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Eight rows in batches of two are four steps; the last step, within an epoch, is saved too."""
    train(base_dir, rows, tmp_path, max_steps=10, saving=Saving(strategy="epoch", keep=9))
    steps = sorted(int(path.parent.name[11:]) for path in (tmp_path / "s").glob("checkpoint-*/complete.json"))
    assert steps == [4, 8, 10]
