"""The rate of late, the time left, and how they read."""

from pathlib import Path

from finetrail.step.progress import Progress, Recent, Standing
from finetrail.step.step import Loop


def test_the_rate_is_that_of_the_last_minute() -> None:
    recent = Recent(0.0)
    assert recent.rate(50_000, 5.0) == 10_000.0
    for second in range(6, 120):
        rate = recent.rate(50_000 + second - 5, float(second))
    assert rate == 1.0, "what was quick at first is forgotten"


def test_slow_counts_are_measured_over_more_than_a_minute() -> None:
    recent = Recent(0.0)
    for step in range(1, 20):
        rate = recent.rate(step, 90.0 * step)
    assert rate == 1 / 90


def test_a_stall_lowers_the_rate() -> None:
    recent = Recent(0.0)
    for second in range(1, 61):
        recent.rate(second, float(second))
    rates = [recent.rate(60, float(second)) for second in range(61, 661, 60)]
    assert rates == sorted(rates, reverse=True)
    assert 0.0 < rates[-1] < 0.05


def test_a_file_gives_the_total_when_it_is_asked_for(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    progress = Progress("rows", rows)
    rows.write_text('{"id": 1}\n' * 10)
    progress.begin(100.0)
    progress.advance(5)
    standing = progress.standing(110.0)
    assert (standing.done, standing.total, standing.per_second, standing.seconds_left) == (5, 10, 0.5, 10.0)
    assert standing.line() == "rows: 5/10, 0.5/s, 0:10 left"


def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    progress = Progress("rows", tmp_path / "missing.jsonl")
    assert progress.standing(1.0).line() == "rows: 0 done, 0.0/s"
    assert Standing("rows", 0, 10, 0.0, None).line() == "rows: 0/10, 0.0/s, time left unknown"
    assert Standing("rows", 5, 10, 1.0, 5.0, is_estimate=True).line() == "rows: 5/about 10, 1.0/s, 0:05 left"


def test_items_pass_through_and_are_counted() -> None:
    ended: list[Progress] = []
    progress = Loop("rows", None, ended.append)
    assert list(progress.over("abc")) == ["a", "b", "c"]
    assert progress.done == progress.known_total() == 3
    assert ended == [progress]
