"""Good files of every kind, and seeded damage to them."""

import io
import random
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.unit.documents import made
from tests.unit.documents.made_pdf import field, form, lines, pdf

PATTERNS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"<", b"]]>", b"999999999", b"&#0;", b"\xed\xa0\x80")


def mutated(seed: int, content: bytes) -> bytes:
    """Damage a file: bytes are changed, taken out, repeated, or put in."""
    draw = random.Random(seed)
    result = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        place = draw.randrange(len(result) or 1)
        kind = draw.randrange(4)
        if kind == 0 and result:
            result[place] = draw.randrange(256)
        elif kind == 1:
            del result[place : place + draw.randint(1, 9)]
        elif kind == 2:
            result[place:place] = result[place : place + draw.randint(1, 99)]
        else:
            result[place:place] = draw.choice([*PATTERNS, draw.randbytes(4)])
    return bytes(result)


def pictures() -> list[bytes]:
    """Return one good picture of every kind, with EXIF, frames, a palette and transparency among them."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8769] = 6, "a picture", {0x9286: b"said", 0x829A: (1, 3)}
    frames = [Image.linear_gradient("L").resize((16, 12)).convert("RGBA")]
    frames += [Image.new("RGBA", (16, 12), colour) for colour in ((255, 0, 0, 128), (0, 0, 255, 255))]
    noise = Image.frombytes("RGB", (16, 12), random.Random(1).randbytes(16 * 12 * 3))
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("PNG", {}), ("PNG", {"exif": exif}), ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True}), ("GIF", {}),
        ("WEBP", {"lossless": True}), ("WEBP", {"exif": exif}),
    ]  # fmt: skip
    found = []
    for kind, options in kinds:
        file = io.BytesIO()
        noise.save(file, kind, **options)
        found.append(file.getvalue())
    for kind in ("GIF", "PNG", "WEBP"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=40)
        found.append(file.getvalue())
    return found


def documents() -> list[tuple[str, bytes | dict[str, bytes]]]:
    """Return one good document of every kind, with its name; of an archive its members."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archives = [made.docx(folder / "a.docx"), made.pptx(folder / "a.pptx"), made.epub(folder / "a.epub")]
        packed = [(path.name, unpacked(path)) for path in archives]
    fields = [field("name", "Tx", (140, 696, 300, 712), "/V(Greta)")]
    cells = [(0.0, 0.0, "Name:"), (0.0, 20.0, "The harbour opens at seven.")]
    page = "<html><head><meta charset=utf-8></head><body><h1>A</h1><p>It opens.</p><pre>x\n y</pre></body></html>"
    return [
        *packed,
        ("turned.pdf", pdf([lines(cells, 90), lines(cells)])),
        ("form.pdf", form(lines(cells), fields)),
        ("a.html", page.encode()),
        ("a.md", b"---\ntitle: A\n---\n\n# Head\n\n```\ncode\n```\n\ntext\n"),
        ("a.rst", b"Title\n=====\n\nText::\n\n  code\n"),
        ("a.txt", "One. Two.\fThree \u0301\u200d.".encode("utf-16")),
    ]


def unpacked(path: Path) -> dict[str, bytes]:
    """Return the members of an archive."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith(".jpeg")}


def damaged_archive(seed: int, members: dict[str, bytes]) -> bytes:
    """Damage one member of an archive and pack it with right sums, so that its reader gets to see the damage."""
    draw = random.Random(seed)
    chosen = draw.choice(sorted(name for name in members if name.endswith((".xml", ".xhtml", ".opf", ".rels"))))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, mutated(seed, content) if name == chosen else content)
    return file.getvalue()
