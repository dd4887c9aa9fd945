"""A cross-encoder that reads query and passage together and scores the pair, on sentence-transformers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.retrieval.bi_encoder import LONGEST_TEXT
from finetrail.retrieval.model_place import ModelPlace, model_place
from finetrail.rows.records import round_score

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

SCORE_DIGITS = 4
"""Digits that another CPU's arithmetic, or another batch, leaves alone."""


@dataclass(frozen=True)
class PairScorer:
    """A model with one output, and how it is shown pairs.

    Attributes:
        place: where it comes from.
        max_tokens: longest pair, in tokens; none for the model's own bound.
        batch_size: pairs that are scored at once.
    """

    place: ModelPlace
    max_tokens: int | None = None
    batch_size: int = 32

    @cached_property
    def model(self) -> "CrossEncoder":
        """The loaded model.

        Raises:
            FinetrailError: see `ModelPlace.load`; or it has several outputs.
        """
        from sentence_transformers import CrossEncoder

        model: CrossEncoder = self.place.load(CrossEncoder, max_length=self.max_tokens)
        if model.num_labels != 1:
            raise FinetrailError(
                f"has {model.num_labels} outputs; a reranker has one", where=self.place.name, hint="Name a reranker"
            )
        return model

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Score (query, passage) pairs by their logits; higher is better, rounded to `SCORE_DIGITS`.

        Raises:
            FinetrailError: the model returns what is no finite number.
        """
        from torch.nn import Identity

        if not pairs:
            return []
        shown = [(query[:LONGEST_TEXT], text[:LONGEST_TEXT]) for query, text in pairs]
        # Logits: a sigmoid would make the best ones equal.
        made = self.model.predict(
            shown, batch_size=self.batch_size, activation_fn=Identity(), show_progress_bar=False, convert_to_numpy=True
        )
        try:
            return [round_score(score, SCORE_DIGITS) for score in made.tolist()]
        except ValueError as error:
            raise FinetrailError("the cross-encoder returns what is no finite number", where=self.place.name) from error


def scorer_of(settings: Mapping[str, Any], batch_size: int = 32) -> PairScorer:
    """Make the cross-encoder of the section `rerank.model`; it is loaded when it is first needed."""
    return PairScorer(model_place(settings), settings["max_tokens"], batch_size)
