"""The summary of scores: the original pipeline's own example, and where the borders lie."""

import pytest

from finetrail.errors import FinetrailError
from finetrail.metrics.score_distribution import as_text, bin_of, summarise, verdict_of

EXAMPLE = """\
==================================================
VALIDATION SUMMARY
==================================================
Total Q&A pairs: 5826
PASS: 5712 (98.0%)
NEEDS_REVIEW: 98 (1.7%)
FAIL: 16 (0.3%)

SCORE DISTRIBUTION:
Overall: 0-1: 0 (0.0%)
Overall: 1-2: 0 (0.0%)
Overall: 2-3: 0 (0.0%)
Overall: 3-4: 0 (0.0%)
Overall: 4-5: 0 (0.0%)
Overall: 5-6: 0 (0.0%)
Overall: 6-7: 16 (0.3%)
Overall: 7-8: 98 (1.7%)
Overall: 8-9: 1250 (21.5%)
Overall: 9-10: 4462 (76.6%)
"""


def test_the_published_example() -> None:
    scores = [6.5] * 16 + [7.2] * 98 + [8.4] * 1250 + [9.0] * 4000 + [10.0] * 462
    summary = summarise(scores, 8.0, 7.0)
    assert as_text(summary) == EXAMPLE
    assert sum(entry["count"] for entry in summary["distribution"]) == summary["total"] == 5826


def test_a_share_is_rounded_once() -> None:
    """836 of 1,003 are 83.3499 %, which six digits of the share turn into 83.35."""
    summary = summarise([9.0] * 836 + [7.0] * 167, 8.0, 7.0)
    assert "PASS: 836 (83.3%)\n" in as_text(summary)


@pytest.mark.parametrize(
    ("score", "number"), [(0.0, 0), (0.999, 0), (1.0, 1), (7.9999, 7), (8.0, 8), (9.0, 9), (10.0, 9)]
)
def test_bins_are_closed_below_and_the_last_one_above_too(score: float, number: int) -> None:
    assert bin_of(score) == number


@pytest.mark.parametrize("score", [-0.1, 10.01, float("nan")])
def test_no_bin_is_made_up(score: float) -> None:
    with pytest.raises(FinetrailError):
        bin_of(score)


def test_a_border_has_the_better_verdict() -> None:
    assert [verdict_of(score, 8.0, 7.0) for score in (8.0, 7.999, 7.0, 6.999)] == [
        "PASS", "NEEDS_REVIEW", "NEEDS_REVIEW", "FAIL",
    ]  # fmt: skip
