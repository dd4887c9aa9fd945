"""The readers that a recipe can name, one a kind of original record."""

from collections.abc import Callable, Iterator

from finetrail.rows.records import Row
from ingest.readers import crag_mm, documents, hotpotqa, messages, multiple_choice, responses, weatherqa

READERS: dict[str, Callable[..., Iterator[Row]]] = {
    "crag_mm": crag_mm.read_records,
    "documents": documents.read_records,
    "hotpotqa": hotpotqa.read_records,
    "messages": messages.read_records,
    "multiple_choice": multiple_choice.read_records,
    "responses": responses.read_records,
    "weatherqa": weatherqa.read_records,
}
