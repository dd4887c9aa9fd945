"""Building a tiny base: the same bytes each time, for every architecture."""

import random
from pathlib import Path
from typing import get_args

import pytest

from finetrail.errors import FinetrailError
from finetrail.models.base import load_base
from finetrail.tiny.lookup_task import ANSWERING, COPYING, Difficulty, difficulty_at, made_up_lookup, wordstock
from finetrail.tiny.tiny_base import build_tiny_base
from finetrail.tiny.tiny_settings import Architecture
from tests.unit.training.conftest import SMALL


@pytest.mark.heavy
@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_same_bytes(architecture: Architecture, texts: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        figures = build_tiny_base(architecture, texts, settings=SMALL, system="", seed=3, out_dir=tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    model = load_base(tmp_path / "one", "float32")
    assert model.config.model_type == architecture
    assert figures["parameters"] == model.num_parameters()
    assert getattr(model.config, "sliding_window", None) is None


def test_seed_changes_the_weights(texts: list[str], base_dir: Path, tmp_path: Path) -> None:
    build_tiny_base("llama", texts, settings=SMALL, system="", seed=2, out_dir=tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() != (base_dir / "model.safetensors").read_bytes()
    assert (tmp_path / "tokenizer.json").read_bytes() == (base_dir / "tokenizer.json").read_bytes()


def lookups(texts: list[str], difficulty: Difficulty, number: int = 60) -> list[tuple[str, str]]:
    """Return question turns and answers."""
    stock, rng = wordstock(texts), random.Random(0)
    made = [made_up_lookup(stock, difficulty, "Be brief.", rng) for _ in range(number)]
    return [(messages[-1]["content"], answer) for messages, answer in made]


def test_while_copying_the_answer_is_a_passage(texts: list[str]) -> None:
    for shown, answer in lookups(texts, COPYING):
        assert f": {answer}\n" in shown
        assert shown.rpartition("Question: ")[2].rstrip("?") in answer


def test_later_some_answers_stand_in_no_passage(texts: list[str]) -> None:
    copied = sum(answer in shown for shown, answer in lookups(texts, ANSWERING, 200))
    # Half stand elsewhere, half of the rest is reworded; short sentences can stand in a passage by chance.
    assert 20 < copied < 120


def test_lookups_grow_from_copying_to_answering() -> None:
    assert difficulty_at(0.0) == difficulty_at(0.3) == COPYING
    assert COPYING.words < difficulty_at(0.6).words < ANSWERING.words
    assert difficulty_at(1.0) == ANSWERING


@pytest.mark.heavy
def test_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="no text"):
        build_tiny_base("llama", [""], settings=SMALL, system="", seed=1, out_dir=tmp_path)
