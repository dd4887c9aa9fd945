"""Images of a row: where their files are, and which cannot be shown."""

from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.vision.row_images import images_of


def row(image: dict[str, Any] | None) -> dict[str, Any]:
    return {"id": "rec-1", "image": image}


def test_a_path_is_relative_to_the_images_folder() -> None:
    (image,) = images_of(row({"path": "x/1.png", "sha256": "abc"}), "data/img")
    assert (image.path, image.sha256) == (Path("data/img/x/1.png"), "abc")


def test_a_row_without_an_image_needs_no_folder() -> None:
    assert images_of(row(None), None) == ()


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        ({"url": "https://localhost/1.png", "sha256": None}, "has not been fetched"),
        ({"path": "1.png", "sha256": "abc"}, "no images folder is configured"),
    ],
)
def test_an_image_that_cannot_be_found_is_named(image: dict[str, Any], cause: str) -> None:
    with pytest.raises(FinetrailError, match=rf"rec-1: .*{cause}"):
        images_of(row(image), None)
