"""A unigram model of the answers: what held-out loss costs without reading anything."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from finetrail.inference.likelihood import AnswerLoss
from finetrail.models.masks import IGNORED, Example


class Unigram:
    """Token frequencies of the training targets with add-one smoothing over the whole vocabulary.

    Args:
        targets: the token ids of each training target, the end of the turn included.
        vocabulary_size: how many ids there are; each gets one count more.
    """

    def __init__(self, targets: Iterable[Sequence[int]], vocabulary_size: int) -> None:
        self._counts: Counter[int] = Counter()
        for target in targets:
            self._counts.update(target)
        self._total = self._counts.total() + vocabulary_size

    def nats(self, token: int) -> float:
        """The negative log-probability of one token."""
        return math.log(self._total / (self._counts[token] + 1))

    def answer_loss(self, examples: Iterable[Example]) -> list[AnswerLoss]:
        """Score the same tokens that `finetrail.inference.likelihood.answer_loss` scores."""
        losses = []
        for example in examples:
            target = target_ids(example)
            losses.append(AnswerLoss(example.row_id, math.fsum(self.nats(token) for token in target), len(target)))
        return losses


def target_ids(example: Example) -> list[int]:
    """The token ids that carry loss."""
    return [label for label in example.labels if label != IGNORED]
