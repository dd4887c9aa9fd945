"""Documents that lost something silently: what they give, each kind with a second one of its own."""

from pathlib import Path

import pytest

from finetrail.documents.read import read_document
from finetrail.documents.structure import front_matter_end
from finetrail.rows.records import Row
from tests.unit.documents import made

FAULTS = Path(__file__).resolve().parents[2] / "data/faults"
SENTENCE = (
    "The harbour office opens at {hour} in the morning from May until the end of September, and every boat pays. "
)
PROSE = "".join(f"<p>{SENTENCE.format(hour=hour)}</p>" for hour in ("six", "seven", "eight", "nine"))


def read(path: Path) -> Row:
    return read_document(path.name, path.read_bytes())


def html(body: str, head: str = "") -> Row:
    page = f"<!doctype html><html><head><title>Rules</title>{head}</head><body>{body}</body></html>"
    return read_document("a.html", page.encode())


def titles(document: Row) -> list[tuple[int, str]]:
    return [(level, title) for _, _, level, title in document["headings"]]


def word(path: Path, inside: str) -> Row:
    """Read a Word document whose body ends with some XML."""
    made.docx(path)
    body = made.member(path, "word/document.xml").replace("<w:sectPr", f"{inside}<w:sectPr", 1)
    made.packed_anew(path, {"word/document.xml": body})
    return read(path)


def last_block(document: Row) -> str:
    return str(document["text"].split("after the table\n\n")[-1])


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*parts: str) -> str:
    return f"<w:p>{''.join(parts)}</w:p>"


def test_a_page_without_a_main_element_reads_as_one_with_it() -> None:
    with_main, without = (
        read(FAULTS / "html" / name) for name in ("same_in_article_is_fine.html", "table_and_list.html")
    )
    assert without["text"] == with_main["text"]
    assert titles(without) == [(1, "Chapter One"), (2, "Rules for dogs")]
    assert without["left_out"] == {}


@pytest.mark.parametrize(
    "body",
    [
        f"<header><h1>Chapter</h1></header><main><h2>Rules</h2>{PROSE}</main>",
        f"<h1>Chapter</h1><main><h2>Rules</h2>{PROSE}</main>",
        f"<main><header><h1>Chapter</h1></header><h2>Rules</h2>{PROSE}</main>",
        f"<main><h1><a href='#c'>Chapter</a></h1><a href='#r'><h2>Rules</h2></a>{PROSE}</main>",
        f"<header><h1>Chapter</h1></header><h2><a href='#r'>Rules</a></h2>{PROSE}",
        f"<div><h1>Chapter</h1></div><div><h2>Rules</h2>{PROSE}</div>",
        "<h1>Chapter</h1><h2>Rules</h2><p>Short.</p>",
    ],
    ids=["header before main", "before main", "header in main", "links", "no main", "divs", "short"],
)
def test_headings_stay_wherever_a_page_has_them(body: str) -> None:
    document = html(f"<nav><h3>Menu</h3><a href='/'>Home</a></nav>{body}<footer><h3>About us</h3></footer>")
    assert [title for title in titles(document) if title[0] < 3] == [(1, "Chapter"), (2, "Rules")]
    assert document["left_out"] == {}


def test_a_heading_that_the_main_text_lacks_is_counted_and_named() -> None:
    document = html(f"<main><h1>Chapter</h1>{PROSE}</main><div class='related'><h2>Read on</h2><p>More.</p></div>")
    assert document["left_out"] == {"headings": 1}
    assert document["notes"] == ["1 of 2 headings are not in the main text: 'Read on'"]


def test_code_is_kept_to_the_character_and_prose_has_no_backslashes() -> None:
    text = read(FAULTS / "html/code.html")["text"]
    assert "```\ngrep '\\*' file\\_name\n\nfoo: \\_bar\n```" in text
    assert text.endswith("Write <tag> here, and a\\_b.")


def test_code_of_any_shape_is_kept_to_the_character() -> None:
    code = "a = '&lt;b&gt;'\n\n\n    if  x:\n\ty[0]  # `` and ```\n  z\\_"
    document = html(
        f"<article><h1>Code</h1>{PROSE}<ul><li>Thus: <pre>{code}</pre></li></ul><pre>one_line[0]</pre></article>"
    )
    plain = code.replace("&lt;", "<").replace("&gt;", ">")
    assert f"````\n{plain}\n````" in document["text"] and "```\none_line[0]\n```" in document["text"]
    assert [document["text"][start:end].strip("`\n") for start, end in document["code"]] == [plain, "one_line[0]"]


def test_code_outside_the_main_text_is_counted() -> None:
    document = html(f"<main>{PROSE}</main><footer><pre>lost = 1\nlost = 2</pre></footer>")
    assert document["left_out"] == {"code blocks": 1}


@pytest.mark.parametrize("name", ["charset_utf16_meta.html", "charset_utf16_meta_even.html"])
def test_a_page_that_calls_itself_wide_is_read_nevertheless(name: str) -> None:
    document = read(FAULTS / "html" / name)
    assert "Un café très serré coûte deux euros" in document["text"]
    assert document["encoding"] == "cp1252"


@pytest.mark.parametrize(
    ("label", "raw", "text"),
    [
        ("unicode", "Größe und Maß".encode("cp1252"), "Größe und Maß"),
        ("UTF-16BE", "Größe und Maß".encode(), "Größe und Maß"),
        ("x-sjis", "東京の港は七時に開く".encode("cp932"), "東京の港は七時に開く"),
        ("x-user-defined", b"caf\xe9", "café"),
        ("iso-8859-8-i", "שלום לכולם".encode("iso8859-8"), "שלום לכולם"),
        ("ks_c_5601-1987", "항구는 일곱 시에".encode("cp949"), "항구는 일곱 시에"),
    ],
)  # fmt: skip
def test_charset_labels_are_those_of_the_html_standard(label: str, raw: bytes, text: str) -> None:
    page = f'<html><head><meta charset="{label}"></head><body><p>'.encode() + raw + b"</p></body></html>"
    assert text in read_document("a.html", page)["text"]


def test_a_small_book_is_markdown() -> None:
    assert read(FAULTS / "epub/small.epub")["text"] == (
        "# Chapter 1\n\nThe harbour opens at seven.\n\nShort.\n\n# Chapter 2\n\nDogs stay on the north pier.[1]\n\n"
        "1. Except guide dogs.\n\n| Mon | closed |\n\n```\nx = 1\ny = 2\n```"
    )


def test_a_chapter_keeps_lists_tables_in_tables_and_lines(tmp_path: Path) -> None:
    chapter = (
        "<html xmlns='http://www.w3.org/1999/xhtml'><head><title>no text</title></head><body><h2>A <em>list</em></h2>"
        "<ol><li>first<ul><li>inner</li></ul></li><li><p>second</p></li></ol><blockquote><p>said</p></blockquote>"
        "<table><caption>Hours</caption><tr><th>Day</th><td><table><tr><td>Mon</td><td>closed</td></tr></table></td></tr>"
        "</table><p>one<br/>two</p><p style='display:none'>unseen</p><p><img src='a.png' alt=''/></p>"
        "x<sup>2</sup></body></html>"
    )
    path = made.packed_anew(made.epub(tmp_path / "a.epub"), {"OEBPS/two.xhtml": chapter})
    document = read(path)
    assert document["text"].split("It is one.\n\n")[1] == (
        "## A list\n\n1. first\n   - inner\n2. second\n\n> said\n\nHours\n\n| Day | Mon, closed |\n\none\ntwo\n\nx2"
    )
    assert document["left_out"] == {"chapters": 1, "hidden passages": 1, "pictures": 1}


def test_a_broken_chapter_costs_itself_only(tmp_path: Path) -> None:
    deep = "<html><body>" + "<div>" * 400 + "too deep" + "</div>" * 400 + "</body></html>"
    document = read(made.packed_anew(made.epub(tmp_path / "a.epub"), {"OEBPS/two.xhtml": deep}))
    assert "It is one." in document["text"]
    assert document["left_out"] == {"chapters": 2}  # one is missing, too
    assert document["notes"][1].startswith("1 chapters cannot be read (")


def test_a_chapter_that_is_no_xml_is_read_as_html(tmp_path: Path) -> None:
    loose = "<html><body><h1>Loose<p>The pier &amp; the <b>quay&nbsp;<br>are open</body>"
    document = read(made.packed_anew(made.epub(tmp_path / "a.epub"), {"OEBPS/two.xhtml": loose}))
    assert "# Loose" in document["text"] and "The pier & the quay\nare open" in document["text"]


def test_a_table_within_a_cell_is_read() -> None:
    assert read(FAULTS / "docx/nested_table.docx")["text"] == (
        "Before the table.\n\n| outer | Monday, closed; Tuesday, open at nine |"
    )


def test_equations_and_fields_are_read() -> None:
    assert read(FAULTS / "docx/math_fields.docx")["text"] == (
        "The area is A=2πr in square metres.\n\nSee Section 4.2 for more.\n\nnon-breaking\nnext line\ttabbed"
    )


def test_an_equation_is_written_on_one_line(tmp_path: Path) -> None:
    equation = (
        "<m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
        "<m:r><m:t>=</m:t></m:r><m:rad><m:deg/><m:e><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>n</m:t>"
        "</m:r></m:sup></m:sSup></m:e></m:rad><m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub><m:r><m:t>i=1</m:t>"
        "</m:r></m:sub><m:sup><m:r><m:t>n</m:t></m:r></m:sup><m:e><m:d><m:e><m:r><m:t>i</m:t></m:r></m:e></m:d></m:e>"
        "</m:nary></m:oMath>"
    )
    assert last_block(word(tmp_path / "a.docx", paragraph(equation))) == "(a+b)/2=√(x^n)∑_(i=1)^n (i)"


def test_merged_and_missing_cells_keep_their_columns(tmp_path: Path) -> None:
    def cell(text: str, properties: str = "") -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(run(text))}</w:tc>"

    wide, tall, below = '<w:gridSpan w:val="2"/>', '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    beside = "<w:trPr><w:gridBefore w:val='1'/><w:gridAfter w:val='1'/></w:trPr>"
    rows = (
        f"<w:tr>{cell('wide', wide)}{cell('c')}</w:tr><w:tr>{cell('tall', tall)}{cell('b1')}{cell('c1')}</w:tr>"
        f"<w:tr>{cell('', below)}{cell('b2')}{cell('c2')}</w:tr><w:tr>{beside}{cell('b3')}</w:tr>"
    )
    assert last_block(word(tmp_path / "a.docx", f"<w:tbl>{rows}</w:tbl>")) == (
        "| wide |  | c |\n| tall | b1 | c1 |\n|  | b2 | c2 |\n|  | b3 |  |"
    )


def test_what_a_word_document_hides_or_draws_is_counted(tmp_path: Path) -> None:
    box = "<w:pict><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></w:pict>"
    inside = paragraph(
        run("seen "), run("unseen", "<w:vanish/>"), run("shown", '<w:vanish w:val="0"/>'), f"<w:r>{box}</w:r>",
        "<w:r><w:footnoteReference w:id='1'/></w:r><w:r><w:drawing/></w:r>",
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>",
    )  # fmt: skip
    document = word(tmp_path / "a.docx", inside)
    assert last_block(document) == "seen shown"
    assert document["left_out"] == {
        "deleted passages": 1, "footnotes": 1, "hidden passages": 1, "pictures and drawings": 1, "text boxes": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "front",
    [
        "---\ntitle: A\ntags: [x]\n---\n", "--- \ntitle: A \n---\t\n", "---\ntitle: A\n...\n", "\n---\ntitle: A\n---\n",
        "---\n# no heading\ntitle: A\n---\n", "---\ntitle: A\nlist:\n- b\n\ntext: |\n  # no heading\n---\n",
        '+++\ntitle = "A"\n[params]\n# no heading\n+++\n', '{\n  "title": "A",\n  "x": {"# no heading": 1}\n}\n',
    ],
)  # fmt: skip
def test_front_matter_of_every_common_form_is_no_text(front: str) -> None:
    document = read_document("a.md", f"{front}\n# Real\n\ntext\n".encode())
    assert (titles(document), document["title"]) == ([(1, "Real")], "A")


@pytest.mark.parametrize(
    "text",
    [
        "---\n\n# One\n\ntext\n\n---\n\n# Two\n",
        "---\n# One\n\nSome prose.\n\n---\n\n# Two\n",
        "---\nProse.\n\n# One\n\n---\n# Two\n",
    ],
)
def test_a_rule_on_the_first_line_opens_no_front_matter(text: str) -> None:
    assert [title for _, title in titles(read_document("a.md", text.encode()))] == ["One", "Two"]


def test_front_matter_is_found_in_linear_time() -> None:
    for text in ("---\n" + "a: b\n" * 200_000, "---\na:\n" + "\n" * 200_000, "+++\n" * 200_000, '{"a":' * 50_000):
        assert front_matter_end(text) == 0 or text.startswith("+++")


def test_a_slide_that_breaks_costs_itself_only(tmp_path: Path) -> None:
    path = made.pptx(tmp_path / "a.pptx")
    slide = made.member(path, "ppt/slides/slide2.xml")
    made.packed_anew(
        path, {"ppt/slides/slide2.xml": slide.replace("<p:cSld", "<p:wrong", 1).replace("</p:cSld", "</p:wrong", 1)}
    )
    document = read(path)
    assert "Slide 1" in document["text"]
    assert document["left_out"] == {"slides that cannot be read": 1}


def test_pictures_of_slides_are_counted(tmp_path: Path) -> None:
    from PIL import Image
    from pptx import Presentation

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    path = made.pptx(tmp_path / "a.pptx")
    presentation = Presentation(str(path))
    presentation.slides[0].shapes.add_picture(str(tmp_path / "a.png"), 0, 0)
    presentation.save(str(path))
    assert read(path)["left_out"] == {"pictures and drawings": 1}
