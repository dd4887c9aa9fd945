"""Endpoints that start a server of their own: which weights, which arguments."""

import pytest

from finetrail.config.load import load_config
from finetrail.config.sections.llm import Endpoint
from finetrail.config.sections.places import is_folder
from finetrail.config.sections.serve import Serve, settings_digest
from finetrail.errors import FinetrailError
from tests.unit.config.fish_project import CONFIG, Project

COMMIT = "9eb2daaa8597bf192a8b0e73f848f3a102794df5"
OWN = CONFIG + "    own: {kind: vllm, serve: {lora_modules: {mine: {path: ./a, base: ./b}}}}\n"


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ({"model": "owner/name"}, "needs a `revision`"),
        ({"model": "owner/name", "revision": "main"}, "needs a `revision`"),
        ({"model": "./folder", "revision": COMMIT}, "is a folder"),
        ({"model": "mine", "revision": COMMIT}, "takes no `revision`"),
        ({"model": "owner/name", "revision": COMMIT}, None),
        ({"model": "results/fish/models/lora/d/final_merged_checkpoint"}, None),
        ({"model": "mine"}, None),
    ],
)
def test_a_reference_names_exactly_one_set_of_weights(
    project: Project, reference: dict[str, str], problem: str | None
) -> None:
    (project.root / "config/config.yaml").write_text(OWN)
    entry = ", ".join(f"{key}: {value}" for key, value in {"endpoint": "own", **reference}.items())
    changes = project.root / "changes.yaml"
    changes.write_text(f"overrides: {{fish: {{label: {{model: {{{entry}}}}}}}}}\n")
    if problem is None:
        load_config(project.root, configfiles=[changes])
    else:
        with pytest.raises(FinetrailError, match=problem):
            load_config(project.root, configfiles=[changes])


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"kind": "vllm", "base_url": "http://127.0.0.1/v1"}, "is of kind `openai`"),
        ({"kind": "offline", "serve": {}}, "`serve` belongs to"),
        ({"kind": "vllm", "serve": {"extra_args": ["--tensor-parallel-size=2"]}}, "serve.tensor_parallel"),
        ({"kind": "vllm", "serve": {"speed_args": ["--api_key=x"]}}, "--api-key"),
        ({"kind": "vllm", "serve": {"speed_args": ["--tensor_par", "2"]}}, "serve.tensor_parallel"),
        ({"kind": "vllm", "serve": {"extra_args": ["--config=all.yaml"]}}, "would hide"),
        ({"kind": "transformers", "serve": {"speed_args": ["--x"]}}, "belong to the kind `vllm`"),
        ({"kind": "transformers", "serve": {"quantization": "awq"}}, "nf4"),
    ],
)
def test_what_cannot_be_meant_is_refused(entry: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Endpoint.model_validate(entry)


def test_other_options_of_vllm_may_begin_like_those_that_have_a_key() -> None:
    arguments = ["--model-impl=transformers", "--max-num-seqs", "64", "-O3", "--config-format=hf"]
    assert Serve(extra_args=arguments).extra_args == arguments


def test_gpus_are_asked_for_by_servers_on_gpus_only() -> None:
    def gpus(**serve: object) -> int:
        return Endpoint.model_validate({"kind": "vllm", "serve": serve}).gpus

    assert (gpus(), gpus(tensor_parallel=4), gpus(tensor_parallel=4, device="cpu")) == (1, 4, 0)
    assert Endpoint.model_validate({"kind": "offline"}).gpus == 0


def test_a_folder_is_told_from_a_hub_id() -> None:
    assert [is_folder(name) for name in ("gpt2", "a/b", "./a", "/a", "results/a/b")] == [False, False, True, True, True]


def test_an_adapter_that_is_not_asked_reruns_nothing() -> None:
    adapters = {name: {"path": f"./{name}", "base": "./b"} for name in ("x", "y")}
    one, both = (Serve.model_validate({"lora_modules": chosen}) for chosen in ({"x": adapters["x"]}, adapters))
    assert settings_digest(one, "x") == settings_digest(both, "x") != settings_digest(both, "y")
    assert settings_digest(one, "x") != settings_digest(Serve.model_validate({"dtype": "float16"}), "x")
