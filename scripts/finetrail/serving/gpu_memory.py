"""What a served model takes of each GPU at least: its weights, and the KV cache of one longest sequence.

A refusal must be right, since nothing overrides it: where a model's config.json says too little, only what is sure is
counted. Activations and the CUDA context come on top; vLLM measures them when it starts.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from finetrail.serving.own_server import OwnServer

BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
# Bytes a weight where the server quantizes what is stored unquantized, by the method's name (vLLM's, then ours).
QUANTIZED_BYTES = {"fp8": 1.0, "mxfp8": 1.0, "int8": 1.0, "experts_int8": 1.0, "nf4": 0.5}
LEAST_QUANTIZED_BYTES = 0.5
# Arguments of vLLM with which the weights or the cache take other room than their sizes say.
MEMORY_ARGUMENTS = (
    "--additional-config", "--cpu-offload", "--data-parallel", "--decode-context-parallel", "--enable-expert-parallel",
    "--hf-overrides", "--kv-cache", "--kv-transfer", "--offload", "--pipeline-parallel", "--prefill-context-parallel",
    "--quantization-config", "-dcp", "-dp", "-ep", "-pcp", "-pp",
)  # fmt: skip
# Keys of models whose layers are not all attention, but whose config.json does not list them (`layer_types`).
MIXED_LAYERS = (
    "attn_layer", "attn_type", "block_", "compress_ratios", "conv_", "full_attention_interval", "hybrid_",
    "layers_block", "linear_", "mamba_", "ssm_",
)  # fmt: skip


class Need(NamedTuple):
    """Memory that a server needs on each of its devices, in bytes."""

    weights: int
    cache: int


def is_foreseeable(serve: OwnServer) -> bool:
    """Tell whether the settings leave the memory to what the sizes say."""
    names = [argument.replace("_", "-") for argument in (*serve.extra_args, *serve.speed_args)]
    return not any(name.startswith(MEMORY_ARGUMENTS) for name in names)


def estimate(kind: str, config: Mapping[str, Any], stored: int, serve: OwnServer) -> Need:
    """Estimate the least memory on each device for the weights and the KV cache of one longest sequence.

    KV cache: 2 (key and value) x layers x key-value heads x width of a head x bytes a number, for each token (Kwon et
    al. 2023, https://arxiv.org/abs/2309.06180, section 3, with heads that share keys and values as in Ainslie et al.
    2023, https://arxiv.org/abs/2305.13245).

    Args:
        kind: `vllm`, which must have room for the longest sequence, or `transformers`, whose cache grows as it writes.
        config: the model's config.json.
        stored: bytes of its weights as stored.
        serve: the endpoint's settings.
    """
    text = config.get("text_config") or config
    longest = serve.max_model_len or (text.get("max_position_embeddings") if kind == "vllm" else None) or 0
    cache = (
        _cached_tokens(text, longest)
        * _numbers_a_token(kind, text, serve.tensor_parallel)
        * _cache_bytes(config, serve)
    )
    return Need(math.ceil(_weight_bytes(config, text, stored, serve) / serve.tensor_parallel), math.ceil(cache))


def _weight_bytes(config: Mapping[str, Any], text: Mapping[str, Any], stored: int, serve: OwnServer) -> float:
    """Return what the weights take once they are loaded."""
    if "quantization_config" in config or "quantization_config" in text:
        return stored  # a checkpoint that is stored quantized stays so, whatever the number format of the rest
    named = next(filter(None, (part.get(key) for part in (config, text) for key in ("dtype", "torch_dtype"))), None)
    width = BYTES[serve.dtype]
    if serve.quantization:
        method = (
            serve.quantization if serve.quantization in QUANTIZED_BYTES else serve.quantization.partition("_per")[0]
        )
        width = QUANTIZED_BYTES.get(method, LEAST_QUANTIZED_BYTES)
    return stored * width / BYTES.get(str(named), 2.0)


def _cache_bytes(config: Mapping[str, Any], serve: OwnServer) -> float:
    """Return the bytes of a number in the cache: a quantized checkpoint may bring its own format."""
    quantized = config.get("quantization_config") or {}
    has_format = any(quantized.get(key) for key in ("kv_cache_scheme", "kv_cache_quant_algo"))
    return 0.5 if has_format else BYTES[serve.dtype]


def _cached_tokens(text: Mapping[str, Any], longest: int) -> int:
    """Return how many tokens of the longest sequence are kept, summed over the layers; 0 where that is not known."""
    layers = text.get("num_hidden_layers")
    if not isinstance(layers, int):
        return 0
    layers -= text.get("num_kv_shared_layers") or 0  # the last of them read the cache of others
    # Beyond its window a layer keeps nothing (Beltagy et al. 2020, https://arxiv.org/abs/2004.05150).
    window = text.get("sliding_window") or text.get("attention_chunk_size") or longest
    near = min(window, longest)
    kinds = text.get("layer_types")
    if kinds:
        kept = {"full_attention": longest, "sliding_attention": near, "chunked_attention": near}
        return sum(kept.get(kind, 0) for kind in kinds[:layers])
    if any(key.startswith(MIXED_LAYERS) for key in text):
        return 0
    return layers * (near if text.get("use_sliding_window", True) else longest)


def _numbers_a_token(kind: str, text: Mapping[str, Any], devices: int) -> float:
    """Return how many numbers a layer keeps of a token on each device; 0 where that is not known.

    vLLM splits the heads of a layer, and a head that is not split stands on every device; the transformers library
    splits the layers. Latent attention keeps one vector for all heads (DeepSeek-AI 2024,
    https://arxiv.org/abs/2405.04434, section 2.1), which vLLM holds on every device.
    """
    if latent := text.get("kv_lora_rank"):
        numbers: int = latent + (text.get("qk_rope_head_dim") or 0)
        return numbers if kind == "vllm" else numbers / devices
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    names = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "num_attention_groups")
    shared = next(filter(None, map(text.get, names)), 1 if text.get("multi_query") else heads)
    if not isinstance(heads, int) or not isinstance(hidden, int) or not isinstance(shared, int):
        return 0
    width: int = text.get("head_dim") or hidden // heads
    return 2 * width * (max(1, shared // devices) if kind == "vllm" else shared / devices)
