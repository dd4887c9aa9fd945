"""Which tensor of a Hugging Face folder becomes which GGUF tensor, in what layout and type."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.export.gguf_config import ModelShape

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType
    from numpy.typing import NDArray

# What gguf's numpy code can write, with the file type that llama.cpp shows for it.
QUANTIZATIONS = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
_COARSE = ("Q5_1", "Q5_0", "Q4_1", "Q4_0")


@dataclass(frozen=True)
class TensorPlan:
    """One tensor's way: from ``source`` in ``file`` to ``name``; ``heads`` where its rows are re-ordered."""

    source: str
    file: Path
    name: str
    shape: tuple[int, ...]
    type_name: str
    heads: int | None


def check_quantization(quantization: str) -> None:
    """Refuse what gguf's numpy code cannot write.

    Raises:
        FinetrailError: names the quantization, and for K- and I-quants the tool that makes them.
    """
    if quantization in QUANTIZATIONS:
        return
    if re.fullmatch(r"(Q\d_K|IQ\d)\w*", quantization):
        raise FinetrailError(
            f"{quantization} needs llama.cpp's own quantizer",
            where="export.quantization",
            hint=f"Export F16 and run: llama-quantize model.gguf model-{quantization}.gguf {quantization}",
        )
    raise FinetrailError(
        f"the quantization {quantization!r} is not known",
        where="export.quantization",
        hint=f"Known are {', '.join(QUANTIZATIONS)}",
    )


def plan_tensors(model_dir: Path, shape: ModelShape, quantization: str) -> list[TensorPlan]:
    """List every tensor to write, in the model's order, from one safetensors file or from shards.

    Raises:
        FinetrailError: no weights, a missing shard, a tensor that the architecture does not have, or one that
            is missing, as an untied model's output.
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    by_name = {text: number for number, text in MODEL_ARCH_NAMES.items()}
    names = get_tensor_name_map(MODEL_ARCH(by_name[shape.architecture]), shape.layers)
    plans = []
    for source, file, size in sorted(_stored_tensors(model_dir), key=lambda item: _natural(item[0])):
        if source.endswith("rotary_emb.inv_freq") or (shape.tied and source == "lm_head.weight"):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise FinetrailError(f"the tensor {source} is not known for {shape.architecture}", where=str(file))
        type_name = _type_name(name, size, quantization)
        plans.append(TensorPlan(source, file, name, size, type_name, _rotated_heads(source, shape)))
    _check_complete({plan.name for plan in plans}, shape, model_dir)
    return plans


def _check_complete(names: set[str], shape: ModelShape, model_dir: Path) -> None:
    """Name what is missing: llama.cpp takes the embeddings where an untied output is left out."""
    wanted = {"token_embd.weight", "output_norm.weight"} | (set() if shape.tied else {"output.weight"})
    wanted |= {f"blk.{layer}.attn_q.weight" for layer in range(shape.layers)}
    missing = sorted(wanted - names, key=_natural)
    if missing:
        raise FinetrailError(f"the weights of {missing[0]} are missing", where=str(model_dir))


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort layer 10 behind layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _stored_tensors(model_dir: Path) -> Iterator[tuple[str, Path, tuple[int, ...]]]:
    """Yield each stored tensor's name, file and shape; the weights themselves stay on the disk."""
    from safetensors import safe_open

    single, index = model_dir / "model.safetensors", model_dir / "model.safetensors.index.json"
    if index.is_file():
        files = sorted({model_dir / file for file in json.loads(index.read_text("utf-8"))["weight_map"].values()})
    else:
        files = [single]
    for file in files:
        if not file.is_file():
            hint = "Only safetensors are read: save the model with save_pretrained"
            raise FinetrailError(f"the weights {file.name} are missing", where=str(model_dir), hint=hint)
        with safe_open(str(file), framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (not a mapping)
                yield name, file, tuple(stored.get_slice(name).get_shape())


def _rotated_heads(source: str, shape: ModelShape) -> int | None:
    """Number of heads whose rows are re-ordered: q and k of Llama, which GGUF keeps in Meta's order."""
    if shape.architecture != "llama":
        return None
    if re.search(r"\.q_proj\.(weight|bias)$", source):
        return shape.heads
    return shape.key_value_heads if re.search(r"\.k_proj\.(weight|bias)$", source) else None


def _type_name(name: str, size: tuple[int, ...], quantization: str) -> str:
    """Norms and biases stay F32; embeddings and output stay at 8 bits where the rest has 4 or 5."""
    from gguf import GGML_QUANT_SIZES

    if len(size) < 2:
        return "F32"
    wanted = "Q8_0" if quantization in _COARSE and name in ("token_embd.weight", "output.weight") else quantization
    block = GGML_QUANT_SIZES[tensor_type(wanted)][0]
    return wanted if size[-1] % block == 0 else "F16"


def tensor_type(type_name: str) -> "GGMLQuantizationType":
    """Look up GGML's number of a type."""
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[type_name]


def stored_bytes(plan: TensorPlan) -> int:
    """Size of a planned tensor in the file, in bytes."""
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[tensor_type(plan.type_name)]
    return math.prod(plan.shape) // int(block) * int(size)


def load_tensor(plan: TensorPlan) -> "NDArray[Any]":
    """Read one tensor, re-order its rows where the architecture asks for it, and encode it in its type."""
    import torch
    from gguf import quants
    from safetensors import safe_open

    with safe_open(str(plan.file), framework="pt") as stored:
        values = stored.get_tensor(plan.source).to(torch.float32).numpy()
    if plan.heads is not None:
        values = interleave_rotary(values, plan.heads)
    encoded: NDArray[Any] = quants.quantize(values, tensor_type(plan.type_name))
    return encoded


def interleave_rotary(rows: "NDArray[np.float32]", heads: int) -> "NDArray[np.float32]":
    """Re-order each head's rows from halves (i and i + d/2 rotate together) to neighbours (2i, 2i + 1).

    Args:
        rows: [heads * d, ...] weights or biases.
        heads: number of heads among the rows.
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)
