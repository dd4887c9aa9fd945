"""docs/llm.md: every YAML block is a configuration that loads, and every provider has its entry."""

import re
from pathlib import Path

import pytest

from finetrail.config.load import LoadedConfig, load_config
from finetrail.llm.ask import endpoint_of

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/llm.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PRESETS = {"openai", "anthropic", "gemini", "vllm_server", "ollama", "llama_cpp"}


def load_block(block: str, folder: Path) -> LoadedConfig:
    path = folder / "block.yaml"
    path.write_text(block, encoding="utf-8")
    return load_config(ROOT, configfiles=[path])


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_loads(block: str, tmp_path: Path) -> None:
    for name, entry in load_block(block, tmp_path).merged()["llm"]["endpoints"].items():
        assert endpoint_of(name, entry).name == name


def test_every_provider_has_an_entry_with_the_page_that_it_was_taken_from() -> None:
    named = set(re.findall(r"^    (\w+):\n      kind: openai$", "\n".join(BLOCKS), re.MULTILINE))
    assert named == PRESETS
    for provider in ("OpenAI", "Anthropic", "Gemini", "vLLM", "Ollama", "llama\\.cpp"):
        assert re.search(rf"^\*\*{provider}\*\* \(\[[^\]]+\]\(https://", TEXT, re.MULTILINE), provider


def test_null_in_extra_body_survives_the_configuration(tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if "max_completion_tokens" in block]
    settings = load_block(block, tmp_path).settings_at("crag_mm", "synthesize")
    extra = settings["synthesize"]["judge"]["extra_body"]
    assert extra == {"max_tokens": None, "temperature": None, "top_p": None, "max_completion_tokens": 2000}


def test_links_within_the_project_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", TEXT):
        assert not target or (ROOT / "docs" / target).exists(), target
