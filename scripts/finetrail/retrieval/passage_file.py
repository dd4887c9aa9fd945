"""Passages by id, read from their file on demand, so that no text stays in memory."""

from collections.abc import Mapping
from typing import Any

from finetrail.chat.messages import Evidence
from finetrail.rows.row_file import RowFile


class PassageFile(RowFile):
    """A passages file, whose chunks can be shown as evidence."""

    missing = "the candidate passage is not in the corpus"

    def evidence(self, chunk: Mapping[str, Any]) -> Evidence:
        """Return title and text of a chunk, ``{"passage_id", "start", "end"}``, as it is shown with a question."""
        passage = self[chunk["passage_id"]]
        text = " ".join(passage["text"][chunk["start"] : chunk["end"]].split())
        return Evidence(title=passage["title"], text=text)
