"""An image as a model is shown it: named by its hash, sent as a data URL, within an endpoint's limits."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from finetrail.errors import FinetrailError
from finetrail.rows.records import sha256_file
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


@dataclass(frozen=True)
class Image:
    """An image part of a message: its hash enters the key, its bytes go over the wire only."""

    sha256: str
    path: Path

    @classmethod
    def from_file(cls, path: Path) -> "Image":
        """Describe an image file by the SHA-256 of its bytes."""
        return cls(sha256_file(path), path)

    def data_url(self, limits: ImageLimits) -> str:
        """Read the image as a data URL.

        Raises:
            FinetrailError: the file is missing, has changed since it was hashed, or is of no known kind.
            ImageTooLarge: it exceeds a limit.
        """
        try:
            size = self.path.stat().st_size
            if size > limits.max_image_bytes:
                raise ImageTooLarge(
                    f"the image {self.path} has {size:,} bytes, more than {limits.max_image_bytes:,}", "max_image_bytes"
                )
            content = self.path.read_bytes()
        except OSError as error:
            raise FinetrailError(f"the image cannot be read: {error.strerror}", where=str(self.path)) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise FinetrailError(
                "the image has changed since its hash was taken",
                where=str(self.path),
                hint="Run ingest again",
            )
        try:
            picture = describe_picture(content)
        except TooManyPixels as error:
            raise ImageTooLarge(
                f"the image {self.path} is too large to be opened: {error}", "max_image_pixels"
            ) from error
        if picture is None:
            raise FinetrailError("not a PNG, JPEG, GIF or WebP image", where=str(self.path), hint="Convert it")
        if picture.width * picture.height > limits.max_image_pixels:
            raise ImageTooLarge(
                f"the image {self.path} has {picture.width} x {picture.height} pixels, more than "
                f"{limits.max_image_pixels:,}",
                "max_image_pixels",
            )
        return f"data:{picture.kind};base64,{base64.b64encode(content).decode('ascii')}"
