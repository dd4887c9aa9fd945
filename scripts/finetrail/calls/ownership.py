"""Which segments of a call store are its own: a file beside its folder, out of the way of whoever copies into it.

The first writer gives the store an id, which stands in the names of all segments from then on, and lists the segments
that were there before. Any other segment was brought from elsewhere. Without the file (a store that was fetched) all
segments are the store's own.
"""

import json
import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from finetrail.calls.write_once import write_once

LOGGER = logging.getLogger(__name__)
SUFFIX = ".owner.json"
ID_BYTES = 4


@dataclass(frozen=True)
class Ownership:
    """What tells a store's own segments; `id` is None where nothing does."""

    id: str | None = None
    before: frozenset[str] = frozenset()

    def owns(self, segment: Path) -> bool:
        """Say whether a segment is the store's own."""
        return self.id is None or segment.name in self.before or f"-{self.id}-" in segment.name


def owner_file(folder: Path) -> Path:
    """Return the file beside a store's folder that tells its own segments."""
    place = folder.resolve()
    return place.with_name(place.name + SUFFIX)


def read_ownership(folder: Path) -> Ownership:
    """Read what tells a store's own segments; a file that cannot be read tells nothing."""
    try:
        said = json.loads(owner_file(folder).read_text(encoding="utf-8"))
        return Ownership(str(said["id"]), frozenset(map(str, said["before"])))
    except (OSError, ValueError, LookupError, TypeError):
        return Ownership()


def claim(folder: Path, segments: list[Path]) -> Ownership:
    """Make a store's own segments known, where nobody has; the segments that are there now are among them.

    Where the file cannot be written, nothing tells, and all segments stay the store's own.
    """
    path = owner_file(folder)
    known = read_ownership(folder)
    if known.id is not None or path.exists():
        return known
    said = {"id": secrets.token_hex(ID_BYTES), "before": [segment.name for segment in segments]}
    try:
        write_once(path, json.dumps(said) + "\n")
    except OSError as error:
        LOGGER.warning("%s cannot be written (%s): segments from elsewhere are not told apart", path, error.strerror)
    return read_ownership(folder)
