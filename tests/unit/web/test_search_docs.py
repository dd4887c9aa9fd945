"""docs/search.md: every YAML block loads, every preset has its row, every link leads somewhere."""

import re
from pathlib import Path

import pytest

from finetrail.config.load import load_config
from finetrail.web.search_protocol import SearchEndpoint
from finetrail.web.services import PRESETS, service_of

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/search.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_loads(block: str, tmp_path: Path) -> None:
    path = tmp_path / "block.yaml"
    path.write_text(block, encoding="utf-8")
    config = load_config(ROOT, configfiles=[path])
    for name, entry in config.merged()["search"]["endpoints"].items():
        assert SearchEndpoint.of(name, entry).name == name
    assert service_of(config.settings_at("crag_mm", "recall")["recall"]["http"]).params


def test_every_preset_has_its_row() -> None:
    assert set(re.findall(r"^\| `(\w+)` \| (?:GET|POST) `", TEXT, re.MULTILINE)) == {*PRESETS}


def test_links_within_the_project_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", TEXT):
        assert not target or (ROOT / "docs" / target).exists(), target
