"""One file to pages of text: plain kinds decoded, the others by the library that knows them best."""

from collections.abc import Callable

from finetrail.documents.book import read_epub
from finetrail.documents.converted import Pages
from finetrail.documents.decode import decode, readable
from finetrail.documents.html_page import read_html
from finetrail.documents.pdf import read_pdf
from finetrail.documents.slides import read_pptx
from finetrail.documents.word import read_docx


def read_text(raw: bytes, markup: str) -> Pages:
    """Read a plain text; form feeds are page breaks."""
    decoded = readable(decode(raw))
    texts = decoded.text.split("\f")
    return Pages(texts, markup, len(texts) > 1, encoding=decoded._replace(text=""))


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
