"""Rows that share a sequence: none sees another, and none is lost or cut."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.models.base import load_base
from finetrail.models.base_model import BaseModel
from finetrail.models.chat_tokens import pad_id
from finetrail.models.limits import Limits
from finetrail.models.masks import Example, encode_row
from finetrail.tiny.tiny_base import new_model
from finetrail.tiny.tiny_tokenizer import train_tokenizer
from finetrail.training.settings.train_settings import Saving, TrainSettings
from finetrail.training.sft import train_adapter
from finetrail.training.trainer.collator import make_collator
from finetrail.training.trainer.dataset import build_dataset
from finetrail.vision.image import Image
from tests.unit.training.conftest import SMALL, cpu_only, make_row

pytestmark = pytest.mark.heavy

LIMITS = Limits(max_length=256)


@pytest.fixture(scope="module")
def examples(base_dir: Path) -> list[Example]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    return [
        encode_row(make_row(session, turn, 1 + session % 3), tokenizer, LIMITS)
        for session in range(6)
        for turn in (0, 1)
    ]


def packed_batch(examples: list[Example], length: int) -> tuple[Any, Any]:
    packed = build_dataset(examples, pack_to=length)
    return packed, make_collator(0, packing=True, vision=None)(list(packed))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_packed_row_cannot_see_its_neighbour(
    architecture: Any, attention: str, texts: list[str], tmp_path: Path
) -> None:
    import torch

    tokenizer = train_tokenizer(architecture, texts, vocabulary_size=512, context=256)
    torch.manual_seed(3)
    new_model(architecture, tokenizer, SMALL).save_pretrained(tmp_path)
    model = load_base(tmp_path, "float32", attn_implementation=attention).eval()
    rows = [encode_row(make_row(session, 1), tokenizer, Limits(max_length=1024)) for session in range(4)]
    packed, batch = packed_batch(rows, 1024)
    order = [place for item in packed["rows"] for place in item]
    assert sorted(order) == [0, 1, 2, 3] and max(len(item) for item in packed["rows"]) > 1
    with torch.inference_mode():
        together = model(use_cache=False, **{name: batch[name] for name in batch if name != "labels"}).logits[0]
        at = 0
        for place in order:
            ids = torch.tensor([rows[place].input_ids])
            alone = model(input_ids=ids, use_cache=False).logits[0]
            assert (together[at : at + ids.shape[1]] - alone).abs().max() < 1e-5
            assert batch["position_ids"][0, at : at + ids.shape[1]].tolist() == list(range(ids.shape[1]))
            at += ids.shape[1]


def test_without_position_ids_it_would_see_it(examples: list[Example], base_dir: Path) -> None:
    """The test above would notice: with one run of positions the second row's logits differ."""
    import torch

    model = load_base(base_dir, "float32").eval()
    first, second = examples[:2]
    with torch.inference_mode():
        ids = torch.tensor([first.input_ids + second.input_ids])
        joined = model(input_ids=ids, use_cache=False).logits[0, len(first.input_ids) :]
        alone = model(input_ids=torch.tensor([second.input_ids]), use_cache=False).logits[0]
    assert (joined - alone).abs().max() > 1e-3


def test_every_row_is_in_one_sequence_whole(examples: list[Example]) -> None:
    packed = build_dataset(examples, pack_to=256)
    assert sorted(place for item in packed["rows"] for place in item) == list(range(len(examples)))
    for item in packed:
        assert len(item["input_ids"]) <= 256
        assert item["input_ids"] == [token for place in item["rows"] for token in examples[place].input_ids]
        assert item["labels"] == [label for place in item["rows"] for label in examples[place].labels]
        assert item["seq_lengths"] == [len(examples[place].input_ids) for place in item["rows"]]
    assert len(packed) < len(examples)
    assert list(packed) == list(build_dataset(examples, pack_to=256))


def test_images_are_not_packed(examples: list[Example]) -> None:
    shown = dataclasses.replace(examples[0], images=(Image("abc", Path("a.png")),))
    with pytest.raises(FinetrailError, match="s0-t0: rows with images cannot be packed"):
        build_dataset([shown], pack_to=256)


def test_a_packed_run_resumes_bit_for_bit(base_dir: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    rows = [make_row(session, 0, 1) for session in range(6)]
    settings = TrainSettings(
        rank=4, alpha=8, dropout=0.1, learning_rate=1e-2, max_steps=4, batch_size=1, gradient_accumulation=1,
        limits=LIMITS, packing=True,
    )  # fmt: skip

    class Killed(Exception):
        pass

    def die(step: int, steps: int) -> None:
        if step == 3:
            raise Killed

    weights = []
    for name, progress in (("straight", None), ("killed", die)):
        work: dict[str, Any] = {"state_dir": tmp_path / name / "state", "out_dir": tmp_path / name / "out"}
        work["saving"] = Saving(save_steps=2)
        if progress:
            with pytest.raises(Killed):
                train_adapter(BaseModel(base_dir), rows, rows[:2], settings, **work, progress=progress)
        report = train_adapter(BaseModel(base_dir), rows, rows[:2], settings, **work)
        weights.append(load_file(tmp_path / name / "out" / "final_adapter" / "adapter_model.safetensors"))
    assert report.rows == len(rows)
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@cpu_only
def test_gradients_of_packed_rows_are_those_of_padded_ones(examples: list[Example], base_dir: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    gradients = []
    for packing in (False, True):
        model = load_base(base_dir, "float32")
        items = build_dataset(examples[:4], pack_to=1024 if packing else None)
        batch = make_collator(pad_id(tokenizer), packing=packing, vision=None)(list(items))
        model(use_cache=False, **batch).loss.backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for padded, packed in zip(*gradients, strict=True):
        assert torch.allclose(padded, packed, atol=1e-6)
