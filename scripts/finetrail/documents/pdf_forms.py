"""The values of a PDF's form fields, each beside the words that stand for it on the page."""

import ctypes
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

PASSWORD = 1 << 13  # of a text field's flags (ISO 32000-1, table 228)
XFA = (2, 3)  # FORMTYPE_XFA_FULL, FORMTYPE_XFA_FOREGROUND
TICKED = "[x]"
WIDEST_GAP = 300.0  # points between a label and its field


class Value(NamedTuple):
    """What a field says: its name, its value, where it stands (left, bottom, right, top), and if it is a tick."""

    name: str
    text: str
    box: tuple[float, float, float, float]
    is_tick: bool


class Form:
    """The form of a document, which may have none.

    Args:
        document: an open document, none of whose pages has been loaded.
        left_out: counts the fields that are not read.
    """

    def __init__(self, document: Any, left_out: Counter[str]) -> None:
        self._left_out = left_out
        kind = document.get_formtype()
        self._open = bool(kind) and bool(document.init_forms())
        self._handle = document.formenv
        if kind in XFA:
            left_out["XFA forms"] += 1

    def filled_in(self, page: Any, text_page: Any) -> str:
        """Return the text of a page with each value behind its label; what has no label comes last, with its name."""
        values = self._values(page)
        if not values:
            return str(text_page.get_text_bounded())
        signs = [chr(_raw().FPDFText_GetUnicode(text_page, place)) for place in range(text_page.count_chars())]
        boxes = [text_page.get_charbox(place) for place in range(len(signs))]
        last = []
        for value in values:
            place = _label_place(value, signs, boxes)
            if place is None:
                last.append(_line(value))
            elif value.is_tick:
                signs[place] = f"{value.text} {signs[place]}"
            else:
                signs[place] = f"{signs[place]} {value.text}"
        return "\n".join(["".join(signs).rstrip(), *last])

    def lines(self, page: Any) -> list[str]:
        """Return the values of a page, each on a line of its own behind its name."""
        return [_line(value) for value in self._values(page)]

    def _values(self, page: Any) -> list[Value]:
        raw = _raw()
        found = []
        for number in range(raw.FPDFPage_GetAnnotCount(page)):
            annotation = raw.FPDFPage_GetAnnot(page, number)
            if not annotation:
                continue
            try:
                kind = raw.FPDFAnnot_GetSubtype(annotation)
                if kind == raw.FPDF_ANNOT_WIDGET and self._open:
                    found += self._value(annotation)
                elif kind in (raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_FREETEXT):
                    self._left_out["comments"] += 1
            finally:
                raw.FPDFPage_CloseAnnot(annotation)
        return found

    def _value(self, annotation: Any) -> list[Value]:
        raw, form = _raw(), self._handle
        kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
        name = _text(lambda *room: raw.FPDFAnnot_GetFormFieldAlternateName(form, annotation, *room))
        name = name or _text(lambda *room: raw.FPDFAnnot_GetFormFieldName(form, annotation, *room)) or "field"
        if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
            text = TICKED if raw.FPDFAnnot_IsChecked(form, annotation) else ""
        elif kind in (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
            text = _text(lambda *room: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *room)).strip()
            if text and raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & PASSWORD:
                self._left_out["passwords in form fields"] += 1
                return []
        else:
            what = "signatures" if kind == raw.FPDF_FORMFIELD_SIGNATURE else "buttons"
            self._left_out[f"form fields: {what}"] += 1
            return []
        if not text:
            return []
        box = raw.FS_RECTF()
        raw.FPDFAnnot_GetRect(annotation, box)
        edges = (box.left, min(box.bottom, box.top), box.right, max(box.bottom, box.top))
        return [Value(name, text, edges, text == TICKED)]


def _raw() -> Any:
    from pypdfium2 import raw  # type: ignore[import-untyped]

    return raw


def _line(value: Value) -> str:
    return f"{value.name}: {value.text}"


def _text(ask: Callable[[Any, int], int]) -> str:
    """Ask PDFium for a text: for its length first, and then with room for it."""
    length = ask(None, 0)
    if length <= 2:
        return ""
    room = (ctypes.c_ushort * (length // 2))()
    ask(room, length)
    return bytes(room).decode("utf-16-le", "replace").rstrip("\0")


def _label_place(value: Value, signs: list[str], boxes: list[tuple[float, float, float, float]]) -> int | None:
    """Return which character a value stands beside: the nearest one on its line to the left, of a tick to the right."""
    left, bottom, right, top = value.box
    best, gap = None, WIDEST_GAP
    for place, (start, low, end, high) in enumerate(boxes):
        middle = (low + high) / 2
        if signs[place].isspace() or not bottom <= middle <= top:
            continue
        away = start - right if value.is_tick else left - end
        if -1 <= away < gap:
            best, gap = place, away
    return best
