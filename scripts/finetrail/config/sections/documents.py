"""The section of a recipe whose original records are documents: what may be read, and how it is cut into chunks."""

from typing import Literal

from pydantic import model_validator

from finetrail.config.sections.fields import Count, Section, Text, result


class Tokenizer(Section):
    """A tokenizer, by its file or by its place on the hub."""

    path: Text | None = result(None, "a local `tokenizer.json`")
    hub: Text | None = result(None, "id of a model on the hub")
    revision: Text | None = result(None, "its revision; compulsory with `hub`")

    @model_validator(mode="after")
    def _check_place(self) -> "Tokenizer":
        if (self.path is None) == (self.hub is None):
            raise ValueError("a tokenizer is named by either `path` or `hub`")
        if self.hub is not None and self.revision is None:
            raise ValueError("`hub` needs a `revision`: another tokenizer would cut other chunks")
        return self


class Documents(Section):
    """Documents and their chunks; each chunk is a record, and its document the group that it stays in."""

    unit: Literal["characters", "tokens"] = result("characters", "what `chunk_size` and `overlap` count")
    chunk_size: Count = result(1500, "longest chunk")
    overlap: int = result(200, "most that a chunk repeats of the one before, in whole sentences", ge=0)
    tokenizer: Tokenizer | None = result(None, "tokenizer of the unit `tokens`")
    max_file_mb: Count = result(100, "a larger file is not read, and reported")
    seconds_per_file: float = result(120.0, "a file that takes longer is not read, and reported", gt=0)
    memory_mb_per_file: Count = result(2000, "a file that needs more is not read, and reported")

    @model_validator(mode="after")
    def _check_chunks(self) -> "Documents":
        if 2 * self.overlap >= self.chunk_size:
            raise ValueError(f"`overlap` {self.overlap} must be less than half of `chunk_size` {self.chunk_size}")
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise ValueError("the unit `tokens`, and no other, needs a `tokenizer`")
        return self
