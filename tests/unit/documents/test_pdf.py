"""PDFs as a person reads them: turned pages, sideways tables, a broken page among good ones, forms."""

from pathlib import Path

import pytest

from finetrail.documents.kinds import NotRead
from finetrail.documents.read import read_document
from finetrail.rows.records import Row
from tests.unit.documents.made_pdf import field, form, lines, pdf

FAULTS = Path(__file__).resolve().parents[2] / "data/faults/pdf"
HARBOUR = """The harbour office opens at seven
in the morning from May until
the end of September. Boats longer
than twelve metres need a permit
which costs forty crowns a week."""
TABLE = [["Berth", "Length", "Price"], ["North pier", "12 m", "forty crowns"], ["South quay", "9 m", "ten crowns"]]
CELLS = [(column * 120.0, row * 16.0, words) for row, cells in enumerate(TABLE) for column, words in enumerate(cells)]
READ = "\n".join(" ".join(row) for row in TABLE)


def read(raw: bytes) -> Row:
    return read_document("a.pdf", raw)


@pytest.mark.parametrize("name", ["rotated.pdf", "sideways_table.pdf"])
def test_a_turned_page_and_turned_text_read_as_they_stand(name: str) -> None:
    assert read((FAULTS / name).read_bytes())["text"] == HARBOUR


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_a_table_reads_row_by_row_whatever_its_direction_and_the_pages(turn: int, rotate: int) -> None:
    assert read(pdf([lines(CELLS, turn)], rotate=rotate))["text"] == READ


def test_a_sideways_table_beside_upright_text_keeps_its_rows() -> None:
    upright = [(0.0, 0.0, "Berths of the season, which are"), (0.0, 14.0, "let from May until September.")]
    text = read(pdf([lines(upright) + "\n" + lines(CELLS, 90)]))["text"]
    for part in (READ, "Berths of the season, which are\nlet from May until September."):
        assert part in text
    assert len(text) == len(READ) + sum(len(words) for *_, words in upright) + 1 + len("\n\n")


def test_turned_words_beyond_the_edge_of_the_page_stay_unread() -> None:
    beyond = lines([(0.0, 600.0, "cut off")], 90)  # below the last line that is shown
    assert read(pdf([lines(CELLS, 90) + "\n" + beyond]))["text"] == READ


@pytest.mark.parametrize(
    ("raw", "pages"),
    [
        ((FAULTS / "broken_page.pdf").read_bytes(), [1, 3]),
        (pdf([None, lines([(0.0, 0.0, "Second page.")]), None, lines([(0.0, 0.0, "Fourth page.")])]), [2, 4]),
    ],
)
def test_a_broken_page_is_noted_and_the_others_are_read(raw: bytes, pages: list[int]) -> None:
    document = read(raw)
    assert [number for start, end, number in document["pages"] if end > start] == pages
    broken = len(document["pages"]) - len(pages)
    assert document["left_out"] == {"pages that cannot be read": broken}
    assert f"{broken} of {len(document['pages'])} pages cannot be read" in document["notes"][0]


def test_a_pdf_of_broken_pages_only_is_refused() -> None:
    with pytest.raises(NotRead, match="damaged: none of its 2 pages can be read"):
        read(pdf([None, None]))


def test_form_values_without_a_label_stand_behind_their_names() -> None:
    text = read((FAULTS / "form.pdf").read_bytes())["text"]
    assert text == "Application form for a mooring\nname: Greta Olsson\namount: 4711 crowns"


def test_form_values_stand_beside_their_labels() -> None:
    labels = [(0.0, 0.0, "Name:"), (0.0, 20.0, "Berth:"), (30.0, 40.0, "I own a boat"), (30.0, 60.0, "I own a dog")]
    fields = [
        field("a", "Tx", (140, 696, 300, 712), "/V(Greta Olsson)"),
        field("b", "Ch", (140, 676, 300, 692), "/Ff 131072/V(North pier)/Opt[(North pier)(South quay)]"),
        field("c", "Btn", (110, 656, 124, 672), "/V/Yes/AS/Yes/AP<</N<</Yes 3 0 R/Off 3 0 R>>>>"),
        field("d", "Btn", (110, 636, 124, 652), "/V/Off/AS/Off/AP<</N<</Yes 3 0 R/Off 3 0 R>>>>"),
        field("e", "Tx", (140, 616, 300, 632), "/Ff 8192/V(secret)"),
        field("f", "Sig", (140, 596, 300, 612), ""),
    ]
    document = read(form(lines(labels), fields))
    assert document["text"] == "Name: Greta Olsson\nBerth: North pier\n[x] I own a boat\nI own a dog"
    assert document["left_out"] == {"form fields: signatures": 1, "passwords in form fields": 1}


def test_a_form_on_a_turned_page_keeps_its_values() -> None:
    raw = form(lines([(0.0, 0.0, "Name:")], 90), [field("owner", "Tx", (90, 150, 110, 300), "/V(Greta Olsson)")])
    assert read(raw)["text"] == "Name:\nowner: Greta Olsson"


def test_signs_without_a_meaning_are_counted() -> None:
    fonts = [
        "<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/DescendantFonts[5 0 R]>>",
        "<</Type/Font/Subtype/CIDFontType2/BaseFont/X/FontDescriptor 6 0 R/DW 500"
        "/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>>>",
        "<</Type/FontDescriptor/FontName/X/Flags 4/FontBBox[0 0 9 9]/ItalicAngle 0/Ascent 9/Descent 0/StemV 1>>",
    ]
    raw = pdf([lines(CELLS) + "\nBT /F2 10 Tf 100 300 Td <00110012> Tj ET"], extra=fonts)
    assert read(raw.replace(b"/F1 3 0 R>>", b"/F1 3 0 R/F2 4 0 R>>"))["left_out"] == {"glyphs without Unicode": 2}
