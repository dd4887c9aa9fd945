"""What jobs will take, by earlier ones; what they used of what they asked for, and the advice."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.cluster.cost import History
from finetrail.cluster.efficiency import Used, advise, as_yaml, read_benchmarks, table
from setup.plan_calls import gpus_of


def record(output: str, minutes: int, **changes: Any) -> dict[str, Any]:
    times = {"started": "2026-03-04T11:00:00Z", "ended": f"2026-03-04T11:{minutes:02}:00Z"}
    facts = {"rule": "train_adapter", "recipe": "cal", "status": "complete", "outputs": [{"path": output}]}
    return facts | times | changes


def test_a_job_takes_what_it_took_before_else_what_its_rule_took() -> None:
    history = History(
        [
            record("a", 10, counts={"in": 7}),
            record("b", 20),
            record("a", 50, status="failed"),
            record("a", 30, started="2026-03-04T11:10:00Z", counts={"in": 9}),
        ]
    )
    same = history.expect("train_adapter", "cal", ["a", "a.meta.json"])
    assert (same.seconds, same.basis) == (20 * 60, "this job on 2026-03-04, 9 rows")
    other = history.expect("train_adapter", "cal", ["c"])
    assert (other.seconds, other.basis) == (20 * 60, "mean of 2 jobs of cal")
    assert history.expect("train_adapter", "crag_mm", ["c"]).basis.startswith("mean of 2 jobs of other recipes")
    unknown = history.expect("predict_answers", "cal", ["c"])
    assert unknown.seconds is None and "pilot" in unknown.basis


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        ("mem_mb=1, gpu=2, runtime=9", 2),
        ("nodes=3, tasks=3, slurm_extra=--ntasks-per-node=1 --gpus-per-node=a100:4", 12),
        ("mem_mb=1", 0),
    ],
)
def test_the_gpus_of_a_job_are_those_of_all_its_nodes(resources: str, gpus: int) -> None:
    assert gpus_of({"resources": resources}) == gpus


@pytest.mark.parametrize(
    ("used", "asked", "better"),
    [
        ((500, 10, 1.0), (2000, 60, 1), {"mem_mb": 1200, "runtime": 20}),
        ((1200, 20, 1.0), (2000, 60, 1), {}),
        ((1600, 58, 1.0), (2000, 60, 1), {"mem_mb": 2600, "runtime": 116}),
        ((1200, 20, 1.2), (2000, 60, 8), {"threads": 2}),
        ((0, 0, 0), (2000, 60, 1), {}),
        ((50, 0.1, 0.9), (600, 10, 1), {}),
    ],
)
def test_advice_is_given_where_it_is_far_from_right(
    used: tuple[float, float, float], asked: tuple[int, int, int], better: dict[str, int]
) -> None:
    names = ("mem_mb", "runtime", "threads")
    assert advise(Used("rule", 1, *used), dict(zip(names, asked, strict=True))) == better


def test_benchmarks_are_read_by_rule_and_the_most_counts(tmp_path: Path) -> None:
    rows = {"train_adapter.a.jsonl": (600, 90.0, 150.0), "train_adapter.b.jsonl": (500, 120.0, "NA"), "x.jsonl": None}
    (tmp_path / "cal").mkdir()
    for name, row in rows.items():
        names = ("max_rss", "s", "mean_load")
        text = json.dumps(dict(zip(names, row, strict=True))) if row else '{"s": 0.1, "max_rss": "NA"}'
        (tmp_path / "cal" / name).write_text(text + "\n")
    train, short = read_benchmarks(tmp_path)
    assert train == Used("train_adapter", 2, 600, 2.0, 1.5)
    assert (short.mem_mb, short.cores) == (0, 0)
    asked = {"mem_mb": 2000, "runtime": 60, "threads": 4}
    head, line = table([(train, asked)])
    assert len(head) == len(line) and "30" in line.split()
    assert list(as_yaml({"train_adapter": advise(train, asked)})) == [
        "resources:",
        "  train_adapter: {runtime: 10, threads: 2}",
    ]
