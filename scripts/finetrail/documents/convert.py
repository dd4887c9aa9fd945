"""One file to pages of text: plain kinds decoded, the others by the library that knows them best."""

import io
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from finetrail.documents.decode import Decoded, decode, share_of_signs
from finetrail.documents.kinds import NotRead

LONGEST_TITLE = 300
META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})|encoding=\"([\w.:-]{1,40})\"", re.I)
HEADING_STYLE = re.compile(r"^heading (\d)$", re.I)
ESCAPED = re.compile(r"\\([_*])")  # the text is to be read, not rendered
SPACE = re.compile(r"\s+")
EPUB_CONTAINER = "META-INF/container.xml"
EPUB_ENCRYPTION = "META-INF/encryption.xml"
WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD
MOST_SIGNS = 0.05  # share of control characters, and of what cannot be decoded, that no text has
# What stands around paragraphs and runs, and hides them from python-docx: content controls, tracked insertions.
WRAPPERS = ("sdt", "sdtContent", "ins", "moveTo", "smartTag", "customXml")


class Pages(NamedTuple):
    """The text of a file, in one or several pages (or slides), in the `markup` of md, rst or none."""

    texts: list[str]
    markup: str
    numbered: bool
    title: str = ""
    encoding: Decoded | None = None
    notes: tuple[str, ...] = ()


def read_text(raw: bytes, markup: str) -> Pages:
    """Read a plain text; form feeds are page breaks."""
    decoded = readable(decode(raw))
    texts = decoded.text.split("\f")
    return Pages(texts, markup, len(texts) > 1, encoding=decoded._replace(text=""))


def readable(decoded: Decoded) -> Decoded:
    """Pass a text on.

    Raises:
        NotRead: so much of it is no character that it was never a text, or is in an encoding that cannot be told.
    """
    share = share_of_signs(decoded.text)
    if share > MOST_SIGNS:
        raise NotRead(f"binary, or in an unknown encoding: {share:.0%} of it are no characters of a text")
    return decoded


def read_html(raw: bytes) -> Pages:
    """Read a page: its main text by trafilatura, as Markdown with headings, lists, code and tables."""
    own = META_CHARSET.search(raw[:2048])
    named = (own[1] or own[2]).decode("ascii") if own else None
    decoded = readable(decode(raw, named))
    title, text = html_text(decoded.text)
    return Pages([text], "md", False, title, decoded._replace(text=""))


def html_text(source: str) -> tuple[str, str]:
    """Return title and text of an HTML source; where no main text is found, all of its text."""
    from trafilatura import extract, html2txt
    from trafilatura.metadata import extract_title
    from trafilatura.utils import load_html

    tree = load_html(source)
    if tree is None:
        return "", ""
    title = SPACE.sub(" ", extract_title(tree) or "").strip()
    text = extract(
        source,
        output_format="markdown",
        include_formatting=True,
        include_comments=False,
        include_tables=True,
        favor_recall=True,
    )
    return title[:LONGEST_TITLE], ESCAPED.sub(r"\1", text) if text else html2txt(source) or ""


def read_pdf(raw: bytes) -> Pages:
    """Read a PDF by PDFium, page by page.

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
    with document:
        texts = [_pdf_page(document, number) for number in range(len(document))]
        title = SPACE.sub(" ", document.get_metadata_value("Title") or "").strip()
    if not any(text.strip() for text in texts):
        raise NotRead(f"image-only: none of its {len(texts)} pages has a text layer")
    bare = [str(number) for number, text in enumerate(texts, start=1) if not text.strip()]
    notes = [f"no text on {len(bare)} of {len(texts)} pages ({', '.join(bare[:10])})"] if bare else []
    if b"%%EOF" not in raw[-2048:]:
        notes.append("truncated: its end is missing, and it was read as far as it goes")
    return Pages(texts, "none", True, title[:LONGEST_TITLE], notes=tuple(notes))


def _pdf_page(document: Any, number: int) -> str:
    page = document[number]
    text_page = page.get_textpage()
    try:
        return str(text_page.get_text_bounded())
    finally:
        text_page.close()
        page.close()


def read_docx(raw: bytes) -> Pages:
    """Read a Word document: headings by their styles, paragraphs, lists and tables in their order."""
    from docx import Document
    from docx.table import Table

    document = Document(io.BytesIO(raw))
    _unwrap(document.element.body)
    blocks: list[str] = []
    for item in document.iter_inner_content():
        if isinstance(item, Table):
            blocks.append("\n".join(_table_rows([[cell.text for cell in row.cells] for row in item.rows])))
            continue
        style = (item.style.name or "") if item.style is not None else ""
        level = HEADING_STYLE.match(style)
        if level and item.text.strip():
            blocks.append(f"{'#' * min(int(level[1]), 6)} {SPACE.sub(' ', item.text).strip()}")
        elif style.startswith("List") and item.text.strip():
            blocks.append(f"- {item.text.strip()}")
        else:
            blocks.append(item.text)
    return Pages(["\n\n".join(block for block in blocks if block.strip())], "md", False, _core_title(document))


def _unwrap(body: Any) -> None:
    """Put what stands in content controls and tracked insertions where it is read."""
    from docx.oxml.ns import qn

    for wrapper in list(body.iter(*(qn(f"w:{name}") for name in WRAPPERS))):
        for child in list(wrapper):
            wrapper.addprevious(child)
        wrapper.getparent().remove(wrapper)


def _core_title(document: Any) -> str:
    return SPACE.sub(" ", document.core_properties.title or "").strip()[:LONGEST_TITLE]


def _table_rows(cells: list[list[str]]) -> Iterator[str]:
    for row in cells:
        yield "| " + " | ".join(SPACE.sub(" ", cell).strip() for cell in row) + " |"


def read_pptx(raw: bytes) -> Pages:
    """Read slides: each is a page, its title a heading, then its texts, tables and notes."""
    from pptx import Presentation

    presentation = Presentation(io.BytesIO(raw))
    texts = []
    for slide in presentation.slides:
        title = slide.shapes.title
        blocks = [f"# {SPACE.sub(' ', title.text_frame.text).strip()}"] if title is not None else []
        for shape in slide.shapes:
            if title is not None and shape.shape_id == title.shape_id:
                continue
            blocks += _shape_texts(shape)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            blocks.append(slide.notes_slide.notes_text_frame.text)
        texts.append("\n\n".join(block for block in blocks if block.strip(" #")))
    return Pages(texts, "md", True, _core_title(presentation))


def _shape_texts(shape: Any) -> Iterator[str]:
    if shape.has_text_frame:
        yield "\n".join(paragraph.text for paragraph in shape.text_frame.paragraphs)
    elif getattr(shape, "has_table", False):
        yield "\n".join(_table_rows([[cell.text for cell in row.cells] for row in shape.table.rows]))
    elif hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _shape_texts(inner)


def read_epub(raw: bytes) -> Pages:
    """Read a book: the chapters of its spine (EPUB 3.3, section 5.7), in their order, each as an HTML page."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        locked = _locked(archive)
        container = _xml(archive.read(EPUB_CONTAINER))
        package_path = container.xpath("string(//*[local-name()='rootfile']/@full-path)")
        package = _xml(archive.read(package_path))
        title = SPACE.sub(" ", package.xpath("string(//*[local-name()='title'])")).strip()
        places = {
            item.get("id"): item.get("href") for item in package.xpath("//*[local-name()='manifest']/*[@id and @href]")
        }
        folder = PurePosixPath(package_path).parent
        chapters = package.xpath("//*[local-name()='spine']/*/@idref")
        found = {name: posixpath.normpath(folder / unquote(place)) for name, place in places.items()}
        if locked & {found.get(name) for name in chapters}:
            raise NotRead("encrypted")
        texts, missing = [], []
        for reference in chapters:
            try:
                chapter = archive.read(found[reference])
            except KeyError:
                missing.append(str(reference))
                continue
            texts.append(html_text(readable(decode(chapter)).text)[1])
    notes = (f"{len(missing)} chapters of its spine are missing",) if missing else ()
    return Pages(["\n\n".join(text for text in texts if text.strip())], "md", False, title[:LONGEST_TITLE], notes=notes)


def _locked(archive: zipfile.ZipFile) -> set[str]:
    """Return the encrypted files of a book; where it is fonts alone, the book can be read."""
    if EPUB_ENCRYPTION not in archive.namelist():
        return set()
    named = _xml(archive.read(EPUB_ENCRYPTION)).xpath("//*[local-name()='CipherReference']/@URI")
    return {posixpath.normpath(unquote(place)) for place in named}


def _xml(raw: bytes) -> Any:
    from lxml import etree  # type: ignore[import-untyped]

    return etree.fromstring(raw, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False))


READERS: dict[str, Callable[[bytes], Pages]] = {
    "md": lambda raw: read_text(raw, "md"),
    "txt": lambda raw: read_text(raw, "none"),
    "rst": lambda raw: read_text(raw, "rst"),
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
    "pptx": read_pptx,
    "epub": read_epub,
}
