"""Python sources without what does not change what they do: comments, docstrings, blank lines.

Comments and strings are found by one pattern, which reads text the same on every Python version (the standard
tokenizer splits f-strings differently from 3.12 on, and takes many times as long). It follows the rules of
Python 3.11, the oldest version that the project supports: there, a string ends at its first unescaped quote.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from finetrail.errors import FinetrailError

_STRING_OR_COMMENT = re.compile(
    r'''(?P<string>"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')'''
    r"|(?P<comment>#[^\n]*)",
    re.DOTALL,
)
# The name under which a module says, in words, why nothing in it can change a result.
DECLARATION = "CHANGES_NO_RESULT"
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Import(NamedTuple):
    """One import: the module, the names taken from it (none for `import module`), and the dots before it."""

    module: str
    names: tuple[str, ...]
    level: int


class Source(NamedTuple):
    """What a source file does, as text, what it imports, and whether it declares that it can change no result."""

    code: str
    imports: tuple[Import, ...]
    changes_no_result: bool = False


def read_source(raw: bytes, name: str) -> Source:
    """Parse a source file.

    Args:
        raw: its bytes; a coding line, a byte order mark and any line ends are understood.
        name: how messages call it.

    Raises:
        FinetrailError: it is not valid Python, or its declaration gives no reason.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = io.TextIOWrapper(io.BytesIO(raw), encoding=encoding, newline=None).read()
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{name}:{line}" if line else name
        raise FinetrailError(f"not valid Python: {getattr(error, 'msg', error)}", where=where) from error
    statements = list(_statements(tree))
    return Source(_code(text, statements), tuple(_imports(statements)), _declares(tree, name))


def _declares(tree: ast.Module, name: str) -> bool:
    """Tell whether a module declares that it can change no result.

    Raises:
        FinetrailError: the declaration is not one string that gives a reason.
    """
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not any(isinstance(target, ast.Name) and target.id == DECLARATION for target in targets):
            continue
        value = getattr(node, "value", None)
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.strip()):
            raise FinetrailError(
                f"{DECLARATION} gives no reason",
                where=f"{name}:{node.lineno}",
                hint="Write a string that says why nothing in this module can change a result",
            )
        return True
    return False


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the tree and every statement below it; expressions hold neither imports nor docstrings."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in _BLOCKS:
            waiting += getattr(node, block, ())


def _imports(statements: list[ast.AST]) -> Iterator[Import]:
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, (), 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", tuple(alias.name for alias in node.names), node.level)


def _code(text: str, statements: list[ast.AST]) -> str:
    """Cut docstrings, comments, trailing white space and blank lines; strings keep every character."""
    for start, end in _docstring_spans(text, statements):
        text = text[:start] + text[end:]
    strings: list[str] = []

    def take_out(match: re.Match[str]) -> str:
        if match.lastgroup == "comment":
            return ""
        strings.append(match.group())
        return "\0"  # a source file holds no NUL

    lines: list[str] = []
    for line in _STRING_OR_COMMENT.sub(take_out, text).split("\n"):
        bare = line.rstrip()
        if bare or (lines and lines[-1].endswith("\\")):  # a blank line ends a continued one
            lines.append(bare)
    return "\n".join(lines) + "\0" + "\0".join(strings)


def _docstring_spans(text: str, statements: list[ast.AST]) -> list[tuple[int, int]]:
    """Return where the docstrings stand in the text, the last first."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def offset(line: int, column: int) -> int:
        start = starts[line - 1]
        before = text[start : start + column]
        return start + (column if before.isascii() else len(_line(text, start).encode()[:column].decode()))

    spans = []
    for node in statements:
        if isinstance(node, _DOCUMENTED) and node.body and _is_text(first := node.body[0]):
            end_line, end_column = first.end_lineno or first.lineno, first.end_col_offset or 0
            spans.append((offset(first.lineno, first.col_offset), offset(end_line, end_column)))
    return sorted(spans, reverse=True)


def _line(text: str, start: int) -> str:
    return text[start:].partition("\n")[0]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
