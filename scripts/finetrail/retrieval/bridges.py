"""Lexical and bridge features of candidate passages, and their fusion by a linear model that is trained listwise.

A question over several pages names one of them, and that one names the next: whether a passage's title stands in the
question, or in the text of a passage that ranks high, tells more than its words do.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.retrieval.search_index import Passage
from finetrail.retrieval.search_words import words

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

FEATURES = (
    "retrieval score",
    "retrieval rank",
    "question words in the passage",
    "question words in the title",
    "title in the question",
    "title in a top passage",
    "names the title of a top passage",
)
TOP = 3
"""Passages, the best by retrieval, from which bridges lead."""
L2 = 0.05
"""Weight of the squared weights in the listwise loss."""
DIGITS = 6
_PLAIN_WORDS = frozenset(
    words(
        "a an and are as at be been both by did do does for from had has have how in is it its of on or that the their "
        "to was were what when where which who whom whose why with"
    )
)


def features(question: str, passages: Sequence[Passage], scores: Sequence[float]) -> "Floats":
    """Return the features of a question's candidates, shape (candidates, features).

    Args:
        question: as it was asked.
        passages: the candidates, best first by retrieval.
        scores: their retrieval scores.
    """
    import numpy as np

    spoken = words(question)
    asked = [word for word in spoken if word not in _PLAIN_WORDS]
    texts = [words(passage["text"]) for passage in passages]
    titles = [_title_words(passage["title"]) for passage in passages]
    held = Counter(word for text, title in zip(texts, titles, strict=True) for word in {*text, *title})
    rarity = {word: math.log(1 + len(passages) / held[word]) for word in held}
    best = max(scores, default=0.0) or 1.0
    said, heads, lines = _joined(spoken), [*map(_joined, titles)], [*map(_joined, texts)]
    table = np.zeros((len(passages), len(FEATURES)))
    for number, (text, title) in enumerate(zip(texts, titles, strict=True)):
        others = [place for place in range(min(TOP, len(passages))) if place != number]
        table[number] = (
            scores[number] / best,
            1 / (1 + math.log2(1 + number)),
            _covered(asked, {*text, *title}, rarity),
            _share(title, set(asked)),
            float(_stands_in(heads[number], said)),
            float(any(_stands_in(heads[number], lines[place]) for place in others)),
            float(any(_stands_in(heads[place], lines[number]) for place in others)),
        )
    return table


def _title_words(title: str) -> list[str]:
    """Return a title's words without what stands in brackets to tell it from others of its name."""
    return words(title.split(" (")[0]) or words(title)


def _covered(asked: Sequence[str], text: set[str], rarity: Mapping[str, float]) -> float:
    """Return the share of the question's words, weighted by their rarity among the candidates, that a text holds."""
    weights = {word: rarity.get(word, 0.0) for word in asked}
    total = sum(weights.values())
    return sum(weight for word, weight in weights.items() if word in text) / total if total else 0.0


def _share(title: Sequence[str], asked: set[str]) -> float:
    counted = [word for word in title if word not in _PLAIN_WORDS]
    return sum(word in asked for word in counted) / len(counted) if counted else 0.0


def _joined(text: Sequence[str]) -> str:
    """Return words, which hold no blank, with a blank around each."""
    return f" {' '.join(text)} " if text else ""


def _stands_in(title: str, text: str) -> bool:
    """Say whether a title stands in a text, word by word; both as `_joined` makes them."""
    return bool(title) and title in text


def with_scores(table: "Floats", *columns: Sequence[float]) -> "Floats":
    """Add a column a ranking: its scores of the candidates, with mean 0 and deviation 1 among them."""
    import numpy as np

    added = []
    for column in columns:
        values = np.array(column, dtype=np.float64)
        spread = values.std() if len(values) else 0.0
        added.append((values - values.mean()) / spread if spread > 0 else np.zeros_like(values))
    return np.column_stack([table, *added])


def ranks(table: "Floats", weights: Sequence[float]) -> list[float]:
    """Return the fused scores of the candidates, rounded so that another CPU's arithmetic changes no order."""
    return [round(float(score), DIGITS) + 0.0 for score in table @ weights]


def fit_listwise(tables: Sequence["Floats"], gold: Sequence[Sequence[bool]]) -> list[float]:
    """Learn one weight a feature so that gold candidates get the probability (softmax over a question's candidates).

    The loss is ListNet's top-one cross entropy (Cao et al. 2007) with the mass spread evenly over the gold candidates,
    and an L2 penalty; it is convex, so that the weights do not depend on where it begins.

    Raises:
        FinetrailError: no question has a gold candidate and another.
    """
    import numpy as np
    from scipy.optimize import minimize

    pairs = [(t, np.array(g, dtype=bool)) for t, g in zip(tables, gold, strict=True) if any(g) and not all(g)]
    if not pairs:
        raise FinetrailError("no question has a gold passage among its candidates", hint="Retrieve more: recall.top_k")

    def loss(weights: "Floats") -> tuple[float, "Floats"]:
        total, slope = 0.0, np.zeros_like(weights)
        for table, is_gold in pairs:
            logits = table @ weights
            logits -= logits.max()
            mass = np.exp(logits)
            share = mass / mass.sum()
            total += float(np.log(mass.sum()) - logits[is_gold].mean())
            slope += share @ table - table[is_gold].mean(axis=0)
        count = len(pairs)
        return total / count + L2 * float(weights @ weights), slope / count + 2 * L2 * weights

    found = minimize(loss, np.zeros(pairs[0][0].shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return [round(float(weight), DIGITS) + 0.0 for weight in found.x]
