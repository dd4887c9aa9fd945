"""Small PDFs written by hand: pages of lines in any direction, broken pages, and forms."""

from collections.abc import Callable, Sequence

TURNS = {0: "1 0 0 1", 90: "0 1 -1 0", 180: "-1 0 0 -1", 270: "0 -1 1 0"}
Cell = tuple[float, float, str]  # along the line and down the page from the first sign, in points, and its words


def pdf(
    pages: Sequence[str | None], *, rotate: int = 0, extra: Sequence[str] = (), catalog: str = "", page: str = ""
) -> bytes:
    """Write a PDF.

    Args:
        pages: the content stream of each page; None for one that is missing.
        rotate: how each page is turned when it is shown.
        extra: further objects; the first has the number 4.
        catalog, page: entries of the catalog, and of every page.
    """
    objects = [f"<</Type/Catalog/Pages 2 0 R{catalog}>>", "", "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", *extra]
    kids = []
    for content in pages:
        if content is None:
            kids.append("99 0 R")
            continue
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Rotate {rotate}/Contents {number + 1} 0 R{page}"
            "/Resources<</Font<</F1 3 0 R>>>>>>"
        )
        objects.append(f"<</Length {len(content)}>>\nstream\n{content}\nendstream")
    objects[1] = f"<</Type/Pages/Kids[{' '.join(kids)}]/Count {len(kids)}>>"
    body, places = "%PDF-1.4\n", []
    for number, held in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{held}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"trailer\n<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode("latin-1")


def lines(cells: Sequence[Cell], turn: int = 0) -> str:
    """Write words in one of four directions, from near the corner where such text begins."""
    at: Callable[[float, float], tuple[float, float]] = {
        0: lambda along, down: (100 + along, 700 - down),
        90: lambda along, down: (100 + down, 100 + along),
        180: lambda along, down: (500 - along, 100 + down),
        270: lambda along, down: (500 - down, 700 - along),
    }[turn]
    shown = [(*at(along, down), words) for along, down, words in cells]
    return "\n".join(f"BT /F1 10 Tf {TURNS[turn]} {x} {y} Tm ({words}) Tj ET" for x, y, words in shown)


def field(name: str, kind: str, box: tuple[int, int, int, int], rest: str) -> str:
    """Write a form field that is its own widget."""
    return f"<</Type/Annot/Subtype/Widget/FT/{kind}/T({name})/Rect[{' '.join(map(str, box))}]/DA(/F1 10 Tf 0 g){rest}>>"


def form(content: str, fields: Sequence[str]) -> bytes:
    """Write a page with a form."""
    names = " ".join(f"{number} 0 R" for number in range(4, 4 + len(fields)))
    catalog = f"/AcroForm<</Fields[{names}]/DR<</Font<</F1 3 0 R>>>>/DA(/F1 10 Tf 0 g)>>"
    return pdf([content], extra=fields, catalog=catalog, page=f"/Annots[{names}]")
