"""XHTML to Markdown without a choice of what matters: a chapter of a book has nothing around its text."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from finetrail.documents.converted import one_line

HEADING = re.compile(r"h([1-6])")
SKIPPED = frozenset({"head", "script", "style", "template", "noscript", "title"})
LEFT_OUT = {
    "img": "pictures", "svg": "pictures", "image": "pictures", "picture": "pictures", "math": "equations",
    "audio": "recordings", "video": "recordings", "object": "embedded objects", "iframe": "embedded objects",
    "canvas": "embedded objects", "input": "form fields", "select": "form fields", "textarea": "form fields",
}  # fmt: skip
BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html",
    "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "ul",
})  # fmt: skip
BUTTONS = ("hidden", "submit", "button", "reset", "image")  # inputs that hold nothing that somebody wrote
HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.I)
FENCE = re.compile(r"`{3,}")
DEEPEST = 150  # elements within elements
LINE_BREAK = "\v"  # white space that a paragraph keeps


def name_of(element: Any) -> str:
    """Return the local name of an element, in lower case; that of a comment is empty."""
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


def markdown(root: Any, left_out: Counter[str]) -> str:
    """Return the text below an element as Markdown: headings, lists, code, tables and paragraphs.

    Args:
        root: an element of lxml, of HTML or XHTML.
        left_out: counts what is not taken.

    Raises:
        ValueError: it is nested too deeply.
    """
    return "\n\n".join(block for block in _blocks(root, left_out, 0) if block.strip())


def fenced(code: str) -> str:
    """Put code between fences that are longer than any within it."""
    longest = max((len(run) for run in FENCE.findall(code)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{code}\n{fence}"


def code_of(element: Any) -> str:
    """Return the text of a ``pre`` element to the character, without the line break that opens it."""
    parts: list[str] = []
    _code_parts(element, parts, 0)
    return "".join(parts).removeprefix("\n").rstrip("\n")


def _code_parts(element: Any, parts: list[str], depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    parts.append("\n" if name_of(element) == "br" else element.text or "")
    for child in element:
        if name_of(child):
            _code_parts(child, parts, depth + 1)
        parts.append(child.tail or "")


def is_hidden(element: Any) -> bool:
    """Tell whether a page hides an element by itself: by an attribute, or by its style."""
    return element.get("hidden") is not None or bool(HIDDEN_STYLE.search(element.get("style") or ""))


def _blocks(element: Any, left_out: Counter[str], depth: int) -> Iterator[str]:
    """Yield the blocks of an element; text that stands between them is a paragraph."""
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    loose: list[str] = [element.text or ""]
    for child in element:
        if name_of(child) in BLOCKS or any(name_of(inner) in BLOCKS for inner in child.iter()):
            yield _paragraph(loose)
            loose = []
            if not _passed_over(child, left_out):
                yield from _block(child, left_out, depth + 1)
        else:
            loose.append(_inline(child, left_out, depth + 1))
        loose.append(child.tail or "")
    yield _paragraph(loose)


def _paragraph(parts: list[str]) -> str:
    lines = (one_line(line) for line in "".join(parts).split(LINE_BREAK))
    return "\n".join(line for line in lines if line)


def _passed_over(element: Any, left_out: Counter[str]) -> bool:
    name = name_of(element)
    if name in SKIPPED or not name:
        return True
    if name in LEFT_OUT:
        if name == "input" and element.get("type") in BUTTONS:
            return True
        left_out[LEFT_OUT[name]] += 1
        return True
    if is_hidden(element):
        if one_line("".join(element.itertext())):
            left_out["hidden passages"] += 1
        return True
    return False


def _block(element: Any, left_out: Counter[str], depth: int) -> Iterator[str]:
    name = name_of(element)
    if heading := HEADING.fullmatch(name):
        words = one_line(_inline_children(element, left_out, depth))
        yield f"{'#' * int(heading[1])} {words}" if words else ""
    elif name == "pre":
        code = code_of(element)
        yield fenced(code) if code.strip() else ""
    elif name in ("ul", "ol"):
        yield "\n".join(_items(element, left_out, depth))
    elif name == "table":
        yield from (_cell(child, left_out, depth) for child in element if name_of(child) == "caption")
        yield "\n".join(_rows(element, left_out, depth))
    elif name == "blockquote":
        inner = "\n\n".join(block for block in _blocks(element, left_out, depth) if block.strip())
        yield "\n".join(f"> {line}".rstrip() for line in inner.split("\n")) if inner else ""
    else:
        yield from _blocks(element, left_out, depth)


def _items(element: Any, left_out: Counter[str], depth: int) -> Iterator[str]:
    """Yield the lines of a list, those of one within it further in."""
    number = 0
    for child in element:
        if _passed_over(child, left_out):
            continue
        blocks = [block for block in _blocks(child, left_out, depth + 1) if block.strip()]
        if not blocks:
            continue
        number += 1
        mark = f"{number}. " if name_of(element) == "ol" else "- "
        lines = "\n".join(blocks).split("\n")
        yield mark + lines[0]
        yield from (" " * len(mark) + line if line else "" for line in lines[1:])


def _rows(table: Any, left_out: Counter[str], depth: int) -> Iterator[str]:
    """Yield the rows of a table; a table within a cell stands in it as ``cell, cell; cell, cell``."""
    for row in _table_rows(table):
        cells = [_cell(cell, left_out, depth + 1) for cell in row if name_of(cell) in ("td", "th")]
        if any(cells):
            yield f"| {' | '.join(cells)} |"


def _table_rows(table: Any) -> Iterator[Any]:
    for child in table:
        name = name_of(child)
        if name == "tr":
            yield child
        elif name in ("thead", "tbody", "tfoot"):
            yield from (row for row in child if name_of(row) == "tr")


def _cell(cell: Any, left_out: Counter[str], depth: int) -> str:
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    for table in [child for child in cell.iter() if name_of(child) == "table"]:
        rows = [[_cell(one, left_out, depth + 1) for one in row] for row in _table_rows(table)]
        table.tag, table.text = "span", "; ".join(", ".join(filter(None, row)) for row in rows)
        for child in list(table):
            table.remove(child)
    return one_line(" ".join(_blocks(cell, left_out, depth)))


def _inline(element: Any, left_out: Counter[str], depth: int) -> str:
    """Return the text of an element within a line."""
    name = name_of(element)
    if name == "br":
        return LINE_BREAK
    if _passed_over(element, left_out):
        return ""
    if name in ("code", "kbd", "samp", "tt") and (code := "".join(element.itertext()).strip()):
        return f"`{code}`" if "`" not in code else f"`` {code} ``"
    text = _inline_children(element, left_out, depth)
    is_note = name == "sup" and text.strip() and any(name_of(inner) == "a" for inner in element.iter())
    return f"[{text.strip()}]" if is_note else text


def _inline_children(element: Any, left_out: Counter[str], depth: int) -> str:
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    parts = [element.text or ""]
    for child in element:
        parts += [_inline(child, left_out, depth + 1), child.tail or ""]
    return "".join(parts)
