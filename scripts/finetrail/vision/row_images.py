"""Images of records as parts of a message."""

from pathlib import Path
from typing import Any

from finetrail.config.current import results_folder
from finetrail.errors import FinetrailError
from finetrail.rows.records import Row
from finetrail.vision.image import Image


def fetched_folder() -> Path:
    """Return where fetched images are kept, by their content; all recipes share it."""
    return results_folder() / "images"


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
    if image.get("fetched"):
        return (Image(image["sha256"], fetched_folder() / image["path"]),)
    if image.get("path") is None:
        raise FinetrailError(
            f"the image {image.get('url', 'that the record holds')} has not been fetched",
            where=row["id"],
            hint="Write `source.fetch: {}` into the recipe, and run again",
        )
    if folder is None:
        raise FinetrailError(
            f"the image {image['path']} is a local file, but no images folder is configured",
            where=row["id"],
            hint="Name the folder in source.images",
        )
    return (Image(image["sha256"], Path(folder, image["path"])),)
