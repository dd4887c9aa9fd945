"""The picture of the losses: the same log gives the same bytes, whatever the user's own matplotlib looks like."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from finetrail.report.plots.loss_picture import read_losses, smooth
from finetrail.rows.records import dump_row

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LOG = [
    {"step": step, "loss": 5.0 / step} | ({"eval_loss": 5.5 / step} if step % 4 == 0 else {}) for step in range(1, 13)
]


def draw(run_script: Run, folder: Path, log: list[dict[str, float]], **variables: str) -> bytes:
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(dump_row(row) + "\n" for row in log))
    done = run_script(
        "train/plot_training.py", "--training-log", folder / "log.jsonl", "--title", "A title",
        "--picture", folder / "loss.svg", "--meta", folder / "loss.meta.json", **variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (folder / "loss.svg").read_bytes()


@pytest.mark.heavy
def test_the_same_log_gives_the_same_picture(run_script: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsvg.fonttype: path\nfont.size: 30\n")
    first = draw(run_script, tmp_path / "a", LOG)
    again = draw(run_script, tmp_path / "b", LOG, MATPLOTLIBRC=str(tmp_path / "matplotlibrc"), TZ="Asia/Tokyo")
    assert first == again
    assert draw(run_script, tmp_path / "c", [*LOG[:-1], {"step": 12, "loss": 0.9}]) != first
    text = first.decode()
    for label in ("A title", "training, each step", "dev rows", "0.4583 at step 12"):
        assert f">{label}</text>" in text
    assert not re.search(r"\d{4}-\d{2}-\d{2}", text)


def test_a_log_without_losses_is_an_error(run_script: Run, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    done = run_script(
        "train/plot_training.py", "--training-log", tmp_path / "log.jsonl",
        "--picture", tmp_path / "loss.svg", "--meta", tmp_path / "meta.json",
    )  # fmt: skip
    assert done.returncode == 1 and "the log holds no loss" in done.stderr


def test_losses_and_their_means() -> None:
    losses = read_losses(LOG)
    assert losses.steps == list(range(1, 13)) and losses.eval_steps == [4, 8, 12]
    assert smooth([1.0, 3.0, 5.0, 5.0]) == [1.0, 2.0, 4.0, 5.0]
