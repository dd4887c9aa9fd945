"""Digests of code: exactly the users of an edited line change, and nothing changes for a comment."""

import ast
import io
import os
import sys
import time
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest

from finetrail.digests.code_digest import (
    code_digest,
    declared_files,
    digest_files,
    direct_imports,
    imported_files,
    result_files,
    tree_digests,
)
from finetrail.digests.source_text import read_source
from finetrail.errors import FinetrailError

ROOT = Path(__file__).resolve().parents[3] / "scripts"

TREE = {
    "label/label_rows.py": "import json\nfrom shared.text import clean\n\nprint(clean(json))\n",
    "train/train_it.py": "def main():\n    from shared import deep\n    return deep.VALUE\n",
    "ingest/ingest_rows.py": "from ingest.readers import plain\nimport os.path\n",
    "ingest/readers/plain.py": "from .common import open_it\n",
    "ingest/readers/common.py": "open_it = open\n",
    "folds/make_folds.py": "import sibling\n",
    "folds/sibling.py": "import shared.other.leaf as leaf\n",
    "shared/__init__.py": '"""The library."""\n',
    "shared/text.py": "from shared.deep import VALUE\n\n\ndef clean(x):\n    return x\n",
    "shared/deep.py": "from . import constants\nVALUE = constants.ONE\n",
    "shared/constants.py": "ONE = 1\n",
    "shared/other/__init__.py": "",
    "shared/other/leaf.py": "from ..constants import ONE\nfrom .. import deep\n",
    "shared/unused.py": "from shared import *\n",
}
SCRIPTS = ("label/label_rows.py", "train/train_it.py", "ingest/ingest_rows.py", "folds/make_folds.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def digests(root: Path) -> dict[str, str]:
    return {name: code_digest(root / name, root) for name in SCRIPTS}


def changed(root: Path, edit: Callable[[], object]) -> set[str]:
    before = digests(root)
    edit()
    after = digests(root)
    return {name for name in SCRIPTS if before[name] != after[name]}


def covered(root: Path, script: str) -> set[str]:
    return {path.relative_to(root).as_posix() for path in imported_files(root / script, root)}


def test_imports_are_followed_in_every_form(root: Path) -> None:
    deep = {"shared/__init__.py", "shared/deep.py", "shared/constants.py"}
    assert covered(root, "label/label_rows.py") == {"label/label_rows.py", "shared/text.py"} | deep
    assert covered(root, "train/train_it.py") == {"train/train_it.py"} | deep
    readers = {"ingest/readers/plain.py", "ingest/readers/common.py"}
    assert covered(root, "ingest/ingest_rows.py") == {"ingest/ingest_rows.py"} | readers
    leaf = {"shared/other/__init__.py", "shared/other/leaf.py"}
    assert covered(root, "folds/make_folds.py") == {"folds/make_folds.py", "folds/sibling.py"} | leaf | deep
    assert "shared/other/__init__.py" in covered(root, "shared/unused.py")


def test_direct_imports_are_those_of_one_file(root: Path) -> None:
    found = [path.relative_to(root).as_posix() for path in direct_imports(root / "label/label_rows.py", root)]
    assert found == ["shared/__init__.py", "shared/text.py"]


def test_a_one_character_edit_two_imports_deep_changes_exactly_its_users(root: Path) -> None:
    path = root / "shared/constants.py"
    users = {"label/label_rows.py", "train/train_it.py", "folds/make_folds.py"}
    assert changed(root, lambda: path.write_text("ONE = 2\n", encoding="utf-8")) == users
    text = (root / "shared/text.py").read_text(encoding="utf-8").replace("return x", "return [x]")
    assert changed(root, lambda: (root / "shared/text.py").write_text(text, encoding="utf-8")) == {
        "label/label_rows.py"
    }
    readers = root / "ingest/readers/common.py"
    assert changed(root, lambda: readers.write_text("open_it = print\n", encoding="utf-8")) == {"ingest/ingest_rows.py"}


def test_a_new_package_file_counts(root: Path) -> None:
    init = root / "ingest/readers/__init__.py"
    assert changed(root, lambda: init.write_text("", encoding="utf-8")) == {"ingest/ingest_rows.py"}


def test_a_touch_changes_nothing(root: Path) -> None:
    def touch() -> None:
        for path in root.rglob("*.py"):
            os.utime(path, (1, 1))

    assert changed(root, touch) == set()


def test_the_place_of_the_tree_does_not_count(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name, text in TREE.items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_text(text, encoding="utf-8")
    assert digests(root) == digests(elsewhere)


SOURCE = '''\
"""Module."""

import os  # why


class Thing:
    """Class.

    More.
    """

    def run(self):
        "one line"; x = f"a{1}#b"  # both
        text = """first

        # no comment
        last   \n"""
        if x:
            pass
        return text + 'it"s' + "#"


async def wait():
    r"""Raw \\d."""
    return (
        1  # one

        + 2
    )
'''

SAME = {
    "comment cut": SOURCE.replace("  # why", ""),
    "comment edited": SOURCE.replace("# both", '# \'quoted """ text'),
    "comment line": SOURCE.replace("import os", "# a line\nimport os"),
    "docstring edited": SOURCE.replace("More.", "Others."),
    "docstring cut": SOURCE.replace('    """Class.\n\n    More.\n    """\n', ""),
    "module docstring cut": SOURCE.replace('"""Module."""\n', ""),
    "docstring with other letters": SOURCE.replace("one line", "eine Zeile, für alle"),
    "blank lines": SOURCE.replace("class Thing", "\n\n\nclass Thing").replace("        + 2", "\n        + 2"),
    "blank lines cut": SOURCE.replace("# one\n\n", "# one\n"),
    "trailing space": SOURCE.replace("pass\n", "pass   \t\n"),
    "form feed": SOURCE.replace("\n\nclass", "\n\x0c\nclass"),
    "no last line end": SOURCE.rstrip("\n"),
    "windows line ends": SOURCE.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + SOURCE,
    "coding line": "# -*- coding: utf-8 -*-\n" + SOURCE,
}
OTHER = {
    "code": SOURCE.replace("return text", "return x"),
    "number": SOURCE.replace("+ 2", "+ 3"),
    "operator": SOURCE.replace("+ 2", "- 2"),
    "blank line in a string": SOURCE.replace("first\n\n", "first\n\n\n"),
    "blank line cut from a string": SOURCE.replace("first\n\n", "first\n"),
    "trailing space in a string": SOURCE.replace("last   ", "last  "),
    "comment sign in a string": SOURCE.replace("# no comment", "no comment"),
    "f-string": SOURCE.replace("#b", "#c"),
    "indentation": SOURCE.replace("            pass\n        return", "            pass\n            return"),
    "no docstring: second string": SOURCE.replace("class Thing:\n", "class Thing:\n    x = 1\n"),
}


def code(text: str) -> str:
    return read_source(text.encode("utf-8"), "x.py").code


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_change_the_code(name: str) -> None:
    assert SAME[name] != SOURCE
    assert code(SAME[name]) == code(SOURCE)


@pytest.mark.parametrize("name", OTHER)
def test_what_changes_the_code(name: str) -> None:
    assert OTHER[name] != SOURCE
    assert code(OTHER[name]) != code(SOURCE)


def test_a_blank_line_after_a_continued_line_is_code() -> None:
    assert code("x = (1) \\\n\n(2)\n") != code("x = (1) \\\n(2)\n")


def test_other_encodings_are_read(tmp_path: Path) -> None:
    text = "# coding: latin-1\nname = 'für'\n"
    assert read_source(text.encode("latin-1"), "x.py").code == code(text.replace("latin-1", "utf-8"))


def test_the_digest_is_the_same_on_every_python_version(root: Path) -> None:
    """The value was computed with Python 3.11, 3.12 and 3.13; a change of it reruns everybody's work."""
    (root / "label/label_rows.py").write_text(SOURCE, encoding="utf-8")
    assert code_digest(root / "label/label_rows.py", root) == "816d03169b46"


def strings_by_tokenizer(raw: bytes) -> list[str]:
    """The strings of a source, docstrings and prefixes left out, as the standard library finds them."""
    spans = []
    for node in ast.walk(ast.parse(raw)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and ast.get_docstring(node, clean=False) is not None:
                spans.append(((first.lineno, first.col_offset), (first.end_lineno, first.end_col_offset)))
    return [
        token.string.lstrip("rRbBuUfF")
        for token in tokenize.tokenize(io.BytesIO(raw).readline)
        if token.type == tokenize.STRING and not any(start <= token.start < end for start, end in spans)
    ]


@pytest.mark.heavy
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the tokenizer splits f-strings there")
def test_strings_and_comments_are_found_where_the_standard_tokenizer_finds_them() -> None:
    """On real sources: this project's own, and some of the standard library's odder ones."""
    standard = Path(os.__file__).parent
    paths = [
        *ROOT.rglob("*.py"),
        *sorted(standard.glob("[a-s]*.py"))[:60],
        *standard.glob("test/test_[fgs]str*.py"),
    ]
    compared = 0
    for path in paths:
        raw = path.read_bytes()
        if not raw.isascii():
            continue  # the tokenizer counts characters, the parser bytes
        parts = read_source(raw, str(path)).code.split("\0")
        count = (len(parts) - 1) // 2
        skeleton, strings = "\0".join(parts[: count + 1]), parts[count + 1 :]
        assert strings == (strings_by_tokenizer(raw.replace(b"\r\n", b"\n")) or [""]), path
        assert "#" not in skeleton, path
        compared += len(strings)
    assert compared > 5000


def test_errors_name_file_and_line(root: Path) -> None:
    (root / "shared/deep.py").write_text("x = 1\ny = (\n", encoding="utf-8")
    with pytest.raises(FinetrailError, match=r"shared/deep\.py:2: not valid Python"):
        code_digest(root / "train/train_it.py", root)
    with pytest.raises(FinetrailError, match="cannot be read"):
        code_digest(root / "train/nowhere.py", root)
    with pytest.raises(FinetrailError, match="not under"):
        tree_digests([Path(__file__)], root)


def test_digest_files_names_what_was_edited(root: Path) -> None:
    script = root / "label/label_rows.py"
    before = digest_files(script, root)
    (root / "shared/constants.py").write_text("ONE = 3\n", encoding="utf-8")
    after = digest_files(script, root)
    assert [name for name in before if before[name] != after[name]] == ["shared/constants.py"]
    assert list(after) == sorted(after)


def test_a_large_tree_is_read_quickly(tmp_path: Path) -> None:
    """45 scripts over 28,000 lines: each file is parsed once."""
    body = "\n".join(
        f'def work_{n}(x):\n    """Do {n}."""\n    # why\n    y = x + {n}\n    return [y, "text # {n}"]\n'
        for n in range(70)
    )
    for n in range(60):
        (tmp_path / f"lib/m{n}.py").parent.mkdir(exist_ok=True)
        uses = "".join(f"from lib import m{m}\n" for m in range(max(0, n - 5), n))
        (tmp_path / f"lib/m{n}.py").write_text(f"{uses}\n{body}", encoding="utf-8")
    for n in range(45):
        (tmp_path / f"s{n}.py").write_text(f"from lib.m{n + 10} import work_1\n", encoding="utf-8")
    for path in tmp_path.rglob("*.py"):
        os.utime(path, (1, 1))
    started = time.process_time()
    assert len({code_digest(tmp_path / f"s{n}.py", tmp_path) for n in range(45)}) == 45
    assert time.process_time() - started < 2.0  # measured: 0.3 s; the bound leaves room for a busy machine


def declare(root: Path) -> Path:
    """Let shared/text.py declare; it alone imports shared/deep.py for label_rows, which others import too."""
    path = root / "shared/text.py"
    path.write_text('CHANGES_NO_RESULT = "It shows."\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def test_a_module_that_declares_is_left_out_with_what_is_imported_through_it_alone(root: Path) -> None:
    path = declare(root)
    left = [file.relative_to(root).as_posix() for file in result_files(root / "label/label_rows.py", root)]
    assert left == ["label/label_rows.py", "shared/__init__.py"], "importing the module still runs its package"
    assert declared_files(root.rglob("*.py"), root) == [path]
    add = path.read_text(encoding="utf-8") + "ADDED = 1\n"
    assert changed(root, lambda: path.write_text(add, encoding="utf-8")) == set()
    deep = root / "shared/constants.py"
    assert changed(root, lambda: deep.write_text("ONE = 4\n", encoding="utf-8")) == {
        "train/train_it.py",
        "folds/make_folds.py",
    }


def test_the_gate_still_covers_what_declares(root: Path) -> None:
    before = digest_files(root / "label/label_rows.py", root)
    declare(root)
    after = digest_files(root / "label/label_rows.py", root)
    assert after.keys() == before.keys() and after["shared/text.py"] != before["shared/text.py"]


def test_a_declaration_that_comes_or_goes_reruns_the_users(root: Path) -> None:
    path = root / "shared/text.py"
    plain = path.read_text(encoding="utf-8")
    assert changed(root, lambda: declare(root)) == {"label/label_rows.py"}
    assert changed(root, lambda: path.write_text(plain, encoding="utf-8")) == {"label/label_rows.py"}


def test_a_script_is_covered_whatever_it_declares(root: Path) -> None:
    script = root / "folds/make_folds.py"
    script.write_text('CHANGES_NO_RESULT = "It shows."\nimport sibling\n', encoding="utf-8")
    add = script.read_text(encoding="utf-8") + "ADDED = 1\n"
    assert changed(root, lambda: script.write_text(add, encoding="utf-8")) == {"folds/make_folds.py"}


@pytest.mark.parametrize("value", ["True", '""', '"  "', '("It", "shows.")', "reason()", 'f"{x}"'])
def test_a_declaration_gives_a_reason_in_words(value: str) -> None:
    with pytest.raises(FinetrailError, match=r"here\.py:2: CHANGES_NO_RESULT gives no reason"):
        read_source(f"import os\nCHANGES_NO_RESULT = {value}\n".encode(), "here.py")


@pytest.mark.parametrize(
    "text",
    [
        'def f():\n    CHANGES_NO_RESULT = "It shows."\n',
        'if True:\n    CHANGES_NO_RESULT = "It shows."\n',
        'class C:\n    CHANGES_NO_RESULT = "It shows."\n',
        "from elsewhere import CHANGES_NO_RESULT\n",
        '# CHANGES_NO_RESULT = "It shows."\n',
    ],
)
def test_only_the_module_itself_declares(text: str) -> None:
    assert not read_source(text.encode(), "here.py").changes_no_result
    assert read_source(b'CHANGES_NO_RESULT: str = "It shows."\n', "here.py").changes_no_result
