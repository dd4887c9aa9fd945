"""Names that are no names: file names, folder names, targets and cells that say more than a name does."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from finetrail.cluster.site_lines import library_line
from finetrail.config.load import load_config
from finetrail.digests.file_digest import source_digest
from finetrail.errors import FinetrailError
from finetrail.models.templates import OWN, TEMPLATES
from finetrail.text.markdown_cell import cell
from finetrail.workflow.known_form import known_form
from tests.unit.config.fish_project import Project

NO_UTF8 = b"caf\xe9.txt"


def named(folder: Path, name: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


def test_a_file_name_that_is_no_utf8_ends_no_digest(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    odd = named(folder, NO_UTF8)
    odd.write_text("one")
    os.utime(odd, (1000, 1000))
    cache = tmp_path / "cache.json"
    first = source_digest([folder], cache)
    assert source_digest([folder], cache) == source_digest([folder], tmp_path / "other.json") == first
    odd.write_text("two")
    assert source_digest([folder], cache) != first
    with pytest.raises(FinetrailError, match=r"caf\\xe9.txt"):
        source_digest([named(tmp_path, NO_UTF8)], cache)


@pytest.mark.parametrize(
    "name", ["$(touch hacked)", "it's `touch hacked` $(touch hacked)", 'a"; touch hacked; "', "{x}"]
)
def test_the_name_of_the_clones_folder_runs_nothing(tmp_path: Path, name: str) -> None:
    scripts = tmp_path / name / "scripts"
    script = f'{library_line(scripts)}echo "$PYTHONPATH"'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{scripts}\n"
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("key", ["files", "corpus", "images", "questions", "held_out"])
def test_a_path_with_braces_is_named(project: Project, key: str) -> None:
    path = "data/{a}.jsonl"
    value = path if key == "images" else [path]
    with pytest.raises(FinetrailError, match=rf"source.{key}: the path 'data/{{a}}.jsonl' holds a brace"):
        load_config(project.root, config={"overrides": {"fish": {"source": {key: value}}}})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_form_that_cannot_be_written_is_refused_before_anything_is_made() -> None:
    for template in TEMPLATES:
        assert known_form(SimpleNamespace(template=template, threshold="7.5")) == []
    with pytest.raises(FinetrailError, match=r"there is no template 'alpca'\. There are: alpaca"):
        known_form(SimpleNamespace(template="alpca", threshold="7.5"))
    for template in ("alpaca", OWN):
        for threshold in ("10.5", "99", "7..5"):
            with pytest.raises(FinetrailError, match=rf"no pair has a score of {threshold}\. Scores go from 0 to 10"):
                known_form(SimpleNamespace(template=template, threshold=threshold))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("[a](http://x.y)", r"\[a\](http\://x.y)"), ("![a](x)", r"!\[a\](x)"), ("<img src=x>", r"\<img src=x\>"),
        ("see https://x.y", r"see https\://x.y"), ("www.x.y", r"www\.x.y"), ("a@b.c", r"a\@b.c"), ("a|b\nc", r"a\|b c"),
        ("\x1b[31mred", r"\\u001b\[31mred"), ("a\u202eb", r"a\\u202eb"), ("plain (text).", "plain (text)."),
        ("mailto:a", r"mailto\:a"), ("`code` *bold*", r"\`code\` \*bold\*"),
    ],
)  # fmt: skip
def test_a_cell_is_data(value: str, shown: str) -> None:
    assert cell(value) == shown


def test_no_renderer_makes_a_link_or_an_image_of_a_cell() -> None:
    from markdown_it import MarkdownIt

    hostile = "![x](http://a) [y](http://b) <http://c> <img src=d> [z]: http://e `f` a@b.c &#91;g](h) \\[i](j)"
    page = f"| head |\n|---|\n| {cell(hostile)} |\n"
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
    assert "<a" not in html and "<img" not in html and "<code" not in html
