"""Rows end to end by torch's FlashAttention: what surrounds the kernel, which itself wants a GPU (docs/gpu.md)."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from finetrail.models.base import load_base
from finetrail.models.limits import Limits
from finetrail.models.masks import encode_row
from finetrail.tiny.tiny_base import new_model
from finetrail.tiny.tiny_tokenizer import train_tokenizer
from finetrail.training.settings.hardware import Hardware
from finetrail.training.settings.machine_choices import VARLEN, choose
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.trainer.collator import make_collator
from finetrail.training.trainer.dataset import build_dataset
from finetrail.training.trainer.trainer import _cast_outside_autocast
from finetrail.training.trainer.varlen import register_varlen, suits_varlen
from tests.unit.training.conftest import SMALL, make_row

if TYPE_CHECKING:
    import torch

H100 = Hardware("H100", 1, 80 * 10**9, bf16=True, flash_attention=False, liger=False, varlen=True)


def row_by_row(
    query: Any, key: Any, value: Any, begins: Any, _: Any, longest: int, __: int, *, scale: float, window_size: Any,
    enable_gqa: bool,
) -> "torch.Tensor":  # fmt: skip
    """Compute what torch's operator computes, row by row."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention as attend

    assert int(begins.diff().max()) == longest
    outs = []
    for first, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        queries, keys, values = (tensor[first:end].transpose(0, 1)[None] for tensor in (query, key, value))
        behind = torch.arange(end - first)[:, None] - torch.arange(end - first)[None]
        allowed = (behind >= 0) & (behind <= window_size[0] if window_size[0] >= 0 else True)
        outs.append(attend(queries, keys, values, attn_mask=allowed, scale=scale, enable_gqa=enable_gqa))
    return torch.cat([out[0].transpose(0, 1) for out in outs])


@pytest.mark.heavy
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_rows_end_to_end_are_as_rows_alone(
    architecture: Any, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", row_by_row)
    tokenizer = train_tokenizer(architecture, texts, vocabulary_size=512, context=256)
    torch.manual_seed(3)
    made = new_model(architecture, tokenizer, SMALL)
    if architecture == "mistral":
        made.config.sliding_window = 16  # shorter than the rows
    made.save_pretrained(tmp_path)
    register_varlen()
    model = load_base(tmp_path, "float32", attn_implementation=VARLEN).eval()
    plain = load_base(tmp_path, "float32", attn_implementation="sdpa").eval()
    rows = [encode_row(make_row(session, 1), tokenizer, Limits(max_length=1024)) for session in range(3)]
    batch = make_collator(0, packing=True, vision=None)(list(build_dataset(rows)))
    assert batch["input_ids"].shape == (1, sum(len(row.input_ids) for row in rows))
    with torch.inference_mode():
        together = model(use_cache=False, **{name: batch[name] for name in batch if name != "labels"}).logits[0]
        alone = [plain(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0] for row in rows]
        made_alone = model.generate(
            input_ids=torch.tensor([rows[0].input_ids]), max_new_tokens=4, do_sample=False, pad_token_id=0
        )
        made_plain = plain.generate(
            input_ids=torch.tensor([rows[0].input_ids]), max_new_tokens=4, do_sample=False, pad_token_id=0
        )
    assert (together - torch.cat(alone)).abs().max() < 1e-5
    assert made_alone.tolist() == made_plain.tolist()


@pytest.mark.parametrize("pack_to", [None, 512])
def test_a_batch_is_filled_up_by_a_row_of_its_own(base_dir: Path, pack_to: int | None) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    rows = [encode_row(make_row(session, 1), tokenizer, Limits(max_length=512)) for session in range(3)]
    items = list(build_dataset(rows, pack_to=pack_to))
    plain = make_collator(5, packing=True, vision=None)(items)
    filled = make_collator(5, packing=True, vision=None, multiple=128)(items)
    tokens = plain["input_ids"].shape[1]
    missing = -tokens % 128
    assert missing and filled["input_ids"].shape == (1, tokens + missing)
    assert filled["input_ids"][0, tokens:].tolist() == [5] * missing
    assert filled["labels"][0, tokens:].tolist() == [-100] * missing
    assert filled["position_ids"][0, tokens:].tolist() == list(range(missing))
    assert filled["cu_seq_lens_q"].tolist() == [*plain["cu_seq_lens_q"].tolist(), tokens + missing]
    assert all((filled[name][0, :tokens] == plain[name][0]).all() for name in ("input_ids", "labels", "position_ids"))


def test_it_is_chosen_where_gpu_model_and_format_allow(base_dir: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base_dir)
    assert suits_varlen(config)
    settings = TrainSettings()
    assert choose(settings, H100, varlen=True).attention == VARLEN
    assert choose(settings, H100).attention == "sdpa"
    assert choose(dataclasses.replace(settings, precision="fp32"), H100, varlen=True).attention == "sdpa"
    assert choose(dataclasses.replace(settings, attention="sdpa"), H100, varlen=True).attention == "sdpa"
    assert choose(settings, dataclasses.replace(H100, varlen=False), varlen=True).attention == "sdpa"
    assert choose(settings, dataclasses.replace(H100, flash_attention=True), varlen=True).attention != VARLEN


@pytest.mark.parametrize(
    "changes", [{"model_type": "gemma2"}, {"attention_dropout": 0.1}, {"head_dim": 512}, {"head_dim": 20}]
)
def test_other_attention_is_left_to_sdpa(changes: dict[str, Any]) -> None:
    config = {"model_type": "llama", "head_dim": 64}
    assert suits_varlen(SimpleNamespace(**config))
    assert not suits_varlen(SimpleNamespace(**config | changes))


@pytest.mark.heavy
def test_autocast_is_left_its_casts_and_generation_keeps_them() -> None:
    import torch

    inputs = torch.zeros(2, dtype=torch.bfloat16)

    def cast(tensor: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
        return tensor.to(dtype)

    assert _cast_outside_autocast(cast, inputs, torch.float32).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert _cast_outside_autocast(cast, inputs, torch.float32) is inputs
