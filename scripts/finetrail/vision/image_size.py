"""What can be told from the first bytes of an image file: its kind, and its size in pixels."""

import struct
from typing import NamedTuple

START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


class Picture(NamedTuple):
    """The kind of an image, as browsers name it, and its size in pixels."""

    kind: str
    width: int
    height: int


def describe_picture(content: bytes) -> Picture | None:
    """Read the header of a PNG, JPEG, GIF or WebP file; None where it is none of these, or broken."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return Picture("image/png", *struct.unpack_from(">II", content, 16))
        if content.startswith(b"GIF8"):
            return Picture("image/gif", *struct.unpack_from("<HH", content, 6))
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg(content)
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp(content)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg(content: bytes) -> Picture:
    at = 2
    while True:
        marker, length = content[at + 1], struct.unpack_from(">H", content, at + 2)[0]
        if marker == 0xFF:  # filling before a marker
            at += 1
        elif marker in START_OF_FRAME:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return Picture("image/jpeg", width, height)
        else:
            at += 2 + length


def _webp(content: bytes) -> Picture | None:
    form = content[12:16]
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return Picture("image/webp", width & 0x3FFF, height & 0x3FFF)
    if form == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return Picture("image/webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if form == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
        return Picture("image/webp", 1 + width, 1 + height) if len(content) >= 30 else None
    return None
