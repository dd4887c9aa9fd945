"""An image as it is sent to a model: a data URL, within the limits of the endpoint."""

import base64
import hashlib
from typing import NamedTuple

from finetrail.errors import FinetrailError
from finetrail.vision.image import Image
from finetrail.vision.image_size import TooManyPixels, describe_picture


class ImageLimits(NamedTuple):
    """The largest image that an endpoint takes; the fields are keys of its entry in the config."""

    max_image_bytes: int = 20_000_000
    max_image_pixels: int = 64_000_000


class ImageTooLarge(Exception):
    """An image is larger than its endpoint takes; `key` names the setting of the endpoint that says so."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def data_url(image: Image, limits: ImageLimits) -> str:
    """Read an image as a data URL.

    Raises:
        FinetrailError: the file is missing, has changed since it was hashed, or is of no known kind.
        ImageTooLarge: it exceeds a limit.
    """
    try:
        size = image.path.stat().st_size
        if size > limits.max_image_bytes:
            raise ImageTooLarge(
                f"the image {image.path} has {size:,} bytes, more than {limits.max_image_bytes:,}", "max_image_bytes"
            )
        content = image.path.read_bytes()
    except OSError as error:
        raise FinetrailError(f"the image cannot be read: {error.strerror}", where=str(image.path)) from error
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise FinetrailError(
            "the image has changed since its hash was taken",
            where=str(image.path),
            hint="Run ingest again",
        )
    try:
        picture = describe_picture(content)
    except TooManyPixels as error:
        cause = f"the image {image.path} is too large to be opened: {error}"
        raise ImageTooLarge(cause, "max_image_pixels") from error
    if picture is None:
        raise FinetrailError("not a PNG, JPEG, GIF or WebP image", where=str(image.path), hint="Convert it")
    if picture.width * picture.height > limits.max_image_pixels:
        raise ImageTooLarge(
            f"the image {image.path} has {picture.width} x {picture.height} pixels, more than "
            f"{limits.max_image_pixels:,}",
            "max_image_pixels",
        )
    return f"data:{picture.kind};base64,{base64.b64encode(content).decode('ascii')}"
