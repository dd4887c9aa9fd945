"""Sources that a run has parsed are not parsed again, and what is kept changes no digest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3] / "scripts"
# Digests a tree with what is kept; says the digests, and how many files were parsed.
DIGESTS = """
import json, sys
from pathlib import Path
from finetrail.digests import kept_sources
from finetrail.digests.code_digest import tree_digests
read, parsed = kept_sources.read_source, []
kept_sources.read_source = lambda raw, name: parsed.append(name) or read(raw, name)
tree, kept = Path(sys.argv[1]), Path(sys.argv[2])
kept_sources.take_kept_sources(kept)
digests = tree_digests(tree.rglob("*.py"), tree)
kept_sources.keep_sources(kept)
print(json.dumps([digests, parsed]))
"""


def digest(tree: Path, kept: Path) -> tuple[dict[str, str], list[str]]:
    command = [sys.executable, "-c", DIGESTS, str(tree), str(kept)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    digests, parsed = json.loads(done.stdout)
    return digests, parsed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(f'"""Its docstring."""\nimport {name}_of\n')
    return folder


def test_only_what_was_edited_is_parsed_again(tree: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    first, parsed = digest(tree, kept)
    assert parsed == ["tree/one.py", "tree/two.py"]
    assert digest(tree, kept) == (first, [])
    (tree / "two.py").write_text("import two_of\nprint()\n")
    second, parsed = digest(tree, kept)
    assert parsed == ["tree/two.py"]
    assert second["one.py"] == first["one.py"] and second["two.py"] != first["two.py"]
    assert second == digest(tree, tmp_path / "nothing.json")[0]
    assert len(json.loads(kept.read_text())["sources"]) == 2, "what no file says any more is kept"


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept | {"parser": "another"},
        lambda kept: kept | {"sources": []},
        lambda kept: kept | {"sources": {key: ["0"] for key in kept["sources"]}},
        lambda kept: kept | {"sources": {key: [0, 0, 0] for key in kept["sources"]}},
        lambda kept: [kept],
        lambda kept: None,
    ],
)
def test_what_is_damaged_or_of_another_parser_is_parsed_again(tree: Path, tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    kept = tmp_path / "kept.json"
    first, parsed = digest(tree, kept)
    kept.write_text(json.dumps(damage(json.loads(kept.read_text()))))
    assert digest(tree, kept) == (first, parsed)
    assert digest(tree, kept) == (first, [])


def test_a_folder_that_cannot_be_written_keeps_nothing(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    digests, _ = digest(tree, tmp_path / "file/kept.json")
    assert digests == digest(tree, tmp_path / "kept.json")[0]
