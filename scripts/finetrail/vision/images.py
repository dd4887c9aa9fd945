"""Images of records as parts of a message."""

from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.llm.request import Image
from finetrail.records import Row


def images_of(row: Row, folder: str | None) -> tuple[Image, ...]:
    """Return the images that belong to a row's question.

    Args:
        row: a record, or what a later step made of it.
        folder: what image paths are relative to, the recipe's `source.images`.

    Raises:
        FinetrailError: the image has an address only, or there is no folder to look for its path in.
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
    if folder is None:
        raise FinetrailError(
            f"the image {image['path']} is a local file, but no images folder is configured",
            where=row["id"],
            hint="Name the folder in source.images",
        )
    return (Image(image["sha256"], Path(folder, image["path"])),)
