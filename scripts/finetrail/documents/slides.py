"""Presentations to Markdown: each slide is a page, its title a heading, then its texts, tables and notes."""

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

from finetrail.documents.converted import PASSED_ON, Pages, fault, one_line, title_of

EQUATION = "{http://schemas.openxmlformats.org/officeDocument/2006/math}oMath"
DEEPEST = 20  # groups within groups


def read_pptx(raw: bytes) -> Pages:
    """Read slides; one that breaks leaves an empty page."""
    from pptx import Presentation

    presentation = Presentation(io.BytesIO(raw))
    left_out: Counter[str] = Counter()
    texts, notes = [], []
    for number, slide in enumerate(presentation.slides, start=1):
        try:
            texts.append(_slide_text(slide, left_out))
        except PASSED_ON:
            raise
        except Exception as error:  # a damaged slide may break the library in any way; the others are read
            texts.append("")
            left_out["slides that cannot be read"] += 1
            notes.append(f"slide {number} cannot be read ({fault(error)})")
    title = title_of(presentation.core_properties.title)
    return Pages(texts, "md", True, title, notes=tuple(notes), left_out=left_out)


def _slide_text(slide: Any, left_out: Counter[str]) -> str:
    title = slide.shapes.title
    blocks = [f"# {one_line(title.text_frame.text)}"] if title is not None else []
    for shape in slide.shapes:
        if title is None or shape.shape_id != title.shape_id:
            blocks += _shape_texts(shape, left_out, 0)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        blocks.append(slide.notes_slide.notes_text_frame.text)
    return "\n\n".join(block for block in blocks if block.strip(" #"))


def _shape_texts(shape: Any, left_out: Counter[str], depth: int) -> Iterator[str]:
    if shape.has_text_frame:
        if equations := sum(1 for _ in shape.element.iter(EQUATION)):
            left_out["equations"] += equations
        yield "\n".join(paragraph.text for paragraph in shape.text_frame.paragraphs)
    elif getattr(shape, "has_table", False):
        rows = [[one_line(cell.text) for cell in row.cells] for row in shape.table.rows]
        yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
    elif hasattr(shape, "shapes") and depth < DEEPEST:
        for inner in shape.shapes:
            yield from _shape_texts(inner, left_out, depth + 1)
    elif getattr(shape, "has_chart", False):
        left_out["charts"] += 1
    elif shape.element.tag.endswith(("}pic", "}graphicFrame")):
        left_out["pictures and drawings"] += 1
