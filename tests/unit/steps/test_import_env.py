"""A config.env becomes an overlay that the configuration takes, and no key leaves it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from finetrail.config.load import load_config
from finetrail.errors import FinetrailError
from ingest import import_env
from tests.conftest import ROOT

ENV = """# Pipeline settings
PIPELINE_INPUT_DIR=data/documents/files
PIPELINE_CHUNKS_DIR=data/document_chunks
export PIPELINE_LLM_PROVIDER="openai"   # comment
PIPELINE_LLM_MODEL='gpt-4#turbo'
PIPELINE_QUESTIONS_PER_CHUNK=5
PIPELINE_CHUNK_SIZE=1200
PIPELINE_VALIDATION_THRESHOLD=8.5
PIPELINE_FILTER_THRESHOLD=7.0  # Deprecated - use format threshold instead
OPENAI_API_KEY=sk-verysecret
HF_TOKEN="hf_verysecret"
MY_OWN=verysecret
EXPORT_MODEL_NAME=my-custom-model
"""


def test_the_overlay_is_taken_by_the_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.env").write_text(ENV)
    assert import_env.main(["config.env"]) == 0
    shown = capsys.readouterr()
    Path("mine.yaml").write_text(shown.out)
    config = load_config(ROOT, configfiles=[folder / "mine.yaml"], config={})
    recipe = config.recipe("documents")
    assert recipe.source.files == ["data/documents/files"]
    assert recipe.synthesize is not None and recipe.synthesize.teacher is not None
    assert (recipe.synthesize.teacher.endpoint, recipe.synthesize.teacher.model) == ("openai", "gpt-4#turbo")
    assert (recipe.synthesize.questions, recipe.synthesize.pass_score) == (5, 8.5)
    assert recipe.export is not None
    assert recipe.export.name == "my-custom-model"
    assert yaml.safe_load(shown.out)["overrides"]["documents"]["documents"] == {"chunk_size": 1200}
    assert recipe.synthesize.judge is not None
    assert (recipe.synthesize.judge.endpoint, recipe.synthesize.judge.model) == ("openai", "gpt-4#turbo")
    reported = {line.partition(":")[0] for line in shown.err.splitlines() if line.partition(":")[0].isupper()}
    assert reported == {line.removeprefix("export ").partition("=")[0] for line in ENV.splitlines()[1:]}
    assert "verysecret" not in shown.out + shown.err
    assert "OPENAI_API_KEY" not in shown.out


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("PIPELINE_CHUNK_SIZE=many\n", "config.env:1: no number"),
        ("# x\nPIPELINE_LLM_PROVIDER=verysecret\n", "config.env:2: unknown provider"),
        ("sk-verysecret\n", "config.env:1: no NAME=value"),
    ],
)
def test_what_is_of_no_use_is_named_by_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, cause: str
) -> None:
    Path("config.env").write_text(text)
    assert import_env.main(["config.env"]) == 1
    shown = capsys.readouterr()
    assert cause in shown.err
    assert "verysecret" not in shown.err
    assert shown.out == ""


def test_what_is_left_to_do_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.env").write_text("FINETUNE_MODEL_NAME=a/b\nPIPELINE_LLM_PROVIDER=local\n")
    assert import_env.main(["config.env"]) == 0
    assert "to do: base_model.revision" in (said := capsys.readouterr().err)
    assert "to do: synthesize.teacher.model, a model of ollama" in said


@pytest.mark.parametrize(
    ("more", "judge"),
    [
        ("", {"endpoint": "ollama", "model": "llama2:7b"}),
        ("PIPELINE_VALIDATION_MODEL=strict\n", {"endpoint": "ollama", "model": "strict"}),
        (
            "PIPELINE_VALIDATION_PROVIDER=Claude\n",
            {"endpoint": "anthropic", "extra_body": {"temperature": None, "top_p": None}},
        ),
    ],
)
def test_pairs_are_validated_where_they_are_written_unless_it_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], more: str, judge: dict[str, Any]
) -> None:
    """Who has a model of his own does not find his pairs sent to another provider."""
    Path("config.env").write_text(f"PIPELINE_LLM_PROVIDER=local\nPIPELINE_LLM_MODEL=llama2:7b\n{more}")
    assert import_env.main(["config.env"]) == 0
    shown = capsys.readouterr()
    assert yaml.safe_load(shown.out)["overrides"]["documents"]["synthesize"]["judge"] == judge
    assert ("to do: synthesize.judge.model, a model of anthropic" in shown.err) == ("Claude" in more)


def test_a_number_of_tokens_is_no_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.env").write_text("PIPELINE_MAX_TOKENS=500\n")
    assert import_env.main(["config.env"]) == 0
    assert "PIPELINE_MAX_TOKENS: unknown" in capsys.readouterr().err


def test_the_originals_own_example_is_refused_since_its_family_does_not_fit(folder: Path) -> None:
    Path("config.env").write_text("FINETUNE_MODEL_NAME=microsoft/DialoGPT-medium\nFINETUNE_MODEL_TYPE=mistral\n")
    tree, _ = import_env.overlay(list(import_env.read_env(Path("config.env"))))
    tree["base_model"]["revision"] = "0" * 40
    Path("mine.yaml").write_text(yaml.safe_dump({"recipes": ["documents"], "overrides": {"documents": tree}}))
    with pytest.raises(
        FinetrailError, match=r"base_model.family is mistral, but the family of microsoft/DialoGPT-medium"
    ):
        load_config(ROOT, configfiles=[folder / "mine.yaml"], config={})
