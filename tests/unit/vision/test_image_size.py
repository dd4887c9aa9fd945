"""The head of an image file: its kind and size are told without decoding, and a hostile file does no harm."""

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from finetrail.vision.check_image import BadImage, check_image
from finetrail.vision.data_url import ImageLimits, ImageTooLarge, data_url
from finetrail.vision.image import Image as Shown
from finetrail.vision.image_size import Picture, TooManyPixels, describe_picture
from tests.unit.small_png import small_png


def saved(form: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (37, 21)).save(file, form, **options)
    return file.getvalue()


TURNED = Image.Exif()
TURNED[0x0112] = 6
SECOND: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (37, 21), (9, 9, 9))]}
FILES = [
    ("png", saved("PNG")),
    ("png", saved("PNG", "P")),
    ("gif", saved("GIF")),
    ("gif", saved("GIF", **SECOND)),
    ("jpeg", saved("JPEG")),
    ("jpeg", saved("JPEG", "CMYK")),
    ("jpeg", saved("JPEG", exif=TURNED)),
    ("jpeg", saved("JPEG", progressive=True, comment=b"\xff\xc0 no frame")),
    ("webp", saved("WEBP")),
    ("webp", saved("WEBP", lossless=True)),
    ("webp", saved("WEBP", "RGBA", exif=TURNED)),
    ("webp", saved("WEBP", **SECOND)),
]
# Canvases of 20,000 by 20,000 pixels: a WebP that says so, and a GIF whose first frame lies that far out.
HUGE_WEBP = b"RIFF\x3a\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + (19_999).to_bytes(3, "little") * 2 + b"\0" * 40
HUGE_GIF = b"GIF89a\x08\0\x08\0\0\0\0," + b"\x1f\x4e" * 4 + b"\0\x02\x02\x4c\x01\0;"


@pytest.mark.parametrize(("kind", "content"), FILES)
def test_kind_and_size_are_read_from_the_head(kind: str, content: bytes) -> None:
    assert describe_picture(content) == Picture(f"image/{kind}", 37, 21)
    assert describe_picture(content[:9]) is None


def test_no_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("decoded")

    for reader in ("PngImagePlugin.PngImageFile", "GifImagePlugin.GifImageFile", "WebPImagePlugin.WebPImageFile"):
        monkeypatch.setattr(f"PIL.{reader}.load", load)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert all(describe_picture(content) for _, content in FILES)
    assert describe_picture(small_png(100_000, 90_000)) == Picture("image/png", 100_000, 90_000), "too many to decode"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"BM....",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\xff\xd8\xff" + b"\0" * 50,
        saved("TIFF"),
        saved("BMP"),
        saved("PPM"),
    ],
)
def test_other_files_are_no_pictures(content: bytes) -> None:
    assert describe_picture(content) is None


@pytest.mark.parametrize("content", [HUGE_WEBP, HUGE_GIF], ids=["webp", "gif"])
def test_a_canvas_that_would_fill_the_memory_is_an_error_to_all_who_ask(content: bytes, tmp_path: Any) -> None:
    with pytest.raises(TooManyPixels, match=r"Image size \(\d{9,} pixels\)"):
        describe_picture(content)
    with pytest.raises(BadImage, match="it is too large: Image size"):
        check_image(content, 1_000_000)
    (path := tmp_path / "huge").write_bytes(content)
    with pytest.raises(ImageTooLarge, match="too large to be opened") as caught:
        data_url(Shown.from_file(path), ImageLimits())
    assert caught.value.key == "max_image_pixels"


@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=4)), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_head_is_told_or_refused(file: tuple[str, bytes], changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(file[1])
    for place, found in changes:
        content[place : place + 2] = found
    try:
        told = describe_picture(bytes(content))
    except TooManyPixels:
        return
    assert told is None or min(told.width, told.height) > 0
