"""Images of records as parts of a message."""

from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.llm.request import Image
from finetrail.records import Row


def images_of(row: Row) -> tuple[Image, ...]:
    """Return the images that belong to a row's question.

    Raises:
        FinetrailError: the image has an address only.
    """
    image: dict[str, Any] | None = row["image"]
    if image is None:
        return ()
    if image.get("path") is None:
        raise FinetrailError(
            f"the image {image.get('url')} has not been downloaded",
            where=row["id"],
            hint="Download the images, name their folder in source.images and give paths instead of addresses",
        )
    return (Image(image["sha256"], Path(image["path"])),)
