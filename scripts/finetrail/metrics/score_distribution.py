"""The distribution of scores from 0 to 10: verdicts and ten bins, as numbers and as text."""

from collections import Counter
from collections.abc import Iterable

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row

VERDICTS = ("PASS", "NEEDS_REVIEW", "FAIL")
BINS = 10
RULER = "=" * 50


def verdict_of(score: float, pass_score: float, review_score: float) -> str:
    """Return PASS, NEEDS_REVIEW or FAIL; a score on a border has the better verdict."""
    return "PASS" if score >= pass_score else "NEEDS_REVIEW" if score >= review_score else "FAIL"


def bin_of(score: float) -> int:
    """Return the number of a score's bin: [k, k+1), the last one closed.

    Raises:
        FinetrailError: the score is not between 0 and 10.
    """
    if not 0 <= score <= BINS:
        raise FinetrailError(f"a score is between 0 and {BINS}, found {score}")
    return min(int(score), BINS - 1)


def summarise(scores: Iterable[float], pass_score: float, review_score: float) -> Row:
    """Count the verdicts and the bins of overall scores; shares are of all scores."""
    verdicts, bins = Counter(dict.fromkeys(VERDICTS, 0)), Counter(dict.fromkeys(range(BINS), 0))
    for score in scores:
        verdicts[verdict_of(score, pass_score, review_score)] += 1
        bins[bin_of(score)] += 1
    total = verdicts.total()

    def counted(count: int) -> Row:
        return {"count": count, "share": round(count / total, 6) if total else 0.0}

    return {
        "total": total,
        "pass_score": pass_score,
        "review_score": review_score,
        "verdicts": {name: counted(verdicts[name]) for name in VERDICTS},
        "distribution": [{"from": low, "to": low + 1, **counted(bins[low])} for low in range(BINS)],
    }


def as_text(summary: Row) -> str:
    """Lay a summary out as the command line of the original pipeline printed it."""
    lines = [RULER, "VALIDATION SUMMARY", RULER, f"Total Q&A pairs: {summary['total']}"]
    total = summary["total"]
    lines += [f"{name}: {count_text(entry['count'], total)}" for name, entry in summary["verdicts"].items()]
    lines += ["", "SCORE DISTRIBUTION:"]
    lines += [
        f"Overall: {entry['from']}-{entry['to']}: {count_text(entry['count'], total)}"
        for entry in summary["distribution"]
    ]
    return "\n".join(lines) + "\n"


def count_text(count: int, total: int) -> str:
    """Say a count and its share, which is not rounded twice."""
    return f"{count} ({count / max(1, total):.1%})"
