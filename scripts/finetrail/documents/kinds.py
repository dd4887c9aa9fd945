"""What a file is: by its first bytes and what is in it; its name decides only among kinds of plain text."""

import io
import re
import zipfile
from pathlib import PurePath

ENDINGS = {
    ".md": "md", ".markdown": "md", ".txt": "txt", ".text": "txt", ".rst": "rst", ".html": "html", ".htm": "html",
    ".xhtml": "html", ".pdf": "pdf", ".docx": "docx", ".pptx": "pptx", ".epub": "epub",
}  # fmt: skip
PLAIN = frozenset({"md", "txt", "rst", "html"})
HEAD = 1024
LARGEST_RATIO = 1000  # of unpacked to packed bytes: deflate cannot exceed it on a text of use to anybody
LARGEST_UNPACKED = 1 << 30
HTML = re.compile(rb"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html)\b", re.I | re.S)
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*")
BITMAP = re.compile(rb"BM.{4}\0{4}", re.S)  # its reserved bytes tell it from a text about BM25
MARKUPS = {b"{\\rtf": "RTF", b"%!PS": "PostScript"}
MEMBERS = {"word/document.xml": "docx", "ppt/presentation.xml": "pptx"}
COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class NotRead(Exception):
    """A file that gives no document; the text says why."""


def kind_of(name: str, raw: bytes) -> tuple[str, str | None]:
    """Return the kind of a file, and a note where its name says another.

    Raises:
        NotRead: it is of no kind that can be read, or it is not safe to unpack.
    """
    if not raw.strip(b"\0 \t\r\n\x0b\x0c"):
        raise NotRead("empty" if not raw else "nothing but white space")
    ending = PurePath(name).suffix.lower()
    named = ENDINGS.get(ending)
    kind = _by_content(raw, named, ending)
    note = None if kind == named else f"wrongly named: {ending or 'no ending'}, but it is {kind}; read as {kind}"
    return kind, note


def _by_content(raw: bytes, named: str | None, ending: str) -> str:
    if raw[:HEAD].lstrip().startswith(b"%PDF-") or (named == "pdf" and b"%PDF-" in raw[:HEAD]):
        return "pdf"
    if raw.startswith(b"PK\x03\x04"):
        return _packed(raw)
    if raw.startswith(COMPOUND):
        locked = "EncryptedPackage".encode("utf-16-le") in raw
        raise NotRead("encrypted" if locked else "an Office file of before 2007: save it in today's format")
    if raw.startswith(PICTURES) or BITMAP.match(raw):
        raise NotRead("a picture: text in pictures is not read")
    for start, markup in MARKUPS.items():
        if raw.startswith(start):
            raise NotRead(f"{markup}: save it as one of the kinds that are read")
    if named == "html" or (HTML.match(raw[:HEAD]) and named is not None):
        return "html"
    if named in PLAIN:
        return str(named)
    if named is None:
        raise NotRead(f"of no kind that can be read ({ending or 'no ending'})")
    return "txt"  # named as a binary kind, and none of them


def _packed(raw: bytes) -> str:
    """Look into an archive without unpacking it."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            typed = archive.read("mimetype")[:64] if "mimetype" in names and _is_small(archive) else b""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise NotRead(f"truncated or damaged archive ({error})") from error
    if any(member.flag_bits & 1 for member in members):
        raise NotRead("encrypted")
    unpacked = sum(member.file_size for member in members)
    if unpacked > LARGEST_UNPACKED or unpacked > LARGEST_RATIO * max(len(raw), 1):
        raise NotRead(f"unpacks to {unpacked} bytes, which no document needs")
    kinds = [kind for name, kind in MEMBERS.items() if name in names]
    if typed.strip() == b"application/epub+zip" or "META-INF/container.xml" in names:
        kinds.append("epub")
    if not kinds:
        raise NotRead("an archive, not a document")
    return kinds[0]


def _is_small(archive: zipfile.ZipFile) -> bool:
    return archive.getinfo("mimetype").file_size < HEAD
