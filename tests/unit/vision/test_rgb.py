"""Pictures as models are shown them: transparency over white, 16 bits scaled, every other one as Pillow has it."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from finetrail.vision.check_image import check_image
from finetrail.vision.rgb import as_rgb

FAULT = Path(__file__).resolve().parents[2] / "data/faults/images/black_text_on_transparent.png"
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def reopened(picture: Image.Image, form: str = "PNG", **options: object) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def grey_png(values: list[int], hidden: int | None = None) -> Image.Image:
    """Write a PNG of one line with 16 bits of grey; Pillow writes no such file with a transparent grey."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = part(b"IHDR", struct.pack(">IIBBBBB", len(values), 1, 16, 0, 0, 0, 0))
    trns = part(b"tRNS", struct.pack(">H", hidden)) if hidden is not None else b""
    line = b"\0" + b"".join(struct.pack(">H", value) for value in values)
    content = b"\x89PNG\r\n\x1a\n" + head + trns + part(b"IDAT", zlib.compress(line)) + part(b"IEND", b"")
    return Image.open(io.BytesIO(content))


def pixels(picture: Image.Image) -> list[Any]:
    return list(as_rgb(picture).get_flattened_data())


def test_black_text_on_nothing_is_seen_on_white() -> None:
    with Image.open(FAULT) as picture:
        counts = {colour: count for count, colour in as_rgb(picture).getcolors() or []}
        assert counts[WHITE] > 4000 and min(sum(colour) for colour in counts) < 100, "ink on paper"
        assert as_rgb(picture).size == picture.size


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 0, 255))
    assert pixels(picture.convert(mode)) == [WHITE, BLACK]


def test_half_a_colour_is_half_white() -> None:
    assert pixels(Image.new("RGBA", (1, 1), (255, 0, 0, 128))) == [(255, 127, 127)]


def test_a_transparent_colour_of_a_palette_or_a_picture_shows_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((1, 0), 1)
    assert pixels(reopened(palette, transparency=0)) == [WHITE, RED]
    assert pixels(reopened(palette, "GIF", transparency=0)) == [WHITE, RED]
    colours = palette.convert("RGB")
    assert pixels(reopened(colours, transparency=RED)) == [BLACK, WHITE]


def test_sixteen_bits_are_scaled() -> None:
    assert [value for (value, _, _) in pixels(grey_png([0, 257, 32_896, 65_535]))] == [0, 1, 128, 255]
    assert pixels(grey_png([0, 257, 65_535], hidden=0)) == [WHITE, (1, 1, 1), WHITE]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV"])
def test_every_other_picture_is_as_pillow_has_it(mode: str) -> None:
    picture = Image.linear_gradient("L").resize((16, 16)).convert("RGB").convert(mode)
    assert as_rgb(picture).tobytes() == picture.convert("RGB").tobytes()


def test_the_first_frame_that_is_kept_of_an_animation_shows_white_too() -> None:
    frames = [Image.new("RGBA", (4, 4), (0, 0, 0, 0)), Image.new("RGBA", (4, 4), (255, 0, 0, 255))]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    kept = check_image(file.getvalue(), 1_000)
    assert Image.open(io.BytesIO(kept.content)).getpixel((0, 0)) == WHITE
