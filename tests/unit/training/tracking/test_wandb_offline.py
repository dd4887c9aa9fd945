"""Weights & Biases without a network, for real: what stands in its files, and a resume by alias."""

import contextlib
import dataclasses
import json
import logging
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.models.base_model import BaseModel
from finetrail.models.limits import Limits
from finetrail.rows.records import sha256_file
from finetrail.training.checkpoints.attempts import read_attempts, segments
from finetrail.training.checkpoints.checkpoints import mark_complete, newest_complete
from finetrail.training.settings.train_settings import Saving, Tracking, TrainSettings
from finetrail.training.sft import TrainReport, train_adapter
from finetrail.training.tracking.adapter_zip import zip_checkpoint
from finetrail.training.tracking.artifact_registry import FOLDER, Registry
from finetrail.training.tracking.restore import restore_checkpoint
from finetrail.training.tracking.wandb_run import check_tracking
from finetrail.training.trainer.training_log import MEASURED

BLOCK = 1 << 15
TRACKING = Tracking(name="r.m.f", base_model="tiny llama", answers=2)
SETTINGS = TrainSettings(
    rank=4, alpha=8, dropout=0.1, learning_rate=1e-2, max_steps=4, batch_size=2, gradient_accumulation=1,
    eval_steps=2, limits=Limits(max_length=256),
)  # fmt: skip


def train(
    base: Path, rows: list[dict[str, Any]], work: Path, tracking: Tracking | None, code: str | None = None, **more: Any
) -> Path:
    saving = Saving(save_steps=2, tracking=tracking, code=code)
    train_adapter(
        BaseModel(base), rows, rows[:2], SETTINGS, state_dir=work / "state", out_dir=work / "out", saving=saving, **more
    )
    return work / "out"


def weights(out: Path) -> str:
    return sha256_file(out / "final_adapter" / "adapter_model.safetensors")


def log(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def messages(content: bytes) -> Iterator[bytes]:
    """Split an offline run's file: behind seven bytes of its own, the log format of LevelDB in blocks of 32 KiB."""
    assert content[:4] == b":W&B"
    place, message = 7, b""
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield message
            message = b""


def records(file: Path) -> list[Any]:
    """Read an offline run as W&B's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    return [Record.FromString(message) for message in messages(file.read_bytes())]


@pytest.fixture(scope="module")
def tracked(base_dir: Path, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("wandb")
    work = tmp_path_factory.mktemp("tracked")
    train(base_dir, rows, work, TRACKING)
    return work


def test_metrics_and_artifacts_are_in_wandb_s_own_file(tracked: Path) -> None:
    (file,) = (tracked / "state" / FOLDER / "wandb").glob("offline-run-*/run-*.wandb")
    found = records(file)
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name) == ("finetrail", "r.m.f")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["settings"]["learning_rate"] == SETTINGS.learning_rate
    assert config["base_model"] == "tiny llama" and "reasons" in config["choices"]
    history = [record.history for record in found if record.WhichOneof("record_type") == "history"]
    by_step: dict[int, dict[str, Any]] = {}
    for entry in history:
        values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in entry.item}
        by_step.setdefault(values["_step"], {}).update(values)
    ours = log(tracked / "out")
    assert [by_step[row["step"]]["train/loss"] for row in ours] == [row["loss"] for row in ours]
    assert by_step[4]["eval/loss"] == ours[3]["eval_loss"] and 0 <= by_step[4]["eval/f1"] <= 1
    assert by_step[4]["train/tokens_per_second"] > 0
    logged = [
        record.request.log_artifact.artifact
        for record in found
        if record.WhichOneof("record_type") == "request" and record.request.HasField("log_artifact")
    ] + [record.artifact for record in found if record.WhichOneof("record_type") == "artifact"]
    assert {alias for artifact in logged for alias in artifact.aliases} == {"latest", "best"}
    registered = Registry(tracked / "state" / FOLDER).entries()
    for artifact in logged:
        for alias in artifact.aliases:
            assert json.loads(artifact.metadata) == registered[alias].metadata
    assert set(registered["best"].metadata) == {
        "step", "eval_f1", "eval_em", "base_model", "lora_rank", "sequence_length",
    }  # fmt: skip
    expected = {"step": 4, "base_model": "tiny llama", "lora_rank": 4, "sequence_length": 256}
    assert expected.items() <= registered["latest"].metadata.items()
    sent = [item.path for record in found if record.WhichOneof("record_type") == "files" for item in record.files.files]
    assert sent == [], "not even the list of installed packages"
    assert not list((tracked / "state" / FOLDER).rglob("requirements.txt"))


def test_nothing_but_the_state_directory_is_written_and_weights_are_the_same(
    tracked: Path, base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert {path.name for path in tracked.iterdir()} == {"state", "out"}
    plain = train(base_dir, rows, tmp_path, None)
    assert not (tmp_path / "state" / FOLDER).exists()
    assert weights(plain) == weights(tracked / "out")
    assert log(plain) == log(tracked / "out")


def test_a_model_that_is_trained_whole_is_never_made_an_artifact_of(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, method="full", learning_rate=1e-3)
    saving = Saving(save_steps=2, tracking=dataclasses.replace(TRACKING, answers=0))
    train_adapter(
        BaseModel(base_dir), rows, rows[:2], settings, state_dir=tmp_path / "s", out_dir=tmp_path / "o", saving=saving
    )
    assert list((tmp_path / "s" / FOLDER).rglob("*.wandb")) and not list((tmp_path / "s" / FOLDER).rglob("*.zip"))
    assert Registry(tmp_path / "s" / FOLDER).entries() == {}


def test_a_training_without_checkpoints_goes_on_from_the_registry(
    tracked: Path, base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped half-way, its checkpoints lost: the registry's `latest` gives the straight run's weights."""

    class Killed(Exception):
        pass

    def die(step: int, steps: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(base_dir, rows, tmp_path, TRACKING, progress=die)
    for checkpoint in (tmp_path / "state").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    steps: list[int] = []
    with caplog.at_level(logging.INFO):
        out = train(base_dir, rows, tmp_path, TRACKING, progress=lambda step, _: steps.append(step))
    assert "brought back from latest of the local registry" in caplog.text
    assert steps == [3, 4]
    assert weights(out) == weights(tracked / "out")
    assert log(out) == log(tracked / "out")


@pytest.mark.parametrize("alias", ["latest", "best"])
def test_the_best_model_comes_back_with_the_latest(
    alias: Any, base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """What the dev rows want is unlearned step by step: what is published at last is in no later artifact."""
    settings = dataclasses.replace(SETTINGS, eval_steps=1, max_steps=6)
    odd = {"role": "assistant", "content": "QZ XJ WV KQ"}
    dev = [row | {"messages": [*row["messages"][:-1], odd]} for row in rows[:2]]
    saving = Saving(save_steps=1, keep=1, tracking=dataclasses.replace(TRACKING, answers=0, resume=alias))

    def run(work: Path, **more: Any) -> TrainReport:
        folders: dict[str, Any] = {"state_dir": work / "state", "out_dir": work / "out"}
        return train_adapter(BaseModel(base_dir), rows, dev, settings, saving=saving, **folders, **more)

    best = run(tmp_path / "straight").published_step
    assert best < 4

    def die(step: int, steps: int) -> None:
        if step == best + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "lost", progress=die)
    for checkpoint in (tmp_path / "lost" / "state").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    steps: list[int] = []
    assert run(tmp_path / "lost", progress=lambda step, _: steps.append(step)).published_step == best
    assert steps[0] == (best + 3 if alias == "latest" else best + 1)
    assert weights(tmp_path / "lost" / "out") == weights(tmp_path / "straight" / "out")


def test_a_best_model_that_is_in_no_artifact_is_missed_before_training(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    train(base_dir, rows, tmp_path, TRACKING)
    registry = Registry(state / FOLDER)
    found = registry.find("latest")
    assert found is not None
    shutil.rmtree(state / "checkpoint-2", ignore_errors=True)
    kept = json.loads((state / "checkpoint-4" / "trainer_state.json").read_text())
    (state / "checkpoint-4" / "trainer_state.json").write_text(json.dumps(kept | {"best_global_step": 3}))
    mark_complete(state / "checkpoint-4")
    later = found[0].with_name("step-5.zip")
    assert zip_checkpoint(state / "checkpoint-4", later)
    registry.put(later, found[1].metadata, None)
    shutil.rmtree(state / "checkpoint-4")
    with pytest.raises(FinetrailError, match="the best model so far, of step 3, is in no artifact") as missed:
        restore_checkpoint(state, TRACKING)
    assert "train.wandb.resume" in str(missed.value)
    assert newest_complete(state) is None


def test_a_state_directory_that_was_lost_whole_comes_back_with_its_attempts(
    tracked: Path,
    base_dir: Path,
    rows: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """W&B gives the artifact; who trained so far, with which batch and which code, comes with it."""

    def die(step: int, steps: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(base_dir, rows, tmp_path, TRACKING, code="a", progress=die)
    there = tmp_path / "there.zip"
    found = Registry(tmp_path / "state" / FOLDER).find("latest")
    assert found is not None
    shutil.copyfile(found[0], there)
    shutil.rmtree(tmp_path / "state")
    monkeypatch.setattr("finetrail.training.tracking.restore.check_tracking", lambda tracking: None)
    monkeypatch.setattr("finetrail.training.tracking.restore.download", lambda *_: there)
    monkeypatch.setattr("finetrail.training.train_loop.tracked", lambda *_: contextlib.nullcontext([]))
    steps: list[int] = []
    online = dataclasses.replace(TRACKING, mode="online")
    out = train(base_dir, rows, tmp_path, online, code="b", progress=lambda step, _: steps.append(step))
    assert steps == [3, 4]
    assert weights(out) == weights(tracked / "out")
    assert log(out) == log(tracked / "out")
    assert segments(tmp_path / "state") == [{"from_step": 0, "code": "a"}, {"from_step": 2, "code": "b"}]
    assert "was written by other code" in caplog.text
    assert [attempt.get("outcome") for attempt in read_attempts(tmp_path / "state")] == [None, "finished"]


def test_online_wants_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    online = dataclasses.replace(TRACKING, mode="online")
    with pytest.raises(FinetrailError, match="WANDB_API_KEY is not set"):
        check_tracking(online)
    monkeypatch.setenv("WANDB_API_KEY", "k")
    check_tracking(online)
