"""PDF to pages of text, by PDFium; what no person sees sideways is read sideways, and one broken page is one page."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from finetrail.documents.converted import Pages, fault, title_of
from finetrail.documents.kinds import NotRead
from finetrail.documents.pdf_forms import Form

WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD
NAMED_PAGES = 10  # that a note lists by number
TURNS = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}  # cosine and sine
Box = tuple[float, float, float, float]


def read_pdf(raw: bytes) -> Pages:
    """Read a PDF page by page, with the values of its form fields.

    Raises:
        NotRead: it is encrypted, damaged, or has no text at all.
    """
    import pypdfium2 as pdfium  # type: ignore[import-untyped]

    try:
        document = pdfium.PdfDocument(raw)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == WRONG_PASSWORD or "password" in str(error).lower():
            raise NotRead("encrypted") from error
        cut = "" if b"%%EOF" in raw[-2048:] else "truncated: "
        raise NotRead(f"{cut}PDFium cannot open it ({error})") from error
    left_out: Counter[str] = Counter()
    broken: dict[int, str] = {}
    with document:
        form = Form(document, left_out)
        texts = []
        for number in range(len(document)):
            try:
                texts.append(_page_text(document[number], form, left_out))
            except (pdfium.PdfiumError, ValueError) as error:
                broken[number + 1] = fault(error)
                texts.append("")
        title = title_of(document.get_metadata_value("Title"))
    if not any(text.strip() for text in texts):
        if broken:
            raise NotRead(f"damaged: none of its {len(texts)} pages can be read ({next(iter(broken.values()))})")
        raise NotRead(f"image-only: none of its {len(texts)} pages has a text layer")
    bare = [number for number, text in enumerate(texts, start=1) if not text.strip() and number not in broken]
    notes = [f"no text on {len(bare)} of {len(texts)} pages ({_listed(bare)})"] if bare else []
    if broken:
        cause = next(iter(broken.values()))
        notes.append(f"{len(broken)} of {len(texts)} pages cannot be read ({_listed(broken)}): {cause}")
        left_out["pages that cannot be read"] = len(broken)
    if bare:
        left_out["pages without text"] = len(bare)
    if b"%%EOF" not in raw[-2048:]:
        notes.append("truncated: its end is missing, and it was read as far as it goes")
    return Pages(texts, "none", True, title, notes=tuple(notes), left_out=left_out)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in list(numbers)[:NAMED_PAGES])


def _page_text(page: Any, form: Form, left_out: Counter[str]) -> str:
    try:
        text_page = page.get_textpage()
        try:
            turns = _count_turns(text_page, left_out)
            if set(turns) <= {0} and not page.get_rotation():
                return form.filled_in(page, text_page)
        finally:
            text_page.close()
        sideways = "\n\n".join(text for text in _turned_texts(page, turns) if text.strip())
        return "\n".join(filter(str.strip, (sideways, *form.lines(page))))
    finally:
        page.close()


def _count_turns(text_page: Any, left_out: Counter[str]) -> Counter[int]:
    """Count the characters of a page by the quarter turn that they stand in, and those without a meaning."""
    from pypdfium2 import raw

    turns: Counter[int] = Counter()
    for place in range(text_page.count_chars()):
        if raw.FPDFText_IsGenerated(text_page, place) == 1:
            continue
        turns[_turn(text_page, place)] += 1
        if raw.FPDFText_HasUnicodeMapError(text_page, place) == 1:
            left_out["glyphs without Unicode"] += 1
    return turns


def _turn(text_page: Any, place: int) -> int:
    """Return the quarter turn that is nearest to a character's angle, in degrees against the clock."""
    from pypdfium2 import raw

    angle = raw.FPDFText_GetCharAngle(text_page, place)  # clockwise, in radians
    return -round(math.degrees(angle) / 90) % 4 * 90 if angle > 0 else 0


def _turned_texts(page: Any, turns: Counter[int]) -> Iterable[str]:
    """Yield the text of each direction on a page, the most frequent first, as it reads once it stands upright."""
    from pypdfium2 import raw

    box = page.get_bbox()
    page.set_rotation(0)  # what the page's rotation does is undone with its text's
    turned = 0
    for turn, _ in sorted(turns.items(), key=lambda item: (-item[1], item[0])):
        cosine, sine = TURNS[(turn - turned) % 360]
        for item in page.get_objects(max_depth=1):
            raw.FPDFPageObj_Transform(item, cosine, -sine, sine, cosine, 0, 0)
        turned, box = turn, _turned_box(box, cosine, sine)
        text_page = page.get_textpage()
        try:
            yield text_page.get_text_bounded(*box) if len(turns) == 1 else _upright(text_page, box)
        finally:
            text_page.close()


def _turned_box(box: Box, cosine: int, sine: int) -> Box:
    left, bottom, right, top = box
    corners = [(cosine * x + sine * y, cosine * y - sine * x) for x in (left, right) for y in (bottom, top)]
    (across, up) = zip(*corners, strict=True)
    return min(across), min(up), max(across), max(up)


def _upright(text_page: Any, box: Box) -> str:
    """Join the characters that stand upright within a box, with the white space that PDFium puts between them."""
    from ctypes import c_double

    from pypdfium2 import raw

    left, bottom, right, top = box
    x, y = c_double(), c_double()
    signs: list[str] = []
    between: str | None = None  # white space since the last sign, or a gap where other signs stand
    for place in range(text_page.count_chars()):
        sign = chr(raw.FPDFText_GetUnicode(text_page, place))
        if raw.FPDFText_IsGenerated(text_page, place) == 1:
            between = (between or "") + sign
            continue
        raw.FPDFText_GetCharOrigin(text_page, place, x, y)
        if _turn(text_page, place) or not (left <= x.value <= right and bottom <= y.value <= top):
            between = "\n"
            continue
        if between and signs:
            signs.append("\n" if "\n" in between else between)
        signs.append(sign)
        between = None
    return "".join(signs)
