"""Convert a Hugging Face folder to a GGUF file, tensor by tensor; the same folder gives the same bytes."""

import logging
from pathlib import Path
from typing import Any

from finetrail.export.gguf_config import add_shape, read_shape, rope_factors
from finetrail.export.gguf_tensors import (
    check_quantization,
    load_tensor,
    plan_tensors,
    stored_bytes,
    tensor_type,
)
from finetrail.export.gguf_tokenizer import add_vocabulary, read_vocabulary
from finetrail.rows.artifacts import atomic_path

logger = logging.getLogger(__name__)

_ROPE_FACTORS = "rope_freqs.weight"


def convert_to_gguf(model_dir: Path, out: Path, *, quantization: str = "F32", name: str = "model") -> dict[str, Any]:
    """Write the model of a folder (Llama, Mistral, Qwen2 or Qwen3; one safetensors file or shards) as GGUF.

    One tensor at a time is in memory. The file appears under its name only when it is whole.

    Args:
        model_dir: config, tokenizer and safetensors as ``save_pretrained`` writes them, adapters merged.
        out: the GGUF file.
        quantization: one of ``QUANTIZATIONS``; rows that its blocks do not divide are written as F16.
        name: ``general.name`` in the file.

    Returns:
        ``architecture``, ``quantization``, ``tensors`` (count), ``bytes``, ``tokenizer`` (model and
        pre-tokenizer) and ``types`` (tensors of each type).

    Raises:
        FinetrailError: whatever would make llama.cpp compute something else is refused by name.
    """
    import numpy as np
    from gguf import GGUFWriter, LlamaFileType

    check_quantization(quantization)
    shape = read_shape(model_dir)
    vocabulary = read_vocabulary(model_dir, shape.vocabulary)
    plans = plan_tensors(model_dir, shape, quantization)
    factors = rope_factors(shape)
    types: dict[str, int] = {}
    with atomic_path(out) as temporary:
        writer = GGUFWriter(temporary, shape.architecture)
        writer.add_type("model")
        writer.add_name(name)
        add_shape(writer, shape)
        writer.add_file_type(_file_type(quantization, LlamaFileType))
        writer.add_quantization_version(2)
        add_vocabulary(writer, vocabulary)
        if factors is not None:
            writer.add_tensor_info(_ROPE_FACTORS, factors.shape, np.dtype(np.float32), factors.nbytes)
        for plan in plans:
            kind = tensor_type(plan.type_name)
            writer.add_tensor_info(plan.name, plan.shape, np.dtype(np.float32), stored_bytes(plan), raw_dtype=kind)
            types[plan.type_name] = types.get(plan.type_name, 0) + 1
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for number, plan in enumerate(plans, start=1):
            writer.write_tensor_data(load_tensor(plan))
            logger.debug("tensor %d of %d: %s (%s)", number, len(plans), plan.name, plan.type_name)
        writer.close()
    logger.info("wrote %s: %d tensors, %d bytes", out, len(plans), out.stat().st_size)
    return {
        "architecture": shape.architecture,
        "quantization": quantization,
        "tensors": len(plans) + (factors is not None),
        "bytes": out.stat().st_size,
        "tokenizer": f"{vocabulary.model}/{vocabulary.pre}",
        "types": types,
    }


def _file_type(quantization: str, file_types: Any) -> int:
    return int(file_types.ALL_F32 if quantization == "F32" else file_types[f"MOSTLY_{quantization}"])
