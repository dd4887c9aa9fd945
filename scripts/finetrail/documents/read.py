"""One file to a document: its normalised text, its outline and pages, and all that was found on the way."""

import re
from collections import Counter

from finetrail.documents.convert import READERS
from finetrail.documents.converted import Pages
from finetrail.documents.kinds import NotRead, kind_of
from finetrail.documents.normalise import normalise
from finetrail.documents.structure import outline
from finetrail.rows.records import Row

PAGE_BREAK = "\n\n"
FIRST_CHARACTERS = 2000
# A line of front matter (of YAML, JSON or TOML) or of a field list (reStructuredText), above the first heading.
TITLE_LINE = re.compile(
    r"""^(?::?title:|title[ \t]*=|[ \t]*"title"[ \t]*:)[ \t]*["']?(.+?)["']?,?[ \t]*$""", re.IGNORECASE | re.MULTILINE
)


def read_document(name: str, raw: bytes) -> Row:
    """Read a file.

    Args:
        name: its name, which decides only among kinds of plain text.
        raw: its bytes.

    Returns:
        ``{"kind", "title", "text", "markup", "headings": [[start, end, level, title]], "code": [[start, end]],
        "pages": [[start, end, number]], "encoding", "found_by", "replaced", "normalised": {change: n}, "notes": [],
        "left_out": {what: n}}``; spans are of characters of ``text``.

    Raises:
        NotRead: there is no text in it, with the reason.
    """
    kind, note = kind_of(name, raw)
    try:
        pages = READERS[kind](raw)
    except (NotRead, MemoryError, ImportError):
        raise
    except Exception as error:  # a hostile or damaged file may break its library in any way
        raise NotRead(f"damaged: its {kind} reader fails with {type(error).__name__}: {str(error)[:200]}") from error
    return _document(kind, pages, [note] if note else [])


def _document(kind: str, pages: Pages, notes: list[str]) -> Row:
    changes: Counter[str] = Counter()
    text, spans = _joined([normalise(page, changes) for page in pages.texts])
    if not text.strip():
        raise NotRead("nothing but white space" if kind in ("txt", "md", "rst") else "no text in it")
    found = outline(text, pages.markup)
    encoding = pages.encoding
    if encoding is not None and encoding.replaced:
        notes.append(f"{encoding.replaced} characters could not be decoded")
    first = found.headings[0] if found.headings else None
    line = TITLE_LINE.search(text, 0, min(first.start, FIRST_CHARACTERS) if first else 0)
    title = normalise(pages.title, Counter()) or (line[1] if line else first.title if first else "")
    return {
        "kind": kind,
        "title": title,
        "text": text,
        "markup": pages.markup,
        "headings": [list(heading) for heading in found.headings],
        "code": [list(span) for span in found.code],
        "pages": [[start, end, number] for number, (start, end) in enumerate(spans, start=1)] if pages.numbered else [],
        "encoding": encoding.encoding if encoding else None,
        "found_by": encoding.found_by if encoding else None,
        "replaced": encoding.replaced if encoding else 0,
        "normalised": dict(sorted(changes.items())),
        "notes": [*notes, *pages.notes],
        "left_out": {what: count for what, count in sorted(pages.left_out.items()) if count},
    }


def _joined(texts: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join pages, and say where each of them stands."""
    spans, place = [], 0
    for text in texts:
        spans.append((place, place + len(text)))
        place += len(text) + len(PAGE_BREAK)
    return PAGE_BREAK.join(texts), spans
