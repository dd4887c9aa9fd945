"""The distribution of scores from 0 to 10: verdicts and ten bins, as numbers, as text and as a picture."""

from collections import Counter
from collections.abc import Iterable
from xml.sax.saxutils import escape

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row

VERDICTS = ("PASS", "NEEDS_REVIEW", "FAIL")
BINS = 10
RULER = "=" * 50
WIDTH, ROW_HEIGHT, LEFT, LONGEST = 640, 26, 80, 400


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
    lines += [f"{name}: {_counted(entry, total)}" for name, entry in summary["verdicts"].items()]
    lines += ["", "SCORE DISTRIBUTION:"]
    lines += [f"Overall: {entry['from']}-{entry['to']}: {_counted(entry, total)}" for entry in summary["distribution"]]
    return "\n".join(lines) + "\n"


def _counted(entry: Row, total: int) -> str:
    """Say a count and its share, which is not rounded twice."""
    return f"{entry['count']} ({entry['count'] / max(1, total):.1%})"


def as_svg(summary: Row, title: str) -> str:
    """Draw the bins as bars, from the best scores down; the same bytes for the same summary."""
    height = ROW_HEIGHT * (BINS + 2)
    most = max((entry["count"] for entry in summary["distribution"]), default=0) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="{ROW_HEIGHT - 8}" font-weight="bold">{escape(title)}</text>',
    ]
    for row, entry in enumerate(reversed(summary["distribution"]), start=1):
        top = ROW_HEIGHT * row
        verdict = verdict_of(entry["from"], summary["pass_score"], summary["review_score"])
        colour = {"PASS": "#2a7f4f", "NEEDS_REVIEW": "#c98a1b", "FAIL": "#b23b3b"}[verdict]
        bar = round(LONGEST * entry["count"] / most, 1)
        parts.append(f'<text x="{LEFT - 8}" y="{top + 17}" text-anchor="end">{entry["from"]}-{entry["to"]}</text>')
        parts.append(f'<rect x="{LEFT}" y="{top + 3}" width="{bar}" height="{ROW_HEIGHT - 6}" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + bar + 6}" y="{top + 17}">{_counted(entry, summary["total"])}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
