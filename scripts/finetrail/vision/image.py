"""An image as rows name it: by its hash and its place."""

from dataclasses import dataclass
from pathlib import Path

from finetrail.rows.records import sha256_file


@dataclass(frozen=True)
class Image:
    """An image part of a message: its hash enters the key, its bytes go over the wire only."""

    sha256: str
    path: Path

    @classmethod
    def from_file(cls, path: Path) -> "Image":
        """Describe an image file by the SHA-256 of its bytes."""
        return cls(sha256_file(path), path)
