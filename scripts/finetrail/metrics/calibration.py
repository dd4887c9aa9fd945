"""How good a judge of yes and no is against gold, and what its share of yes says about the true share."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.metrics.agreement import cohen_kappa
from finetrail.metrics.bootstrap import Sample, bootstrap
from finetrail.rows.records import Row, round_score

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.float64]]

BINS = 5
LEVEL = 0.95


@dataclass(frozen=True)
class Pair:
    """One item with its gold label: what the judge said of it, and a score that could have told as well."""

    group: str
    gold: bool
    said: bool
    grade: float
    score: float


def ratio(part: float, whole: float) -> float | None:
    """Return a rounded quotient; None where there is nothing to divide by."""
    return round_score(part / whole) if whole else None


def auc(gold: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the area under the ROC curve (0.5: no better than chance); None where gold has one label only."""
    from sklearn.metrics import roc_auc_score

    return round_score(float(roc_auc_score(gold, scores))) if len(set(gold)) == 2 else None


def interval(groups: Sequence[str], hits: Sequence[bool], *, resamples: int, seed: int) -> Row | None:
    """Return a share with its interval over groups; None where there is no item."""
    if not hits:
        return None
    return bootstrap(Sample.of_means(groups, [float(hit) for hit in hits]), resamples=resamples, seed=seed).as_row()


def compare_with_gold(pairs: Sequence[Pair], *, resamples: int, seed: int) -> dict[str, Any]:
    """Compare a judge with gold, beside a judge that always says yes.

    Returns:
        Counts of the confusion matrix (positive: yes), accuracy, precision, recall (sensitivity), specificity and F1;
        Cohen's kappa; the area under the ROC curve of the judge's grades and of the given scores; shares by score.

    Raises:
        FinetrailError: there is no pair.
    """
    if not pairs:
        raise FinetrailError("there is no gold label to compare with")
    gold, said = [pair.gold for pair in pairs], [pair.said for pair in pairs]
    matrix = confusion(pairs)
    tp, fp, fn, tn = (matrix[name] for name in ("tp", "fp", "fn", "tn"))
    yes = tp + fn
    right = [pair.gold == pair.said for pair in pairs]
    return {
        "pairs": len(pairs),
        "groups": len({pair.group for pair in pairs}),
        "always_yes": {
            "accuracy": ratio(yes, len(pairs)),
            "precision": ratio(yes, len(pairs)),
            "recall": ratio(yes, yes),
        },
        "confusion": matrix,
        "accuracy": interval([pair.group for pair in pairs], right, resamples=resamples, seed=seed),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, yes),
        "specificity": ratio(tn, tn + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "kappa": cohen_kappa([*map(int, gold)], [*map(int, said)]),
        "auc": auc(gold, [pair.grade for pair in pairs]),
        "auc_of_score": auc(gold, [pair.score for pair in pairs]),
        "by_score": by_score(pairs),
    }


def confusion(pairs: Iterable[Pair]) -> dict[str, int]:
    """Count true and false yes (``tp``, ``fp``) and no (``tn``, ``fn``)."""
    counts = dict.fromkeys(("tp", "fp", "fn", "tn"), 0)
    for pair in pairs:
        counts[{(True, True): "tp", (False, True): "fp", (True, False): "fn"}.get((pair.gold, pair.said), "tn")] += 1
    return counts


def by_score(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Count gold and verdicts in five bins of the score, equally many pairs each, lowest scores first."""
    ranked = sorted(pairs, key=lambda pair: (pair.score, pair.group, pair.gold, pair.said))
    cuts = [round(number * len(ranked) / BINS) for number in range(BINS + 1)]
    bins = (ranked[start:end] for start, end in pairwise(cuts) if end > start)
    return [
        {
            "from": part[0].score,
            "to": part[-1].score,
            "pairs": len(part),
            "gold_yes": ratio(sum(pair.gold for pair in part), len(part)),
            "said_yes": ratio(sum(pair.said for pair in part), len(part)),
            "accuracy": ratio(sum(pair.gold == pair.said for pair in part), len(part)),
        }
        for part in bins
    ]


def corrected_yield(
    labels: Sequence[tuple[str, bool]], pairs: Sequence[Pair], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Estimate the true share of yes from a judge's labels, corrected for its errors (Rogan and Gladen 1978).

    ``(share + specificity - 1) / (sensitivity + specificity - 1)``, held to 0 to 1. The interval draws the groups of
    the labels and those of the gold pairs anew, each for themselves, so that it carries the error of sensitivity and
    specificity too. There is none where they sum to 1 or less, in all or in more than half of what the level leaves
    out on a side: the judge then tells nothing.

    Args:
        labels: group and verdict of each label.
        pairs: the same judge on gold pairs.
        resamples: how often groups are drawn.
        seed: of the draws.
    """
    import numpy as np

    counts = _sums([(group, (float(said), 1.0)) for group, said in labels])
    quality = _sums([(pair.group, _cells(pair)) for pair in pairs])
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn_counts, drawn_quality = (_draw(table, resamples, rng) for table in (counts, quality))
    estimate, _ = _rogan_gladen(counts.sum(axis=0)[None], quality.sum(axis=0)[None])
    values, useful = _rogan_gladen(drawn_counts, drawn_quality)
    useless = float(1 - useful.mean())
    found = {
        "labels": len(labels),
        "share_of_yes": ratio(sum(said for _, said in labels), len(labels)),
        "corrected": None,
        "low": None,
        "high": None,
        "level": LEVEL,
        "resamples": resamples,
        "useless_resamples": round_score(useless),
    }
    if np.isnan(estimate[0]) or useless > (1 - LEVEL) / 2:
        return found | {"why_none": "sensitivity and specificity sum to 1 or less, or nearly so: nothing to correct by"}
    low, high = np.quantile(values[useful], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    named = {"corrected": estimate[0], "low": low, "high": high}
    return found | {name: round_score(float(value)) for name, value in named.items()}


def _cells(pair: Pair) -> tuple[float, float, float, float]:
    """Return right yes, all gold yes, right no, all gold no: 0 or 1 each."""
    right = float(pair.gold == pair.said)
    return (right, 1.0, 0.0, 0.0) if pair.gold else (0.0, 0.0, right, 1.0)


def _sums(items: Iterable[tuple[str, tuple[float, ...]]]) -> "Numbers":
    """Sum counts by group, shape (groups, counts), in the order of the groups' names."""
    import numpy as np

    sums: dict[str, Any] = defaultdict(float)
    for group, counts in items:
        sums[group] = sums[group] + np.array(counts)
    return np.stack([sums[group] for group in sorted(sums)])


def _draw(table: "Numbers", resamples: int, rng: Any) -> "Numbers":
    """Draw groups with replacement and sum their counts, shape (resamples, counts)."""
    import numpy as np

    count = len(table)
    drawn: Numbers = rng.multinomial(count, np.full(count, 1 / count), size=resamples) @ table
    return drawn


def _rogan_gladen(counts: "Numbers", quality: "Numbers") -> "tuple[Numbers, Any]":
    """Return the corrected shares, NaN where the judge tells nothing, and where it does tell something."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts[:, 0] / counts[:, 1]
        sensitivity, specificity = quality[:, 0] / quality[:, 1], quality[:, 2] / quality[:, 3]
        margin = sensitivity + specificity - 1
        useful = margin > 1e-9
        values = np.where(useful, np.clip((share + specificity - 1) / margin, 0, 1), np.nan)
    return values, useful
