"""A cross-encoder learns from lists, by both losses; stopped and resumed it ends with the same weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.reranker_model import load_cross_encoder
from finetrail.rows.records import sha256_file
from finetrail.tiny.tiny_cross_encoder import save_tiny_cross_encoder
from finetrail.training.reranker_trainer import PassageList, RankerSettings, train_cross_encoder
from tests.unit.training.conftest import cpu_only

pytestmark = pytest.mark.heavy

COLOURS = ["red", "green", "blue", "white"]
TEXTS = [f"the {colour} house by the {place}" for colour in COLOURS for place in ("river", "tree")]
LISTS = [
    PassageList(f"which house is {colour}", [text, *[other for other in TEXTS if colour not in other][:3]])
    for colour in COLOURS
    for text in TEXTS
    if colour in text
]
SETTINGS = RankerSettings(
    max_tokens=24, learning_rate=3e-3, max_steps=12, batch_size=4, gradient_checkpointing=False, warmup_ratio=0.0
)
LONGER = replace(SETTINGS, max_steps=40)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_tiny_cross_encoder([*TEXTS, *(one.query for one in LISTS)], folder, max_tokens=24, seed=1)
    return folder


def test_the_tiny_model_is_the_same_each_time(base: Path, tmp_path: Path) -> None:
    passages = Path(__file__).parents[3] / "data/hotpotqa/dev_40.jsonl"  # ties among word pieces need many words
    texts = passages.read_text(encoding="utf-8").splitlines()
    for name in ("one", "two", "three"):
        save_tiny_cross_encoder(texts, tmp_path / name, max_tokens=24, seed=1)
    made = [sorted((path.name, sha256_file(path)) for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert made[0] == made[1]
    assert sha256_file(tmp_path / "three/tokenizer.json") == sha256_file(tmp_path / "one/tokenizer.json")
    added = json.loads((tmp_path / "one/tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    assert [token["content"] for token in added] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train(base: Path, tmp_path: Path, name: str, **options: Any) -> tuple[dict[str, Any], Path]:
    out = tmp_path / name
    out.mkdir()
    settings = RankerSettings(**{**vars(SETTINGS), **options})
    facts = train_cross_encoder(base, LISTS, settings, state_dir=tmp_path / f"{name}.state", out=out, save_steps=4)
    return facts, out


def test_the_softmax_loss_falls_and_the_folder_loads(base: Path, tmp_path: Path) -> None:
    facts, out = train(base, tmp_path, "softmax", max_steps=LONGER.max_steps)
    assert facts["steps"] == 40 and facts["lists"] == 8 and facts["loss"] < 1.2  # 1.386 of four equal candidates
    scores = load_cross_encoder(out, 24).predict([("which house is red", text) for text in TEXTS])
    assert scores.shape == (8,)
    again = tmp_path / "again"
    again.mkdir()
    kept = train_cross_encoder(base, LISTS, LONGER, state_dir=tmp_path / "softmax.state", out=again, save_steps=4)
    assert kept == facts
    assert sha256_file(again / "model.safetensors") == sha256_file(out / "model.safetensors")


def test_margin_and_gradient_checkpointing(base: Path, tmp_path: Path) -> None:
    facts, _ = train(base, tmp_path, "margin", loss="margin", max_steps=40, gradient_checkpointing=True)
    assert facts["loss"] < 0.9  # 1 of equal candidates


def test_a_resumed_training_ends_with_the_weights_of_a_straight_one(base: Path, tmp_path: Path) -> None:
    _, straight = train(base, tmp_path, "straight")
    state = tmp_path / "straight.state"
    for name in ("finished.json", "checkpoint-12/trainer_state.json"):
        (state / name).unlink()
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    facts = train_cross_encoder(base, LISTS, SETTINGS, state_dir=state, out=resumed, save_steps=4)
    assert facts["resumed"]
    assert sha256_file(resumed / "model.safetensors") == sha256_file(straight / "model.safetensors")


@cpu_only
def test_half_precision_without_a_gpu_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="there is no GPU"):
        train(base, tmp_path, "half", precision="fp16")
    with pytest.raises(FinetrailError, match="no list"):
        train_cross_encoder(base, [], SETTINGS, state_dir=tmp_path / "none", out=tmp_path, save_steps=4)
