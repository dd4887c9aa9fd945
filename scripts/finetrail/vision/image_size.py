"""What an image file says of itself before its pixels are decoded: its kind, and its size."""

import io
from typing import NamedTuple


class TooManyPixels(Exception):
    """A file claims more pixels than Pillow opens, whatever our own limits are; says how many."""


class Picture(NamedTuple):
    """The kind of an image, as browsers name it, and its size in pixels."""

    kind: str
    width: int
    height: int


def describe_picture(content: bytes) -> Picture | None:
    """Read the head of a PNG, JPEG, GIF or WebP file; None where it is none of these, or its head is broken.

    Raises:
        TooManyPixels: the file is a WebP or GIF whose canvas Pillow refuses to lay out.
    """
    from PIL.GifImagePlugin import GifImageFile
    from PIL.Image import DecompressionBombError
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    # Not Image.open: it refuses a large PNG or JPEG without its size, which our messages name.
    for reader in (PngImageFile, JpegImageFile, GifImageFile, WebPImageFile):
        try:
            with reader(io.BytesIO(content)) as picture:
                return Picture(f"image/{reader.format.lower()}", *picture.size)
        except DecompressionBombError as error:
            raise TooManyPixels(str(error)) from error
        except (MemoryError, ImportError):
            raise
        except Exception:  # not of this kind, or broken in any way that a mutated file may be
            continue
    return None
