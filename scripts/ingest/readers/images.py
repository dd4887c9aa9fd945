"""What a record knows about its image before anything is fetched or decoded."""

from pathlib import Path

from finetrail.rows.records import Row, sha256_file, sha256_text

EMBEDDED = "data:image/"


class RowError(Exception):
    """One row cannot be read; `causes` says everything that is wrong with it."""

    def __init__(self, *causes: str) -> None:
        super().__init__("; ".join(causes))
        self.causes = causes


class ImageFinder:
    """Find local images under one folder and hash each file once.

    Args:
        root: folder that image paths are relative to; None where no local image is expected.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root.resolve() if root else None
        self._found: dict[str, Row] = {}

    def of_row(self, row: Row, *, required: bool) -> Row | None:
        """Return ``{"path", "sha256"}``, ``{"url", "sha256": None}`` or None for a row's image.

        One that the row holds itself (``data:image/png;base64,...``) is ``{"embedded", "sha256": None}``.

        Raises:
            RowError: both or (if required) neither of ``image`` and ``image_url``, or the file is missing.
        """
        given = [name for name in ("image", "image_url") if row.get(name) not in (None, "")]
        if len(given) == 2:
            raise RowError("both image and image_url are given, expected exactly one")
        if not given:
            if required:
                raise RowError("neither image nor image_url is given, expected exactly one")
            return None
        value = row[given[0]]
        if not isinstance(value, str):
            raise RowError(f"{given[0]} is {type(value).__name__}, expected a text")
        if value.startswith(EMBEDDED):
            return {"embedded": sha256_text(value), "sha256": None}
        return self._local(value) if given[0] == "image" else _remote(value)

    def _local(self, name: str) -> Row:
        if name not in self._found:
            self._found[name] = self._examine(name)
        return dict(self._found[name])

    def _examine(self, name: str) -> Row:
        if self._root is None:
            raise RowError(f"image {name!r} is a local file, but no images folder is configured")
        try:
            path = (self._root / name).resolve()
            is_file = path.is_file()
        except (OSError, ValueError) as error:
            raise RowError(f"image {name!r} is no usable path: {error}") from error
        if not path.is_relative_to(self._root):
            raise RowError(f"image {name!r} leads out of the images folder")
        if not is_file:
            raise RowError(f"image {name!r} is missing")
        return {"path": path.relative_to(self._root).as_posix(), "sha256": sha256_file(path)}


def _remote(url: str) -> Row:
    if not url.startswith(("http://", "https://")):
        raise RowError(f"image_url {url!r} is no http(s) address")
    return {"url": url, "sha256": None}


def image_key(image: Row | None) -> str | None:
    """Name an image for grouping: by content where it is known, else by address."""
    if image is None:
        return None
    return f"sha256:{image['sha256']}" if image["sha256"] else unfetched_name(image)


def unfetched_name(image: Row) -> str:
    """Name an image that is not there yet: by its address, or by the text that holds it."""
    return f"url:{image['url']}" if "url" in image else f"embedded:{image['embedded']}"
