"""Initial weights that can copy: an induction circuit, laid into the first two layers before pre-training.

"What followed this token before?" takes two attention layers (Olsson et al. 2022, arXiv:2209.11895): the first
writes each token's predecessor beside it, the second finds the place whose predecessor is the present token and
copies what stands there. From random weights so small a model needs thousands of steps to find that; started from
it (as Trockman and Kolter 2023, arXiv:2305.09828, start attention from what training finds) it needs a hundred.
Everything stays trainable. Nothing about any text enters: the circuit is the same for every vocabulary.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_REACH = 300  # tokens over which a match must hold
_TURN = 0.8  # radians: rotary pairs that turn less than this over the reach tell nothing of the distance
_SHARED = 0.7  # length of the direction that all tokens share, in lengths of an embedding
_SHARP = 6.0  # length of a rotary pair that looks one token back
_SHARP_PAIRS = 4  # the fastest ones
_MATCH = 2.5
_LOUDNESS = 0.1  # of what stays random, so that it does not drown the embeddings
_NORM_SCALE = 2.0  # where heads are normalised, the only way to sharpen them


def lay_induction_circuit(model: "PreTrainedModel") -> None:
    """Change the fresh weights of a decoder with rotary positions and tied embeddings.

    Args:
        model: of the Llama, Mistral, Qwen2, Qwen3 or Mllama architecture, with two layers or more and heads of an
            even width that together are as wide as the model; draws from torch's global generator.
    """
    import torch

    config = model.config.get_text_config()
    width = config.hidden_size
    head = width // config.num_attention_heads
    speeds = config.rope_parameters["rope_theta"] ** (-torch.arange(head // 2) * 2 / head)
    decoder = getattr(model.model, "language_model", model.model)
    layers: list[Any] = [layer for layer in decoder.layers if hasattr(layer, "self_attn")]
    first, second = (layer.self_attn for layer in layers[:2])
    with torch.no_grad():
        for layer in layers:
            layer.mlp.down_proj.weight *= _LOUDNESS
            layer.self_attn.o_proj.weight *= _LOUDNESS
        shared = torch.nn.functional.normalize(torch.randn(width), dim=0)
        model.get_input_embeddings().weight += _SHARED * shared
        read, written = _orthonormal(width), _orthonormal(width)
        carried = _write_predecessors(first, shared, read, written, speeds, head)
        _copy_what_followed(second, read, written, carried, speeds, head)
        for attention in (first, second):
            if hasattr(attention, "q_norm"):
                attention.q_norm.weight.fill_(_NORM_SCALE)
                attention.k_norm.weight.fill_(_NORM_SCALE)


def _orthonormal(width: int) -> "torch.Tensor":
    import torch

    basis: torch.Tensor = torch.linalg.qr(torch.randn(width, width))[0]
    return basis


def _write_predecessors(
    attention: Any,
    shared: "torch.Tensor",
    read: "torch.Tensor",
    written: "torch.Tensor",
    speeds: "torch.Tensor",
    head: int,
) -> int:
    """Let half of the key-value heads look one token back; return how many directions they carry."""
    import torch

    queries, keys = attention.q_proj.weight, attention.k_proj.weight
    width, group = queries.shape[1], queries.shape[0] // keys.shape[0]
    length = math.sqrt(width) * _SHARED / math.sqrt(1 + _SHARED**2)  # of the shared direction behind the norm
    look, seen = torch.zeros(head), torch.zeros(head)
    fast = torch.arange(min(_SHARP_PAIRS, head // 2))
    look[fast] = _SHARP
    seen[fast] = _SHARP * torch.cos(speeds[fast])  # a key turned on by one token meets the next token's query
    seen[fast + head // 2] = _SHARP * torch.sin(speeds[fast])
    heads = max(1, int(keys.shape[0]) // head // 2)
    for kv in range(heads):
        rows = slice(kv * head, (kv + 1) * head)
        keys[rows] = _LOUDNESS * keys[rows] + torch.outer(seen, shared) / length
        attention.v_proj.weight[rows] = read[rows]
        for query in range(kv * group, (kv + 1) * group):
            place = slice(query * head, (query + 1) * head)
            queries[place] = _LOUDNESS * queries[place] + torch.outer(look, shared) / length
            attention.o_proj.weight[:, place] = written[rows].T / math.sqrt(width) / group
    return heads * head


def _copy_what_followed(
    attention: Any,
    read: "torch.Tensor",
    written: "torch.Tensor",
    carried: int,
    speeds: "torch.Tensor",
    head: int,
) -> None:
    """Let every head match the present token with written predecessors, and copy the token that it finds."""
    import torch

    queries, keys = attention.q_proj.weight, attention.k_proj.weight
    group = queries.shape[0] // keys.shape[0]
    slow = (speeds * _REACH < _TURN).nonzero().flatten()
    still = torch.cat([slow, slow + head // 2])
    for kv in range(keys.shape[0] // head):
        rows = slice(kv * head, (kv + 1) * head)
        matched = torch.arange(kv * len(still), (kv + 1) * len(still)) % carried
        keys[rows] *= _LOUDNESS
        keys[rows][still] += _MATCH * written[matched]
        attention.v_proj.weight[rows] = read[rows]
        for query in range(kv * group, (kv + 1) * group):
            place = slice(query * head, (query + 1) * head)
            queries[place] *= _LOUDNESS
            queries[place][still] += _MATCH * read[matched]
            attention.o_proj.weight[:, place] = read[rows].T / group
