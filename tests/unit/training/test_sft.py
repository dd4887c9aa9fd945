"""Training, resume, merge, scoring and answering on a model of a few thousand weights."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.inference.generate import answer_sessions, load_model
from finetrail.inference.likelihood import answer_loss
from finetrail.models.base_model import BaseModel
from finetrail.models.limits import Limits
from finetrail.models.masks import encode_row
from finetrail.training.merge_weights import merge_adapter
from finetrail.training.settings.train_settings import Saving, TrainSettings
from finetrail.training.sft import train_adapter
from finetrail.training.trainer.load_model import build_model
from finetrail.training.trainer.training_log import MEASURED
from tests.unit.training.conftest import cpu_only, make_row

if TYPE_CHECKING:
    import torch

LIMITS = Limits(max_length=256)
SETTINGS = TrainSettings(
    rank=4, alpha=8, dropout=0.1, learning_rate=1e-2, max_steps=4, batch_size=2, gradient_accumulation=2,
    limits=LIMITS,
)  # fmt: skip
SAVING = Saving(save_steps=2, keep=5)


class Killed(Exception):
    """Stands for the death of the process."""


def _train(base: Path, rows: list[dict[str, Any]], work: Path, settings: TrainSettings, **more: Any) -> Path:
    given = {"saving": SAVING} | more
    train_adapter(BaseModel(base), rows, rows[:2], settings, state_dir=work / "state", out_dir=work / "out", **given)
    return work / "out"


@pytest.fixture(scope="module")
def trained(base_dir: Path, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(base_dir, rows, tmp_path_factory.mktemp("trained"), SETTINGS)


def _weights(folder: Path) -> "dict[str, torch.Tensor]":
    from safetensors.torch import load_file

    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def _log(out: Path) -> list[dict[str, Any]]:
    """The log without what the clock measured."""
    rows = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_killed_run_ends_with_the_same_weights(
    mode: Any, base_dir: Path, rows: list[dict[str, Any]], trained: Path, tmp_path: Path
) -> None:
    import torch

    settings = dataclasses.replace(SETTINGS, method=mode)
    folder = "final_adapter" if mode == "lora" else "final_checkpoint"
    straight = trained if mode == "lora" else _train(base_dir, rows, tmp_path / "straight", settings)

    def die(step: int, steps: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        _train(base_dir, rows, tmp_path / "killed", settings, progress=die)
    # A checkpoint that was being written when the process died: newer, and incomplete.
    state = tmp_path / "killed" / "state"
    shutil.copytree(state / "checkpoint-2", state / "checkpoint-3")
    (state / "checkpoint-3" / "optimizer.pt").write_bytes(b"half")
    steps: list[int] = []
    resumed = _train(base_dir, rows, tmp_path / "killed", settings, progress=lambda step, _: steps.append(step))
    assert steps == [3, 4]
    expected, found = _weights(straight / folder), _weights(resumed / folder)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert _log(straight) == _log(resumed)


def test_a_finished_state_is_published_again_as_it_is(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, schedule="constant")  # a further step would show
    first = _train(base_dir, rows, tmp_path, settings, saving=Saving(save_steps=3))
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    steps: list[int] = []
    other = Saving(save_steps=1)  # of no weight for what comes out
    again = _train(base_dir, rows, tmp_path, settings, saving=other, progress=lambda step, _: steps.append(step))
    assert steps == []
    assert {path: path.read_bytes() for path in again.rglob("*") if path.is_file()} == before


def test_the_log_says_what_every_step_saw(trained: Path, rows: list[dict[str, Any]]) -> None:
    log = [json.loads(line) for line in (trained / "training_log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3, 4]
    assert {"loss", "learning_rate", "grad_norm", *MEASURED} <= log[0].keys()
    assert "eval_loss" in log[-1]
    assert all(len(row["rows"]) == 4 for row in log)
    seen = [row_id for row in log[:2] for row_id in row["rows"]]  # two updates are one pass over the eight rows
    assert sorted(seen) == sorted(row["id"] for row in rows)
    assert log[0]["rows"] + log[1]["rows"] != log[2]["rows"] + log[3]["rows"]


def test_another_run_s_state_is_refused(
    base_dir: Path, rows: list[dict[str, Any]], trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained.parent / "state", tmp_path / "state")
    with pytest.raises(FinetrailError, match="other data or settings"):
        _train(base_dir, rows[1:], tmp_path, SETTINGS)


@cpu_only
def test_merged_model_equals_the_adapter(
    base_dir: Path, rows: list[dict[str, Any]], trained: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoTokenizer

    merged_dir = merge_adapter(base_dir, trained / "final_adapter", tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(merged_dir)
    ids = torch.tensor([encode_row(rows[0], tokenizer, LIMITS).input_ids])
    with torch.inference_mode():
        adapted = load_model(base_dir, trained / "final_adapter")(ids).logits
        merged = load_model(merged_dir)(ids).logits
        untuned = load_model(base_dir)(ids).logits
    assert (adapted - merged).abs().max() < 1e-5
    assert (adapted - untuned).abs().max() > 1e-3
    assert (merged_dir / "model.safetensors").exists() and tokenizer.chat_template
    config = json.loads((merged_dir / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"], "as transformers 4 reads it"


@cpu_only
def test_answer_loss_is_the_model_s_own_loss(base_dir: Path, rows: list[dict[str, Any]]) -> None:
    import torch
    from transformers import AutoTokenizer

    model, tokenizer = load_model(base_dir), AutoTokenizer.from_pretrained(base_dir)
    example = encode_row(rows[1], tokenizer, LIMITS)
    (loss,) = answer_loss(model, [example])
    expected = model(input_ids=torch.tensor([example.input_ids]), labels=torch.tensor([example.labels])).loss
    assert loss.tokens == example.target_tokens
    assert loss.nats / loss.tokens == pytest.approx(float(expected), rel=1e-5)


def test_answers_do_not_depend_on_the_batch(trained: Path, base_dir: Path, rows: list[dict[str, Any]]) -> None:
    from transformers import AutoTokenizer

    model = load_model(base_dir, trained / "final_adapter")
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    together = answer_sessions(model, tokenizer, rows, limits=LIMITS, max_answer_tokens=6, batch_size=4)
    alone = answer_sessions(model, tokenizer, rows, limits=LIMITS, max_answer_tokens=6, batch_size=1)
    assert together == alone
    assert [answer.row_id for answer in together] == [row["id"] for row in rows]
    assert all(answer.stopped in {"eos", "length"} for answer in together)


def test_prediction_never_reads_gold(trained: Path, base_dir: Path, rows: list[dict[str, Any]]) -> None:
    from transformers import AutoTokenizer

    model = load_model(base_dir, trained / "final_adapter")
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    blind = [
        {key: row[key] for key in ("id", "session_id", "turn", "question", "evidence")}
        | {"messages": [row["messages"][0], row["messages"][-2], {"role": "assistant", "content": "something else"}]}
        for row in rows
    ]
    asked: dict[str, Any] = {"limits": LIMITS, "max_answer_tokens": 6}
    assert answer_sessions(model, tokenizer, rows, **asked) == answer_sessions(model, tokenizer, blind, **asked)


def test_no_rows_is_an_error(base_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="no rows to train on"):
        train_adapter(BaseModel(base_dir), [], [], SETTINGS, state_dir=tmp_path / "s", out_dir=tmp_path / "o")


def test_a_row_with_an_image_is_refused(base_dir: Path, tmp_path: Path) -> None:
    rows = [make_row(0, 0), make_row(1, 0) | {"image": "a.png"}]
    with pytest.raises(FinetrailError, match=rf"{rows[1]['id']}: .*this model reads text only"):
        train_adapter(BaseModel(base_dir), rows, [], SETTINGS, state_dir=tmp_path / "s", out_dir=tmp_path / "o")


def test_full_precision_of_the_base(base_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(base_dir).dtype == torch.float32


def test_deterministic_operations(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU they change no bit; what a GPU needs is set before the model is loaded."""
    import torch

    names = ("CUBLAS_WORKSPACE_CONFIG", "FLASH_ATTENTION_DETERMINISTIC")
    for name in names:
        monkeypatch.setenv(name, "")
    while_loading: list[bool] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        while_loading.append(torch.are_deterministic_algorithms_enabled() and all(os.environ[name] for name in names))
        return build_model(*args, **kwargs)

    monkeypatch.setattr("finetrail.training.trainer.trainer.build_model", look)
    settings = dataclasses.replace(SETTINGS, max_steps=1)
    plain = _train(base_dir, rows, tmp_path / "plain", settings)
    try:
        strict = _train(base_dir, rows, tmp_path / "strict", dataclasses.replace(settings, deterministic=True))
    finally:
        torch.use_deterministic_algorithms(False)
    assert while_loading == [False, True]
    for name, weight in _weights(plain / "final_adapter").items():
        assert torch.equal(weight, _weights(strict / "final_adapter")[name]), name
