"""Whether a model fits on the job's GPUs: the estimate, what nvidia-smi says, and the refusal before the start."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.sections.schema import plain
from finetrail.config.sections.serve import Serve
from finetrail.errors import FinetrailError
from finetrail.serving import gpus
from finetrail.serving.gpu_memory import Need, estimate, is_foreseeable
from finetrail.serving.gpus import gpu_memory
from finetrail.serving.model_support import GIB, check_before_start, check_fit, stored_bytes
from finetrail.serving.own_server import OwnServer, Weights

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
}
LLAMA_8B_BYTES = 16_060_522_496
# As published, with what the estimate reads.
DEEPSEEK_V3 = {
    "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "hidden_size": 7168,
    "kv_lora_rank": 512, "qk_rope_head_dim": 64, "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip
MISTRAL_7B = {
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096,
    "sliding_window": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip
GEMMA3_12B = {
    "text_config": {
        "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
        "hidden_size": 3840, "sliding_window": 1024,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 8,
    }
}  # fmt: skip
QWEN2_7B = {
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584,
    "sliding_window": 131072, "use_sliding_window": False,
}  # fmt: skip
QWEN3_NEXT = {
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
    "hidden_size": 2048, "full_attention_interval": 4,
}  # fmt: skip
FALCON_7B = {"num_hidden_layers": 32, "num_attention_heads": 71, "hidden_size": 4544, "multi_query": True}


def server(**settings: Any) -> OwnServer:
    return OwnServer.of(plain(Serve(**settings)))


def cache(config: dict[str, Any], tokens: int, **settings: Any) -> int:
    return estimate("vllm", config, 1, server(max_model_len=tokens, **settings)).cache


def test_weights_and_cache_are_estimated_as_published() -> None:
    """Llama 3.1 8B: 16 GB in bfloat16; 128 KiB of cache a token."""
    need = estimate("vllm", LLAMA_8B, LLAMA_8B_BYTES, server(max_model_len=8192))
    assert need == Need(LLAMA_8B_BYTES, 8192 * 128 * 1024)
    assert estimate("vllm", LLAMA_8B, LLAMA_8B_BYTES, server()).cache == 131072 * 128 * 1024
    assert estimate("vllm", LLAMA_8B, LLAMA_8B_BYTES, server(dtype="float32")).weights == 2 * LLAMA_8B_BYTES
    nested = {"text_config": LLAMA_8B}
    assert estimate("vllm", nested, LLAMA_8B_BYTES, server(max_model_len=8192)) == need


def test_the_cache_grows_only_as_needed_where_nothing_reserves_it() -> None:
    assert estimate("transformers", LLAMA_8B, LLAMA_8B_BYTES, server()).cache == 0
    assert estimate("transformers", LLAMA_8B, LLAMA_8B_BYTES, server(max_model_len=8192)).cache == 8192 * 128 * 1024


@pytest.mark.parametrize(
    ("config", "tokens", "expected"),
    [
        (DEEPSEEK_V3, 10_000, 10_000 * 61 * 576 * 2),
        (MISTRAL_7B, 32_768, 4096 * 32 * 2 * 8 * 128 * 2),
        (GEMMA3_12B, 32_768, (8 * 32_768 + 40 * 1024) * 2 * 8 * 256 * 2),
        (GEMMA3_12B, 512, 48 * 512 * 2 * 8 * 256 * 2),
        (QWEN2_7B, 32_768, 32_768 * 28 * 2 * 4 * 128 * 2),
        (FALCON_7B, 2048, 2048 * 32 * 2 * 64 * 2),
        (LLAMA_8B | {"quantization_config": {"kv_cache_scheme": {"num_bits": 8}}}, 8, 8 * 32 * 1024),
        (LLAMA_8B | {"num_kv_shared_layers": 16}, 8, 8 * 64 * 1024),
        (QWEN3_NEXT, 32_768, 0),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, 1024, 0),
        (LLAMA_8B | {"num_key_value_heads": [8, 4]}, 1024, 0),
        ({}, 1024, 0),
    ],
)
def test_the_cache_of_other_attentions(config: dict[str, Any], tokens: int, expected: int) -> None:
    """Latent, windows (all layers, some, switched off), one head, a quantized cache; nothing where nothing is sure."""
    assert cache(config, tokens) == expected


def test_a_head_that_cannot_be_split_stands_on_every_gpu() -> None:
    one = cache(LLAMA_8B, 8192)
    assert cache(LLAMA_8B, 8192, tensor_parallel=8) == one / 8
    assert cache(LLAMA_8B, 8192, tensor_parallel=16) == one / 8
    assert cache(DEEPSEEK_V3, 8192, tensor_parallel=8) == cache(DEEPSEEK_V3, 8192)
    layers = estimate("transformers", LLAMA_8B, 1, server(max_model_len=8192, tensor_parallel=16))
    assert layers.cache == one / 16


def weights(config: dict[str, Any], **settings: Any) -> int:
    return estimate("vllm", config, 1000, server(**settings)).weights


@pytest.mark.parametrize("method", [None, "awq", "fp8", "compressed-tensors"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_checkpoint_that_is_stored_quantized_stays_so(method: str | None, dtype: str) -> None:
    stored = {"dtype": "bfloat16", "quantization_config": {"quant_method": "awq"}}
    assert weights(stored, quantization=method, dtype=dtype) == 1000


def test_what_the_server_quantizes_takes_less() -> None:
    for method, expected in (("fp8", 500), ("fp8_per_block", 500), ("nf4", 250), ("a_method_of_tomorrow", 250)):
        assert weights({"dtype": "bfloat16"}, quantization=method) == expected
    assert weights({"text_config": {"torch_dtype": "float32"}}) == 500


def test_arguments_that_change_the_memory_leave_it_to_vllm() -> None:
    assert is_foreseeable(server(extra_args=["--seed=3"], speed_args=["--max-num-seqs=4"]))
    for argument in ("--kv-cache-dtype=fp8", "--kv_cache_dtype", "--cpu-offload-gb=8", "-pp=2"):
        assert not is_foreseeable(server(speed_args=[argument])), argument


def test_what_does_not_fit_is_refused_with_what_to_change() -> None:
    need = Need(16 * GIB, 4 * GIB)
    check_fit(server(), "m", need, [24 * GIB])
    check_fit(server(tensor_parallel=2), "m", Need(8 * GIB, 2 * GIB), [12 * GIB, 12 * GIB, 1])
    with pytest.raises(FinetrailError, match=r"20\.0 GiB on each of 1 GPUs.*14\.4 GiB.*`serve.tensor_parallel`"):
        check_fit(server(), "m", need, [16 * GIB, 80 * GIB])


class Gpus:
    """A stand-in for nvidia-smi on the PATH."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.tool, self.devices, self.patch = folder / "nvidia-smi", folder / "dev", patch
        self.devices.mkdir()
        patch.setattr(gpus, "DEVICES", self.devices)
        patch.setenv("PATH", str(folder))
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def say(self, *lines: str, code: int = 0) -> None:
        printed = "".join(f"echo '{line}'\n" for line in lines)
        self.tool.write_text(f"#!/bin/sh\n{printed}exit {code}\n")
        self.tool.chmod(0o755)

    def allow(self, names: str) -> None:
        self.patch.setenv("CUDA_VISIBLE_DEVICES", names)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    found = Gpus(tmp_path, monkeypatch)
    found.say("0, GPU-aa, Disabled, 81559", "1, GPU-bb, [N/A], 40960", "2, GPU-ba, Disabled, 16384")
    return found


def test_the_gpus_are_those_that_the_job_may_use(node: Gpus) -> None:
    first, second, third = 81559 << 20, 40960 << 20, 16384 << 20
    assert gpu_memory() == [first, second, third]
    expected: dict[str, list[int]] = {
        "1": [second], "GPU-aa": [first], "": [], "NoDevFiles": [], "2,0": [third, first], "0,-1,1": [first],
        "GPU-b": [second], "0, 1": [first, second],
    }  # fmt: skip
    for allowed, sizes in expected.items():
        node.allow(allowed)
        assert gpu_memory() == sizes, allowed


def test_what_cannot_be_told_of_a_gpu_is_left_to_the_server(node: Gpus) -> None:
    node.allow("MIG-7a1b")
    assert gpu_memory() is None
    node.allow("0")
    for line in ("0, GPU-aa, Enabled, 81559", "0, GPU-aa, [N/A], [N/A]"):
        node.say(line)
        assert gpu_memory() is None, line


def test_no_gpu_is_told_from_no_nvidia_smi(node: Gpus, caplog: pytest.LogCaptureFixture) -> None:
    node.say("Failed to initialize NVML: Driver/library version mismatch", code=18)
    assert gpu_memory() == []
    assert "version mismatch" in caplog.text
    node.tool.unlink()
    assert gpu_memory() == []
    (node.devices / "nvidia0").touch()
    assert gpu_memory() is None


@pytest.fixture
def model(tmp_path: Path) -> Weights:
    """Llama 3.1 8B as its folder tells of it; the weights themselves are not there."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": LLAMA_8B_BYTES}}))
    return Weights(str(folder), None, None)


def test_a_server_is_refused_before_it_starts_where_the_gpus_do_not_hold_it(node: Gpus, model: Weights) -> None:
    serve = server(max_model_len=8192)
    check_before_start("vllm", serve, model)
    node.allow("2")
    with pytest.raises(FinetrailError, match=r"16\.0 GiB on each.*15\.0 GiB of weights and 1\.0 GiB.*is 14\.4 GiB"):
        check_before_start("vllm", serve, model)
    check_before_start("vllm", server(max_model_len=8192, speed_args=["--cpu-offload-gb=8"]), model)
    check_before_start("vllm", server(max_model_len=8192, quantization="fp8"), model)
    check_before_start("vllm", server(max_model_len=8192, device="cpu"), model)
    node.allow("1,2")
    check_before_start("vllm", server(max_model_len=8192, tensor_parallel=2), model)
    with pytest.raises(FinetrailError, match="needs 4 GPUs, and this job sees 2"):
        check_before_start("vllm", server(tensor_parallel=4), model)


def test_gpus_are_counted_also_where_nothing_is_known_of_the_model(node: Gpus, tmp_path: Path) -> None:
    node.allow("")
    for kind in ("vllm", "transformers"):
        with pytest.raises(FinetrailError, match="needs 1 GPUs, and this job sees 0"):
            check_before_start(kind, server(), Weights(str(tmp_path), None, None))


def test_the_size_of_the_weights_is_found_without_an_index_that_says_it(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    assert stored_bytes(str(tmp_path), None) is None
    (tmp_path / "consolidated.safetensors").write_bytes(b"x" * 700)
    assert stored_bytes(str(tmp_path), None) == 700
    for part in ("model-00001-of-00002", "model-00002-of-00002"):
        (tmp_path / f"{part}.safetensors").write_bytes(b"x" * 300)
    assert stored_bytes(str(tmp_path), None) == 600


def test_a_node_without_a_network_reads_the_size_from_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "a" * 40
    snapshot = tmp_path / "models--owner--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert stored_bytes("owner/name", commit) == 10
    assert stored_bytes("owner/other", commit) is None
