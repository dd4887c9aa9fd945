"""Word documents to Markdown: headings, paragraphs, lists, tables and equations in their order."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from finetrail.documents.converted import PASSED_ON, Pages, fault, one_line, title_of
from finetrail.documents.equations import linear

HEADING_STYLE = re.compile(r"^heading (\d)$", re.I)
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
OFF = ("0", "false", "off")
# What stands around runs and blocks without being any: content controls, tracked insertions, fields, links.
WRAPPERS = frozenset(
    W + name
    for name in ("sdt", "sdtContent", "ins", "moveTo", "smartTag", "customXml", "fldSimple", "hyperlink", "dir", "bdo")
)
SIGNS = {W + "tab": "\t", W + "ptab": "\t", W + "cr": "\n", W + "noBreakHyphen": "-"}
# What a paragraph or a run may hold that is not read, by its name in the report.
LEFT_OUT = {
    W + "drawing": "pictures and drawings", W + "pict": "pictures and drawings", W + "object": "embedded objects",
    W + "footnoteReference": "footnotes", W + "endnoteReference": "endnotes", W + "commentReference": "comments",
    W + "del": "deleted passages", W + "moveFrom": "deleted passages", W + "altChunk": "embedded files",
}  # fmt: skip
ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
TEXT_BOX = W + "txbxContent"
WIDEST_SPAN = 100  # columns that one cell may claim


def read_docx(raw: bytes) -> Pages:
    """Read the body of a Word document."""
    from docx import Document

    document = Document(io.BytesIO(raw))
    body = _Body(document)
    blocks = list(body.blocks(document.element.body))
    for part in ("headers", "footers"):
        if count := sum(_has_words(section, part) for section in document.sections):
            body.left_out[part] += count
    text = "\n\n".join(block for block in blocks if block.strip())
    return Pages([text], "md", False, title_of(document.core_properties.title), left_out=body.left_out)


def _has_words(section: Any, part: str) -> bool:
    held = section.header if part == "headers" else section.footer
    return not held.is_linked_to_previous and any(one.text.strip() for one in held.paragraphs)


class _Body:
    """Walks through a document and counts what it leaves out."""

    def __init__(self, document: Any) -> None:
        self.left_out: Counter[str] = Counter()
        self._document = document
        self._hidden: dict[str, bool] = {}

    def blocks(self, holder: Any) -> Iterator[str]:
        """Yield the blocks of a body or a content control, one that breaks left out."""
        for item in holder:
            if item.tag in WRAPPERS:
                yield from self.blocks(item)
                continue
            try:
                if item.tag == W + "p":
                    yield self._paragraph(item)
                elif item.tag == W + "tbl":
                    yield "\n".join(f"| {' | '.join(row)} |" for row in self._rows(item))
                elif item.tag == M + "oMathPara":
                    yield self._inline(item)
                elif item.tag in LEFT_OUT:
                    self.left_out[LEFT_OUT[item.tag]] += 1
            except PASSED_ON:
                raise
            except Exception as error:  # a damaged block may break the library in any way; the others are read
                self.left_out[f"blocks that cannot be read ({fault(error)})"] += 1

    def _paragraph(self, item: Any) -> str:
        text = self._inline(item)
        style = self._style_name(item)
        level = HEADING_STYLE.match(style)
        if level and text.strip():
            return f"{'#' * min(int(level[1]), 6)} {one_line(text)}"
        return f"- {text.strip()}" if style.startswith("List") and text.strip() else text

    def _style_name(self, item: Any) -> str:
        from docx.enum.style import WD_STYLE_TYPE

        named = item.find(f"{W}pPr/{W}pStyle")
        style = self._document.part.get_style(
            named.get(W + "val") if named is not None else None, WD_STYLE_TYPE.PARAGRAPH
        )
        return (style.name or "") if style is not None else ""

    def _inline(self, holder: Any) -> str:
        """Return the text of what stands within a paragraph."""
        parts = []
        for item in holder:
            if item.tag == W + "r":
                parts.append(self._run(item))
            elif item.tag in WRAPPERS:
                parts.append(self._inline(item))
            elif item.tag in (M + "oMath", M + "oMathPara"):
                parts.append(linear(item))
            elif item.tag in LEFT_OUT:
                self.left_out[LEFT_OUT[item.tag]] += 1
        return "".join(parts)

    def _run(self, run: Any) -> str:
        if self._is_hidden(run):
            if any(one.text for one in run.iter(W + "t")):
                self.left_out["hidden passages"] += 1
            return ""
        return "".join(self._signs(run))

    def _signs(self, run: Any) -> Iterator[str]:
        for item in run:
            if item.tag == W + "t":
                yield item.text or ""
            elif item.tag in SIGNS:
                yield SIGNS[item.tag]
            elif item.tag == W + "br" and item.get(W + "type", "textWrapping") == "textWrapping":
                yield "\n"
            elif item.tag == W + "sym":
                self.left_out["signs of symbol fonts"] += 1
            elif item.tag == ALTERNATIVES or item.tag in LEFT_OUT:
                boxes = any(True for _ in item.iter(TEXT_BOX))
                self.left_out["text boxes" if boxes else LEFT_OUT.get(item.tag, "pictures and drawings")] += 1

    def _is_hidden(self, run: Any) -> bool:
        properties = run.find(W + "rPr")
        if properties is None:
            return False
        own = properties.find(W + "vanish")
        if own is not None:
            return own.get(W + "val") not in OFF
        style = properties.find(W + "rStyle")
        return style is not None and self._hides(style.get(W + "val", ""))

    def _hides(self, style: str) -> bool:
        """Tell whether a character style hides its text."""
        if style not in self._hidden:
            found = self._document.styles.element.find(f'{W}style[@{W}styleId="{style}"]/{W}rPr/{W}vanish')
            self._hidden[style] = found is not None and found.get(W + "val") not in OFF
        return self._hidden[style]

    def _rows(self, table: Any) -> Iterator[list[str]]:
        """Yield the rows of a table; a cell that spans several places has its text at the first of them."""
        for row in _children(table, W + "tr"):
            properties = row.find(W + "trPr")
            cells = [""] * _number(properties, "gridBefore", 0)
            for cell in _children(row, W + "tc"):
                own = cell.find(W + "tcPr")
                merged = own.find(W + "vMerge") if own is not None else None
                goes_on = merged is not None and merged.get(W + "val", "continue") == "continue"
                cells.append("" if goes_on else self._cell(cell))
                cells += [""] * (_number(own, "gridSpan", 1) - 1)
            yield cells + [""] * _number(properties, "gridAfter", 0)

    def _cell(self, cell: Any) -> str:
        """Return the text of a cell on one line; a table within it as ``cell, cell; cell, cell``."""
        parts = []
        for item in _children(cell, W + "p", W + "tbl"):
            if item.tag == W + "p":
                parts.append(self._inline(item))
            else:
                rows = [", ".join(filter(None, row)) for row in self._rows(item)]
                parts.append("; ".join(filter(None, rows)))
        return one_line(" ".join(parts))


def _children(holder: Any, *names: str) -> Iterator[Any]:
    """Yield the children of some names, also those within content controls."""
    for item in holder:
        if item.tag in names:
            yield item
        elif item.tag in WRAPPERS:
            yield from _children(item, *names)


def _number(properties: Any, name: str, otherwise: int) -> int:
    found = properties.find(W + name) if properties is not None else None
    value = found.get(W + "val", "") if found is not None else ""
    return min(int(value), WIDEST_SPAN) if value.isdecimal() else otherwise
