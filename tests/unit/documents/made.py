"""Documents of every kind, made by the libraries that people make them with, and hostile ones made by hand."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

TEXT = "Nobody reads manuals. Everybody needs them."
CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Book</dc:title></metadata>
<manifest><item id="two" href="two.xhtml"/><item id="one" href="one.xhtml"/></manifest>
<spine><itemref idref="one"/><itemref idref="two"/><itemref idref="gone"/></spine></package>"""


def docx(path: Path) -> Path:
    from docx import Document

    document = Document()
    document.core_properties.title = "A report"
    document.add_heading("First part", 1)
    document.add_paragraph(TEXT)
    document.add_heading("A detail", 2)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.add_paragraph("after the table")
    document.save(str(path))
    return path


def pptx(path: Path) -> Path:
    from pptx import Presentation

    presentation = Presentation()
    for number in (1, 2):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = TEXT
    slide.notes_slide.notes_text_frame.text = "said, not shown"
    presentation.save(str(path))
    return path


def epub(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", PACKAGE)
        for name in ("one", "two"):
            page = f"<html><body><h1>Chapter {name}</h1><p>{TEXT} It is {name}.</p></body></html>"
            archive.writestr(f"OEBPS/{name}.xhtml", page)
    return path


def picture_pdf(path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (40, 40), "red").save(path, "PDF")
    return path


def encrypted_pdf(path: Path) -> Path:
    """Write a PDF that no empty password opens."""
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
        f"<</Filter/Standard/V 1/R 2/P -4/O<{'41' * 32}>/U<{'42' * 32}>>>",
    ]
    body, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"trailer\n<</Size 5/Root 1 0 R/Encrypt 4 0 R/ID[<{'43' * 16}><{'43' * 16}>]>>\n"
    path.write_text(f"{body}xref\n0 5\n0000000000 65535 f \n{table}{trailer}startxref\n{len(body)}\n%%EOF\n")
    return path


def bomb(path: Path, member: str = "word/document.xml") -> Path:
    """Write an archive that unpacks to a thousand times its size: 32 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, bytes(32 << 20))
    return path


def giant(path: Path) -> Path:
    """Write an archive of 1.2 MB that says of itself that it unpacks to 1.1 GB."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", bytes(1_200_000))
        archive.infolist()[0].file_size = 1_100_000_000
    return path


def epub_with(path: Path, entities: str, title: str) -> Path:
    """Write a book whose package declares entities and has a title that may use them."""
    package = PACKAGE.replace("<package", f"<!DOCTYPE package [{entities}]><package").replace("The Book", title)
    return packed_anew(epub(path), {"OEBPS/book.opf": package})


def packed_anew(path: Path, members: Mapping[str, str]) -> Path:
    """Exchange members of an archive, or add some."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w") as new:
        for name in {**dict.fromkeys(old.namelist()), **members}:
            new.writestr(name, members[name] if name in members else old.read(name))
    return path


def member(path: Path, name: str) -> str:
    """Return a member of an archive as text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode("utf-8")


def locked_epub(path: Path, locked: str) -> Path:
    """Write a book that says of one of its files that it is encrypted."""
    listed = f"""<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData><e:CipherData>
<e:CipherReference URI="{locked}"/></e:CipherData></e:EncryptedData></encryption>"""
    return packed_anew(epub(path), {"META-INF/encryption.xml": listed})


def laughing_epub(path: Path) -> Path:
    """Write a book whose package has entities that grow tenfold eight times."""
    grown = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 9))
    return epub_with(path, f'<!ENTITY l0 "lol">{grown}', "&l8;")
