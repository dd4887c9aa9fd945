"""The readers that a recipe can name, one a kind of original record."""

from collections.abc import Callable, Iterator

from finetrail.records import Row
from ingest.readers import crag_mm

READERS: dict[str, Callable[..., Iterator[Row]]] = {"crag_mm": crag_mm.read_records}
