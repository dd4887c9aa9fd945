"""Files of every kind become text; what gives none says why; nothing that is hostile gets further than its process."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from finetrail.documents.isolate import FileBounds, Opened, Place, read_all
from finetrail.documents.kinds import NotRead
from finetrail.documents.read import read_document
from finetrail.isolated import Bounds, Failed, Worker
from finetrail.rows.records import Row, sha256_text
from tests.unit.documents import made

ODD = Path(__file__).resolve().parents[3] / "data/documents/files/encodings"
ZEN = (ODD / "UPPER.TXT").read_text(encoding="utf-8")
MEGABYTE = 1 << 20
BOUNDS = FileBounds(100 * MEGABYTE, 60, 2000 * MEGABYTE)


def read(path: Path) -> Row:
    return read_document(path.name, path.read_bytes())


def refused(path: Path) -> str:
    with pytest.raises(NotRead) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("utf16be_bom.txt", "utf-16-be"), ("utf16le_nobom.txt", "utf-16-le"), ("utf32.txt", "utf-32-le"),
        ("nul_bytes.txt", "utf-8"), ("zero_width.txt", "utf-8"), ("nbsp_softhyphen.txt", "utf-8"),
        ("wrong_extension.pdf", "utf-8"), ("UPPER.TXT", "utf-8"),
    ],
)  # fmt: skip
def test_one_text_comes_out_of_all_its_encodings(name: str, encoding: str) -> None:
    document = read(ODD / name)
    assert document["text"] == ZEN
    assert document["encoding"] == encoding


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("latin1.txt", "À côté: garçon, naïve, Zürich, Ångström, señor."),
        ("cp1252.txt", "“Smart quotes”, ‘single’, en–dash, em—dash, € sign"),  # noqa: RUF001
        ("invalid_utf8_mixed.txt", "broken été tail"),
    ],
)
def test_western_legacy_text_is_read_as_what_most_of_it_is(name: str, words: str) -> None:
    assert words in read(ODD / name)["text"]


@pytest.mark.parametrize(
    ("name", "encoding"), [("koi8r.txt", "koi8-r"), ("shift_jis.txt", "cp932"), ("gb18030.txt", "gb18030")]
)
def test_other_legacy_encodings_are_told_apart(name: str, encoding: str) -> None:
    raw, document = (ODD / name).read_bytes(), read(ODD / name)
    assert document["text"] == raw.decode(encoding).replace("\r\n", "\n")
    assert document["found_by"] == "guess"


def test_what_was_normalised_is_counted() -> None:
    assert read(ODD / "crlf.txt")["normalised"] == {"windows newlines": (ODD / "crlf.txt").read_bytes().count(b"\r\n")}
    assert read(ODD / "nul_bytes.txt")["normalised"] == {
        "nul characters": (ODD / "nul_bytes.txt").read_bytes().count(0)
    }
    assert set(read(ODD / "nbsp_softhyphen.txt")["normalised"]) == {"no-break spaces", "soft hyphens"}
    assert read(ODD / "crlf.txt")["text"] == read(ODD / "cr_only.txt")["text"]
    assert "wrongly named" in read(ODD / "wrong_extension.pdf")["notes"][0]


def test_joiners_stay_where_a_script_needs_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("می\u200cخواهم auf\u200clage \U0001f469\u200d\U0001f4bb", encoding="utf-8")  # noqa: RUF001
    assert read(path)["text"] == "می\u200cخواهم auflage \U0001f469\u200d\U0001f4bb"  # noqa: RUF001


def test_form_feeds_are_page_breaks() -> None:
    document = read(ODD / "formfeed_pages.txt")
    parts = (ODD / "formfeed_pages.txt").read_text(encoding="utf-8").split("\f")
    assert [document["text"][start:end] for start, end, _ in document["pages"]] == parts
    assert [number for *_, number in document["pages"]] == list(range(1, len(parts) + 1))


def test_a_word_document_keeps_headings_and_order(tmp_path: Path) -> None:
    document = read(made.docx(tmp_path / "a.docx"))
    assert document["title"] == "A report"
    assert [(level, title) for _, _, level, title in document["headings"]] == [(1, "First part"), (2, "A detail")]
    places = [document["text"].index(part) for part in ("First part", made.TEXT, "| left | right |", "after the table")]
    assert places == sorted(places)


def test_slides_are_pages(tmp_path: Path) -> None:
    document = read(made.pptx(tmp_path / "a.pptx"))
    pages = [document["text"][start:end] for start, end, _ in document["pages"]]
    assert len(pages) == 2
    assert all(made.TEXT in page for page in pages)
    assert "said, not shown" in pages[1]
    assert [title for *_, title in document["headings"]] == ["Slide 1", "Slide 2"]


def test_a_book_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    document = read(made.epub(tmp_path / "a.epub"))
    assert document["title"] == "The Book"
    assert document["text"].index("It is one.") < document["text"].index("It is two.")
    assert document["notes"] == ["1 chapters of its spine are missing"]


def test_a_wrongly_named_archive_is_read_as_what_it_is(tmp_path: Path) -> None:
    document = read(made.docx(tmp_path / "a.pdf"))
    assert (document["kind"], document["notes"]) == ("docx", ["wrongly named: .pdf, but it is docx; read as docx"])


@pytest.mark.parametrize(
    ("inside", "read_as"),
    [
        ("<w:sdt><w:sdtPr/><w:sdtContent><w:p><w:r><w:t>box</w:t></w:r></w:p></w:sdtContent></w:sdt>", "box"),
        ("<w:p><w:sdt><w:sdtContent><w:r><w:t>in a line</w:t></w:r></w:sdtContent></w:sdt></w:p>", "in a line"),
        ("<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText/></w:r></w:del></w:p>", "new"),
    ],
)  # fmt: skip
def test_content_controls_and_tracked_insertions_are_read(inside: str, read_as: str, tmp_path: Path) -> None:
    path, name = made.docx(tmp_path / "a.docx"), "word/document.xml"
    made.packed_anew(path, {name: made.member(path, name).replace("<w:sectPr", f"{inside}<w:sectPr", 1)})
    assert read(path)["text"].endswith(f"after the table\n\n{read_as}")


def test_a_chapter_beside_the_folder_of_the_package_is_found(tmp_path: Path) -> None:
    path, package = made.epub(tmp_path / "a.epub"), made.PACKAGE.replace('"one.xhtml"', '"../Text/one.xhtml"')
    moved = made.member(path, "OEBPS/one.xhtml").replace("It is one", "It was moved")
    made.packed_anew(path, {"OEBPS/book.opf": package, "Text/one.xhtml": moved})
    assert "It was moved." in read(path)["text"]


def test_a_book_with_encrypted_chapters_is_refused_and_one_with_encrypted_fonts_is_read(tmp_path: Path) -> None:
    assert refused(made.locked_epub(tmp_path / "a.epub", "OEBPS/two.xhtml")) == "encrypted"
    assert "It is two." in read(made.locked_epub(tmp_path / "b.epub", "OEBPS/font.otf"))["text"]


@pytest.mark.parametrize("text", ["BM25 is a ranking function.", "BMW", "MM and II", "\x1b[32mok\x1b[0m\n" * 9])
def test_a_text_that_begins_like_something_else_is_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert read(tmp_path / "a.md")["kind"] == "md"


def test_a_pdf_behind_a_few_other_bytes_is_a_pdf(tmp_path: Path) -> None:
    path = made.picture_pdf(tmp_path / "a.pdf")
    path.write_bytes(b"HTTP/1.1 200 OK\r\n\r\n" + path.read_bytes())
    assert refused(path).startswith("image-only")


@pytest.mark.parametrize(
    ("label", "raw", "encoding", "text"),
    [
        ("iso-8859-1", b"\x93yes\x94\x85 it\x92s 5\x80, d\xe9j\xe0", "cp1252", "“yes”… it’s 5€, déjà"),  # noqa: RUF001
        ("gb2312", "朱镕基说了很多的话".encode("gbk"), "gb18030", "朱镕基说了很多的话"),
        ("iso-8859-1", b"\x81 stays \xe9", "iso8859-1", "stays é"),
    ],
)  # fmt: skip
def test_a_declared_encoding_is_read_as_browsers_read_it(
    label: str, raw: bytes, encoding: str, text: str, tmp_path: Path
) -> None:
    page = f'<html><head><meta charset="{label}"></head><body><p>'.encode() + raw + b" in a page.</p></body></html>"
    (tmp_path / "a.html").write_bytes(page)
    document = read(tmp_path / "a.html")
    assert (document["encoding"], document["found_by"]) == (encoding, "declaration")
    assert text in document["text"]


def _bytes(content: bytes, name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _cut(folder: Path) -> Path:
    path = made.docx(folder / "a.docx")
    path.write_bytes(path.read_bytes()[:-2000])
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_bytes(b"", "a.md"), "empty"),
        (_bytes(b" \n\t\0", "a.txt"), "nothing but white space"),
        (lambda folder: made.encrypted_pdf(folder / "a.pdf"), "encrypted"),
        (_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "a.docx"), "encrypted"),
        (lambda folder: made.picture_pdf(folder / "a.pdf"), "image-only"),
        (_cut, "truncated or damaged archive"),
        (_bytes(b"%PDF-1.7\n1 0 obj\n<</Type/Catalog", "a.pdf"), "truncated"),
        (_bytes(b"\x89PNG\r\n\x1a\n0000", "a.txt"), "a picture"),
        (_bytes(b"BM" + bytes([70, 4, 0, 0]) + bytes(4) + bytes(range(256)), "a.txt"), "a picture"),
        (_bytes(random.Random(0).randbytes(9000), "a.txt"), "binary, or in an unknown encoding"),
        (_bytes(random.Random(0).randbytes(9000), "a.pdf"), "binary, or in an unknown encoding"),
        (_bytes(b"{\\rtf1\\ansi Hello}", "a.docx"), "RTF: save it"),
        (_bytes(b"a,b\n1,2\n", "a.csv"), "of no kind that can be read (.csv)"),
        (lambda folder: made.bomb(folder / "a.docx"), "unpacks to 33554432 bytes, which no document needs"),
        (lambda folder: made.giant(folder / "a.docx"), "unpacks to 1100000000 bytes, which no document needs"),
    ],
    ids=["empty", "white", "locked pdf", "locked docx", "image", "cut docx", "cut pdf", "picture", "bitmap", "binary",
         "binary pdf", "rtf", "csv", "bomb", "giant"],
)  # fmt: skip
def test_what_gives_no_text_says_why(make: Callable[[Path], Path], reason: str, tmp_path: Path) -> None:
    assert reason in refused(make(tmp_path))


def test_entities_that_grow_are_refused(tmp_path: Path) -> None:
    assert "amplification" in refused(made.laughing_epub(tmp_path / "a.epub"))


def test_entities_name_no_local_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    entities = f'<!ENTITY file SYSTEM "{secret.as_uri()}">'
    document = read(made.epub_with(tmp_path / "a.epub", entities, "The &file; Book"))
    assert document["title"] == "The Book"
    assert "SECRET" not in document["text"]


def opened(path: Path, bounds: FileBounds = BOUNDS) -> Opened:
    (found,) = read_all([Place(str(path.parent), path.name)], bounds, 1)
    return found


def test_a_file_that_needs_too_much_memory_fails_alone(tmp_path: Path) -> None:
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    with large.open("wb") as stream:
        for _ in range(300):
            stream.write(b"word " * (MEGABYTE // 5))
    small.write_text(made.TEXT)
    places = [Place(str(tmp_path), path.name) for path in (large, small)]
    failed, good = read_all(places, FileBounds(1000 * MEGABYTE, 120, 400 * MEGABYTE), 1)
    assert isinstance(failed.outcome, Failed)
    assert "memory" in failed.outcome.reason or "crashed" in failed.outcome.reason
    assert (failed.size, len(failed.sha256 or "")) == (large.stat().st_size, 64), "what could not be read is hashed too"
    assert isinstance(good.outcome, dict)
    assert good.outcome["text"] == made.TEXT


def wait_for_ever(item: str) -> str:
    """Stands for a parser that never ends over some items."""
    if item == "endless":
        signal.pause()
    return item


def test_an_item_that_never_ends_fails_alone() -> None:
    worker = Worker(wait_for_ever, Bounds(0.5, BOUNDS.memory_bytes))
    try:
        assert worker.run("endless") == Failed("not read within 0.5 s")
        assert worker.run("short") == "short"
    finally:
        worker.close()


def test_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")  # nobody writes to it
    assert opened(tmp_path / "pipe.txt").outcome == Failed("no regular file")


def test_a_link_that_took_the_place_of_a_file_or_a_folder_is_not_followed(tmp_path: Path) -> None:
    secret, folder = tmp_path / "elsewhere", tmp_path / "given"
    secret.mkdir()
    folder.mkdir()
    (secret / "a.txt").write_text("SECRET")
    (folder / "a.txt").symlink_to(secret / "a.txt")
    (folder / "inner").symlink_to(secret)
    found = read_all([Place(str(folder), "a.txt"), Place(str(folder), "inner/a.txt")], BOUNDS, 1)
    assert [one.outcome for one in found] == [Failed("a link took its place after it was found")] * 2


def test_what_was_hashed_is_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(made.TEXT)
    found = opened(tmp_path / "a.txt")
    assert (found.size, found.sha256) == (len(made.TEXT), sha256_text(made.TEXT))


def test_files_come_back_in_their_order(tmp_path: Path) -> None:
    names = [f"{number:02}.txt" for number in range(20)]
    for name in names:
        (tmp_path / name).write_text("" if name == "07.txt" else name)
    found = list(read_all([Place(str(tmp_path), name) for name in names], BOUNDS, 2))
    texts = [None if isinstance(one.outcome, Failed) else one.outcome["text"] for one in found]
    assert texts == [None if name == "07.txt" else name for name in names]
