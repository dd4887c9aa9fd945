"""EPUB to Markdown: the chapters of its spine (EPUB 3.3, section 5.7), in their order."""

import io
import posixpath
import zipfile
from collections import Counter
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from finetrail.documents.converted import PASSED_ON, Pages, fault, title_of
from finetrail.documents.decode import decode, page_charset, readable
from finetrail.documents.html_blocks import markdown, name_of
from finetrail.documents.kinds import NotRead

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"


def read_epub(raw: bytes) -> Pages:
    """Read a book; a chapter that is missing or broken is noted.

    Raises:
        NotRead: a chapter is encrypted, or none can be read.
    """
    left_out: Counter[str] = Counter()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        locked = _locked(archive)
        package_path = _xml(archive.read(CONTAINER)).xpath("string(//*[local-name()='rootfile']/@full-path)")
        package = _xml(archive.read(package_path))
        title = title_of(package.xpath("string(//*[local-name()='title'])"))
        items = package.xpath("//*[local-name()='manifest']/*[@id and @href]")
        folder = PurePosixPath(package_path).parent
        found = {item.get("id"): posixpath.normpath(folder / unquote(item.get("href"))) for item in items}
        chapters = package.xpath("//*[local-name()='spine']/*/@idref")
        if locked & {found.get(name) for name in chapters}:
            raise NotRead("encrypted")
        texts, missing, broken = [], 0, []
        for reference in chapters:
            try:
                texts.append(_chapter(archive.read(found[reference]), left_out))
            except KeyError:
                missing += 1
            except PASSED_ON:
                raise
            except Exception as error:  # a broken chapter may break the parser in any way; the others are read
                broken.append(fault(error))
    if broken and not any(text.strip() for text in texts):
        raise NotRead(f"damaged: none of its chapters can be read ({broken[0]})")
    notes = [f"{missing} chapters of its spine are missing"] if missing else []
    if broken:
        notes.append(f"{len(broken)} chapters cannot be read ({broken[0]})")
    if missing or broken:
        left_out["chapters"] += missing + len(broken)
    text = "\n\n".join(text for text in texts if text.strip())
    return Pages([text], "md", False, title, notes=tuple(notes), left_out=left_out)


def _chapter(raw: bytes, left_out: Counter[str]) -> str:
    """Return a chapter as Markdown: as XHTML, or as HTML where it is not well-formed."""
    from lxml import etree, html  # type: ignore[import-untyped]

    source = readable(decode(raw, page_charset(raw))).text.replace("\0", "")
    try:
        root = _xml(source.encode("utf-8"), etree.XMLParser(**SAFE, encoding="utf-8"))
    except etree.XMLSyntaxError:
        root = html.document_fromstring(source.encode("utf-8"), parser=html.HTMLParser(encoding="utf-8"))
    body = next((one for one in root.iter() if name_of(one) == "body"), root)
    return markdown(body, left_out)


def _locked(archive: zipfile.ZipFile) -> set[str]:
    """Return the encrypted files of a book; where it is fonts alone, the book can be read."""
    if ENCRYPTION not in archive.namelist():
        return set()
    named = _xml(archive.read(ENCRYPTION)).xpath("//*[local-name()='CipherReference']/@URI")
    return {posixpath.normpath(unquote(place)) for place in named}


SAFE = {"resolve_entities": False, "no_network": True, "huge_tree": False}


def _xml(raw: bytes, parser: Any = None) -> Any:
    from lxml import etree

    return etree.fromstring(raw, parser or etree.XMLParser(**SAFE))
