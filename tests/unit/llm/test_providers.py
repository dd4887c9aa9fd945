"""Each provider by the name of its endpoint: its models, its address and key, and the documents pipeline through it."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from finetrail.config.load import LoadedConfig, load_config
from finetrail.config.warnings import references, warnings_of
from finetrail.preflight import endpoint_checks
from finetrail.preflight.endpoint_checks import check_endpoints
from finetrail.rows.artifacts import read_json
from finetrail.serving.model_support import served_by_vllm
from ingest import import_env
from tests.unit.llm.provider_server import ENDED, ENDS, KEY, MODELS, ProviderServer
from tests.workspace import ROOT

RECIPES = sorted(path.stem for path in (ROOT / "config" / "recipes").glob("*.yaml"))
ROWS = ROOT / "tests" / "unit" / "calls_kept" / "rows"
# The names that the original pipeline has for its providers, and a model of each.
ORIGINAL = {"openai": "gpt-4.1", "claude": "claude-opus-5-5", "gemini": "gemini-2.5-flash", "local": "llama2:7b"}
STEPS = (("generate_qa", "chunks"), ("validate_qa", "pairs"))


def full(**overrides: Any) -> LoadedConfig:
    return load_config(ROOT, config={"recipes": RECIPES, "scale": "full", "overrides": overrides})


def test_every_recipe_asks_a_provider_that_has_its_model() -> None:
    run = full()
    asked = {(one.endpoint, one.model) for recipe in run.recipes.values() for _, one in references(recipe)}
    known = {(provider, model) for provider, models in MODELS.items() for model in models}
    assert {pair for pair in asked if pair not in known} == set(ENDED)
    assert {"openai", "gemini", "vllm", "transformers"} <= {endpoint for endpoint, _ in asked}
    assert not [said for said in warnings_of(run) if "is asked for" in said]
    page = (ROOT / "docs" / "llm.md").read_text()
    for (_, model), source in ENDED.items():
        assert f"| `{model}` |" in page and f"]({source})" in page, "who cannot be asked any more is said"
    for models in MODELS.values():
        assert all(source.startswith("https://") for source in models.values())


def test_every_endpoint_that_is_named_ships() -> None:
    shipped = full().llm.endpoints
    assert {*MODELS} <= shipped.keys()
    assert shipped["ollama"].base_url == "http://127.0.0.1:11434/v1"
    assert (shipped["vllm"].kind, shipped["transformers"].kind) == ("vllm", "transformers")


def test_a_teacher_is_served_by_vllm_on_the_jobs_own_gpus() -> None:
    run = full()
    teacher = dict(references(run.recipe("documents_local")))["synthesize.teacher"]
    assert run.endpoint(teacher.endpoint).gpus == 1
    assert "Qwen3ForCausalLM" in served_by_vllm()["architectures"]


def test_the_teacher_of_crag_mm_is_the_model_to_be_tuned() -> None:
    run = full()
    recipe = run.recipe("crag_mm")
    teacher = dict(references(recipe))["synthesize.teacher"]
    assert recipe.base_model is not None
    assert (teacher.model, teacher.revision) == (recipe.base_model.hub, recipe.base_model.revision)
    assert run.endpoint(teacher.endpoint).kind == "transformers"


def test_another_providers_model_is_named_before_anything_is_paid() -> None:
    run = full(weatherqa={"synthesize": {"teacher": {"endpoint": "openai"}}})
    said = [line for line in warnings_of(run) if "is asked for" in line]
    assert said == [
        "weatherqa: synthesize.teacher: openai is asked for gemini-2.5-flash, which is priced as a model of gemini"
    ]


def test_an_export_that_todays_ollama_cannot_load_is_named() -> None:
    (said,) = [line for line in warnings_of(full()) if line.startswith("crag_mm: export")]
    assert "Ollama since 0.30 cannot load Mllama" in said and "kind `transformers`" in said


@pytest.fixture(params=ORIGINAL)
def named(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with a config.env that names a provider as the original does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run"))
    model = ORIGINAL[request.param]
    Path("config.env").write_text(f"PIPELINE_LLM_PROVIDER={request.param}\nPIPELINE_LLM_MODEL={model}\n")
    return str(request.param)


@pytest.fixture
def server(named: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """The provider, under the path that the endpoint's address has."""
    endpoint = full().llm.endpoints[import_env.ENDPOINTS[named]]
    if endpoint.api_key_env:
        monkeypatch.setenv(endpoint.api_key_env, KEY)
    if named == "claude":
        monkeypatch.setattr(endpoint_checks, "ANTHROPIC_HOST", "127.0.0.1")
    fake = ProviderServer(import_env.ENDPOINTS[named], urlsplit(str(endpoint.base_url)).path)
    yield fake
    fake.close()


def run_of(server: ProviderServer) -> LoadedConfig:
    """The configuration that config.env leads to; but for its host, the endpoint is as shipped."""
    tree, _ = import_env.overlay(list(import_env.read_env(Path("config.env"))))
    moved = {"endpoints": {server.provider: {"base_url": server.url, "max_retries": 0}}}
    mine = {"recipes": ["documents"], "llm": moved, "overrides": {"documents": tree}}
    Path("mine.yaml").write_text(yaml.safe_dump(mine))
    run = load_config(ROOT, configfiles=[Path("mine.yaml").resolve()])
    Path("run_config.yaml").write_text(yaml.safe_dump(run.merged()))
    return run


def step(name: str, rows: str, run: LoadedConfig) -> int:
    code: int = importlib.import_module(f"synthesize.{name}").main(
        [
            "--rows", str(ROWS / f"{rows}.jsonl"), "--recipe", "documents", "--out", f"{name}.jsonl",
            "--meta", f"{name}.meta.json", "--settings", json.dumps(run.result_settings("documents")),
            "--prompt", str(ROOT / run.prompt_path("documents", name)),
        ]
    )  # fmt: skip
    return code


@pytest.mark.usefixtures("clean_environment")
def test_the_documents_pipeline_goes_through_each_provider_by_its_name(
    named: str, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(server)
    ends = f"{server.url} ends gpt-4.1 on {ENDS}"
    assert {(one.level, one.what) for one in check_endpoints(run)} == (
        {("warning", ends)} if named == "openai" else set()
    )
    monkeypatch.setenv("FINETRAIL_RUN_CONFIG", str(Path("run_config.yaml").resolve()))
    for name, rows in STEPS:
        assert step(name, rows, run) == 0
        totals = read_json(Path(f"{name}.meta.json"))["llm"]
        assert totals["calls_made"] > 0 and totals["enclosed"] == (totals["calls_made"] if named == "claude" else 0)
    assert {body["model"] for body in server.bodies} == {ORIGINAL[named]}
    assert all(body["response_format"]["json_schema"]["strict"] for body in server.bodies)
    sent = {name for body in server.bodies for name in body}
    assert ("seed" in sent, "temperature" in sent, "top_p" in sent) == {
        "claude": (True, False, False), "gemini": (False, True, True)
    }.get(named, (True, True, True))  # fmt: skip


@pytest.mark.usefixtures("clean_environment")
def test_a_model_that_the_provider_does_not_have_stops_the_step_and_preflight(
    named: str, server: ProviderServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.env").write_text(f"PIPELINE_LLM_PROVIDER={named}\nPIPELINE_LLM_MODEL=nobody-has-it\n")
    run = run_of(server)
    assert {one.what for one in check_endpoints(run)} == {f"{server.url} has no model nobody-has-it"}
    monkeypatch.setenv("FINETRAIL_RUN_CONFIG", str(Path("run_config.yaml").resolve()))
    assert step("generate_qa", "chunks", run) == 1
    assert "does not know the model 'nobody-has-it'" in capsys.readouterr().err
