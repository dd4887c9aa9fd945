"""PNG files of a few bytes whose head claims any size: heads are read without decoding a pixel."""

import struct
import zlib


def small_png(width: int, height: int) -> bytes:
    """Return a PNG whose head is whole, and whose pixels are not."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
