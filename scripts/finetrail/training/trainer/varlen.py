"""Attention over rows that stand end to end, by the FlashAttention that torch holds itself: no package, no padding.

With SDPA a batch of rows of unlike lengths is padded to the longest, and its mask rules FlashAttention out; packed rows
get a mask of all tokens by all tokens. Here the collator says where rows begin (``cu_seq_lens``), and no mask is made.
"""

from typing import TYPE_CHECKING, Any

from finetrail.training.settings.machine_choices import VARLEN

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

TILE = 128  # tokens that a batch is filled up to a multiple of, so that shapes recur; its gain was not measured
# Their attention has nothing but a causal mask and perhaps a window: no sinks, no capped logits, no second input.
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_WIDEST = 256


def suits_varlen(config: "PreTrainedConfig") -> bool:
    """Tell whether a model's attention is one that FlashAttention computes, whatever the GPU."""
    values: Any = config
    if values.model_type not in _FAMILIES or getattr(values, "attention_dropout", None):
        return False
    head: int = getattr(values, "head_dim", None) or values.hidden_size // values.num_attention_heads
    return head <= _WIDEST and head % 8 == 0


def register_varlen() -> None:
    """Make it known to transformers under its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(VARLEN, _attend)
    AttentionMaskInterface.register(VARLEN, _mask)


def _mask(*args: Any, attention_mask: Any = None, allow_is_causal_skip: bool = True, **kwargs: Any) -> Any:
    """Make no mask for rows end to end, where it would hold the square of all tokens; else SDPA's."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None and not allow_is_causal_skip:
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, allow_is_causal_skip=allow_is_causal_skip, **kwargs)


def _attend(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    cu_seq_lens_q: "torch.Tensor | None" = None,
    max_length_q: int = 0,
    sliding_window: int | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple["torch.Tensor", None]:
    """Attend within rows, as transformers calls it: [1, heads, tokens, width] in, [1, tokens, heads, width] out."""
    import torch
    from torch.nn.attention.varlen import varlen_attn
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    out: Any
    if cu_seq_lens_q is None:  # generation
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return out, None
    dtype = value.dtype
    if dtype == torch.float32 and torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)  # the operator is unknown to autocast
    queries, keys, values = (tensor[0].transpose(0, 1).to(dtype) for tensor in (query, key, value))
    out = varlen_attn(
        queries,
        keys,
        values,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=True,
    )
    return out[None], None
