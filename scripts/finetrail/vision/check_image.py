"""Images of strangers: looked at before they are decoded, and kept in a form that every program shows alike."""

import io
import warnings
from typing import NamedTuple

from finetrail.isolated import Bounds
from finetrail.vision.image_size import TooManyPixels, describe_picture
from finetrail.vision.rgb import as_rgb

BYTES_A_PIXEL = 20  # measured: an animation with transparency of 40 million pixels takes 794 MB
LIBRARY_BYTES = 150_000_000
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
ORIENTATION = 0x0112  # EXIF: how the picture is to be turned


class BadImage(Exception):
    """An image cannot be used; says why."""


class Checked(NamedTuple):
    """An image that decodes: its bytes as they are kept, their kind, its size, and what was changed."""

    content: bytes
    suffix: str
    width: int
    height: int
    changed: tuple[str, ...]


def image_bounds(max_pixels: int, seconds: float) -> Bounds:
    """Return what the check of one image may take, for a process of its own."""
    return Bounds(seconds, LIBRARY_BYTES + BYTES_A_PIXEL * max_pixels)


def check_within(item: tuple[bytes, int]) -> "Checked":
    """Check an image that is handed to a process with its most pixels."""
    return check_image(*item)


def check_image(content: bytes, max_pixels: int) -> Checked:
    """Decode an image within bounds.

    Of an animation the first frame is kept, and a picture that EXIF says to turn is turned, both as PNG, since programs
    differ in what they make of these. Every other image keeps its bytes. Memory: the pixels of one frame.

    Args:
        content: the file.
        max_pixels: width times height at most; the header is read before anything is decoded.

    Raises:
        BadImage: it is no PNG, JPEG, GIF or WebP, too large, or broken.
    """
    from PIL import Image, ImageOps

    try:
        told = describe_picture(content)
    except TooManyPixels as error:
        raise BadImage(f"it is too large: {error}") from error
    if told is None:
        raise BadImage("it is no PNG, JPEG, GIF or WebP, or its header is broken")
    if told.width * told.height > max_pixels:
        raise BadImage(f"it has {told.width} x {told.height} pixels, more than {max_pixels:,}")
    kind = told.kind.removeprefix("image/").upper()
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content), formats=[kind]) as picture:
            warnings.simplefilter("ignore")  # `max_pixels` has decided about its size
            frames = getattr(picture, "n_frames", 1)
            turned = picture.getexif().get(ORIENTATION, 1) not in (0, 1)
            changed = ((f"first of {frames} frames",) if frames > 1 else ()) + (("turned by EXIF",) if turned else ())
            picture.load()
            if not changed:
                return Checked(content, SUFFIXES[told.kind], picture.width, picture.height, ())
            still = as_rgb(ImageOps.exif_transpose(picture))
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # a mutated file may break Pillow in any way
        raise BadImage(f"it cannot be decoded ({type(error).__name__}: {str(error)[:120]})") from error
    kept = io.BytesIO()
    still.save(kept, "PNG")
    return Checked(kept.getvalue(), "png", still.width, still.height, changed)
