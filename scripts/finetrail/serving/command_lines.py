"""How servers of our own are started: their command lines and environments."""

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json
from finetrail.serving.model_support import check_before_start
from finetrail.serving.own_server import OwnServer, Weights
from finetrail.serving.server_process import HOST, ServerSpec

# Made by `make env-vllm`, by the device: the builds of vLLM are two, and one shall not replace the other.
VLLM_PYTHON = {"gpu": ".venv-vllm/bin/python", "cpu": ".venv-vllm-cpu/bin/python"}
# Made by `make env`; it has all that training has.
VENV_PYTHON = ".venv/bin/python"
# Ranks that vLLM has room for (`vllm serve --max-lora-rank`).
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# What a vLLM adapter may not have, as adapter_config.json says it.
UNSERVED = {"use_dora": "DoRA", "lora_bias": "biases", "modules_to_save": "whole modules beside its matrices"}
HF_KEY_VARIABLE = "FINETRAIL_HF_KEY"


def own_server(kind: str, serve: OwnServer, model: str, revision: str | None) -> ServerSpec:
    """Describe the server that a model needs, after a look whether it can be served at all.

    Args:
        kind: `vllm` or `transformers`.
        serve: the endpoint's settings.
        model: what the phase asks for: a hub id, a folder, or the name of an adapter.
        revision: the commit of a hub id.

    Raises:
        FinetrailError: the server's interpreter is missing; the model cannot be served, or does not fit.
    """
    weights = serve.weights(model, revision)
    python = interpreter(kind, serve)
    check_before_start(kind, serve, weights)
    return _vllm(serve, weights, model, python) if kind == "vllm" else _transformers(serve, weights, model, python)


def interpreter(kind: str, serve: OwnServer) -> str:
    """Return the Python that has the server's packages.

    Raises:
        FinetrailError: there is none at its place.
    """
    default = VLLM_PYTHON[serve.device] if kind == "vllm" else _transformers_python()
    python = str(Path(serve.python or default).absolute())
    if not Path(python).is_file():
        raise FinetrailError(
            f"there is no Python at {python}",
            where=f"endpoint of kind {kind}",
            hint=f"Make vLLM's environment ({_make(serve)}), or name an interpreter that has it in `serve.python`"
            if kind == "vllm"
            else "Make it (make env), or name an interpreter that has torch and transformers in `serve.python`",
        )
    return python


def _transformers_python() -> str:
    """Return the step's own interpreter, or that of `make env` where the step has no torch (data steps in conda)."""
    return sys.executable if all(find_spec(name) for name in ("torch", "transformers")) else VENV_PYTHON


def _make(serve: OwnServer) -> str:
    return "make env-vllm" + (" VLLM=cpu" if serve.device == "cpu" else "")


def _vllm(serve: OwnServer, weights: Weights, model: str, python: str) -> ServerSpec:
    """Describe `vllm serve`; its options are those of the version that envs/vllm.yaml pins."""
    structured = {"backend": serve.structured_output, "disable_any_whitespace": serve.structured_output != "outlines"}
    options = [
        *("--served-model-name", weights.model if weights.adapter else model),
        *("--dtype", serve.dtype),
        *("--structured-outputs-config", json.dumps(structured)),
        *("--generation-config", "vllm"),  # else the model's own sampling defaults would fill what a request leaves out
        "--disable-uvicorn-access-log",  # the end of the log shall tell what went wrong
        *(("--revision", weights.revision) if weights.revision else ()),
        *(("--quantization", serve.quantization) if serve.quantization else ()),
        *(("--chat-template", str(Path(serve.chat_template).absolute())) if serve.chat_template else ()),
        *(("--max-model-len", str(serve.max_model_len)) if serve.max_model_len else ()),
        *_lora_options(weights, model),
        *_device_options(serve),
        *serve.extra_args,
        *serve.speed_args,
    ]
    command = [python, "-m", "vllm.entrypoints.cli.main", "serve", weights.model, *options, "--host", HOST]
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_COLOR": "0",
        # Its kernels are built by tools of its own environment (ninja), and its packages are none of ours.
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": "",
    }
    if serve.device == "cpu":
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(serve.cpu_cache_gb)
    return ServerSpec(
        name=f"vllm server of {model}",
        command=lambda port: [*command, "--port", str(port)],
        key_variable="VLLM_API_KEY",
        ready_s=serve.ready_s,
        environment=environment,
        hint="The cause stands in its log above; `serve` of the endpoint says how it is started, and "
        f"`{_make(serve)}` makes its environment",
    )


def _lora_options(weights: Weights, model: str) -> Sequence[str]:
    if weights.adapter is None:
        return ()
    config = read_json(Path(weights.adapter.path) / "adapter_config.json")
    rank = max(config.get("r", 0), *(config.get("rank_pattern") or {}).values(), 0)
    fitting = next((size for size in LORA_RANKS if size >= rank), None)
    unserved = [name for key, name in UNSERVED.items() if config.get(key)]
    if fitting is None:
        unserved.append(f"rank {rank}, above {LORA_RANKS[-1]}")
    if unserved:
        raise FinetrailError(
            f"vLLM does not serve an adapter with {' and '.join(unserved)}",
            where=weights.adapter.path,
            hint="Serve the merged model, or use an endpoint of kind `transformers`",
        )
    folder = Path(weights.adapter.path).absolute()
    return ("--enable-lora", "--max-lora-rank", str(fitting), "--lora-modules", f"{model}={folder}")


def _device_options(serve: OwnServer) -> Sequence[str]:
    if serve.device == "cpu":
        return ("--enforce-eager",)
    utilization = str(serve.gpu_memory_utilization)
    return ("--tensor-parallel-size", str(serve.tensor_parallel), "--gpu-memory-utilization", utilization)


def _transformers(serve: OwnServer, weights: Weights, model: str, python: str) -> ServerSpec:
    """Describe `finetrail.serving.hf_server`."""
    options = [
        *("--model", weights.model, "--name", model, "--dtype", serve.dtype, "--device", serve.device),
        *("--batch-size", str(serve.batch_size)),
        *(("--revision", weights.revision) if weights.revision else ()),
        *(("--adapter", weights.adapter.path) if weights.adapter else ()),
        *(("--quantization", serve.quantization) if serve.quantization else ()),
        *(("--chat-template", serve.chat_template) if serve.chat_template else ()),
        *(("--max-length", str(serve.max_model_len)) if serve.max_model_len else ()),
    ]
    return ServerSpec(
        name=f"transformers server of {model}",
        command=lambda port: [python, "-m", "finetrail.serving.hf_server", "--port", str(port), *options],
        key_variable=HF_KEY_VARIABLE,
        ready_s=serve.ready_s,
        hint="The cause stands in its log above; `serve` of the endpoint says how it is started",
    )
