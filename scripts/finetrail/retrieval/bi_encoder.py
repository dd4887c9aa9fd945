"""A bi-encoder that turns texts into vectors of unit length, on the sentence-transformers library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.retrieval.model_place import ModelPlace, model_place

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    Vectors = np.ndarray[Any, np.dtype[np.float32]]

LONGEST_TEXT = 20_000
"""Characters that are tokenized; a model reads a few hundred tokens, and a text may be megabytes."""


@dataclass(frozen=True)
class Encoder:
    """A model, and how it is shown texts.

    Attributes:
        place: where it comes from; a plain transformer is pooled by the mean of its tokens.
        max_tokens: longest text, in tokens; none for the model's own bound.
        query_prefix: what stands before each query.
        passage_prefix: what stands before each passage.
        batch_size: texts that are encoded at once.
    """

    place: ModelPlace
    max_tokens: int | None = None
    query_prefix: str = ""
    passage_prefix: str = ""
    batch_size: int = 32

    @cached_property
    def model(self) -> "SentenceTransformer":
        """The loaded model.

        Raises:
            FinetrailError: see `ModelPlace.load`.
        """
        from sentence_transformers import SentenceTransformer

        model: SentenceTransformer = self.place.load(SentenceTransformer)
        if self.max_tokens:
            model.max_seq_length = self.max_tokens
        return model

    def queries(self, texts: Sequence[str]) -> "Vectors":
        """Return vectors of unit length, float32 [texts, width]."""
        return self._encode([self.query_prefix + text for text in texts])

    def passages(self, texts: Sequence[str]) -> "Vectors":
        """Return vectors of unit length, float32 [texts, width]."""
        return self._encode([self.passage_prefix + text for text in texts])

    def _encode(self, texts: list[str]) -> "Vectors":
        import numpy as np

        made = self.model.encode(
            [text[:LONGEST_TEXT] for text in texts],
            batch_size=self.batch_size,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        vectors = np.ascontiguousarray(made, dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise FinetrailError("the bi-encoder returns what is no finite number", where=self.place.name)
        return vectors


def encoder_of(settings: Mapping[str, Any], fetched: Sequence[Path] = (), batch_size: int = 32) -> Encoder:
    """Make the encoder of the section `encoder`; the model is loaded when it is first needed.

    Args:
        settings: the section.
        fetched: the folder that a model of the hub was downloaded to, if it was.
        batch_size: texts that are encoded at once.
    """
    shown = {name: settings[name] for name in ("max_tokens", "query_prefix", "passage_prefix")}
    return Encoder(model_place(settings, fetched), batch_size=batch_size, **shown)
