"""`make plan` counts the calls that a run would make, with the keys of the run itself."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]
STEPS = ["make_queries", "label_relevance", "generate_answers", "judge_answers"]
MOST_AT_ONCE = 8  # the offline endpoint's max_concurrency
FIGURES = re.compile(r"^(\w+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(no price|[\d.]+)  (.+)$", re.M)
UNKNOWN = re.compile(r"^(\w+) +unknown until (.+) ha(?:s|ve) run(?:: (.*))?$", re.M)
PRICED = """llm={endpoints: {paid: {kind: openai, base_url: 'http://127.0.0.1:9/v1',
    prices: {some-model: {input: 1.0, output: 2.0}}}}}"""
ELSEWHERE = "overrides={{crag_mm: {{label: {{model: {{endpoint: paid, model: {model}}}}}}}}}"


def plan(workspace: Workspace, target: str = "data", config: tuple[str, ...] = ()) -> str:
    """Return what the plan prints, without the dry run before it."""
    arguments = workspace.command(target, config=config)[1:]
    done = subprocess.run(
        [sys.executable, "scripts/setup/plan_calls.py", *arguments],
        cwd=workspace.root,
        env=workspace.environment() | {"PYTHONPATH": "scripts"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    dry_run, _, printed = done.stdout.partition("Calls to models, crag_mm\n")
    assert "This was a dry-run" in dry_run or "Nothing to be done" in dry_run
    return printed


def figures(printed: str) -> dict[str, dict[str, int]]:
    """Return the figures of each step whose calls are known."""
    names = ("rows", "calls", "in_store", "repeats", "to_make")
    return {
        found[1]: dict(zip(names, map(int, found.groups()[1:6]), strict=True)) for found in FIGURES.finditer(printed)
    }


def unknown(printed: str) -> dict[str, tuple[str, str]]:
    """Return what the unknown steps wait for, and what is known of them."""
    return {found[1]: (found[2], found[3]) for found in UNKNOWN.finditer(printed)}


def test_a_plan_before_the_first_run_says_what_is_not_known(fresh: Workspace) -> None:
    printed = plan(fresh)
    assert figures(printed) == {}
    waits = unknown(printed)
    assert list(waits) == STEPS
    assert waits["make_queries"] == (
        "ingest_records",
        "about 40 calls at most (a pilot keeps its last session whole)",
    )
    assert waits["judge_answers"][0] == "generate_answers and ingest_records"
    assert not (fresh.root / "results").exists() and not (fresh.root / "logs").exists()


def test_after_a_run_nothing_is_to_be_made(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    known = figures(plan(workspace))
    assert list(known) == STEPS
    assert {step: counts["to_make"] for step, counts in known.items()} == dict.fromkeys(STEPS, 0)
    assert {step: counts["calls"] - counts["in_store"] for step, counts in known.items()} == dict.fromkeys(STEPS, 0)
    rows = [len(workspace.rows(f"{name}.jsonl")) for name in ("records", "pointwise_labeled")]
    assert [known[step]["rows"] for step in STEPS[:2]] == rows


def test_files_between_the_steps_may_be_gone(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    for name in ("queries.jsonl", "queries.meta.json"):
        (workspace.root / RESULTS / name).unlink()
    printed = plan(workspace)
    assert re.search(r"^make_queries +does not run: nothing needs its files", printed, re.M)
    assert list(figures(printed)) == STEPS[1:] and "In all: 0 calls to make" in printed


@pytest.mark.parametrize(
    ("step", "output"),
    [("make_queries", "queries"), ("label_relevance", "pointwise_labeled"), ("judge_answers", "judged")],
)
def test_a_lost_output_is_made_again_for_nothing(with_data: Workspace, copy_of: Copy, step: str, output: str) -> None:
    workspace = copy_of(with_data)
    before = {path: path.stat().st_mtime_ns for path in (workspace.root / RESULTS).rglob("*")}
    (workspace.root / RESULTS / f"{output}.jsonl").rename(workspace.root / "lost.jsonl")
    counts = figures(printed := plan(workspace, str(RESULTS / f"{output}.jsonl")))[step]
    assert "nothing to ask" in printed
    assert counts["to_make"] == 0 and counts["in_store"] == counts["calls"] > 0
    (workspace.root / "lost.jsonl").rename(workspace.root / RESULTS / f"{output}.jsonl")
    after = {path: path.stat().st_mtime_ns for path in (workspace.root / RESULTS).rglob("*")}
    assert after == before, "a plan writes nothing"


def test_a_prompt_edit_asks_for_its_own_rows(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    workspace.edit("config/prompts/crag_mm/label_relevance.md", "# User\n", "# User\nRead with care.\n")
    printed = plan(workspace)
    known, waits = figures(printed), unknown(printed)
    assert known["make_queries"]["to_make"] == 0
    label = known["label_relevance"]
    chunks = [len(row["chunks"]) for row in workspace.rows("pointwise_labeled.jsonl")]
    assert (label["rows"], label["calls"], label["in_store"]) == (len(chunks), sum(chunks), 0)
    assert label["to_make"] + label["repeats"] == sum(chunks)
    records = len(workspace.rows("records.jsonl"))
    most = f"at most {2 * records} calls; 0 with its inputs as they are now"
    assert waits == {"generate_answers": ("filter_passages", most), "judge_answers": ("generate_answers", most)}
    workspace.executed("data")
    paid = workspace.meta("pointwise_labeled.meta.json")["llm"]
    assert paid["calls_made"] == label["to_make"], "the run makes the calls that the plan said"
    assert {counts["to_make"] for counts in figures(plan(workspace)).values()} == {0}


def test_another_model_has_its_price_or_none(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    paid = " ".join(PRICED.split())
    target = str(RESULTS / "pointwise_labeled.jsonl")
    priced = plan(workspace, target, config=(paid, ELSEWHERE.format(model="some-model")))
    found = {line[1]: line for line in FIGURES.finditer(priced)}["label_relevance"]
    assert found[10] == "characters/4, and max_tokens"
    calls = figures(priced)["label_relevance"]["to_make"]
    assert int(found[8]) == calls * 200, "the longest reply, from the recipe"
    assert float(found[9]) == pytest.approx((int(found[7]) + 2 * int(found[8])) / 1e6, abs=1e-4)
    assert f"In all: {calls} calls to make, about {found[9]} USD" in priced
    free = plan(workspace, target, config=(paid, ELSEWHERE.format(model="another")))
    assert {line[1]: line[9] for line in FIGURES.finditer(free)}["label_relevance"] == "no price"
    assert f"{calls} of them of models without a price" in free


def test_a_budget_stops_a_step_and_a_second_run_pays_the_rest(fresh: Workspace, copy_of: Copy) -> None:
    """The jobs of one run share the budget; the offline teacher's calls are free, and counted."""
    workspace = copy_of(fresh)
    printed = workspace.snakemake("data", config=("llm={budget_calls: 60}",), fails=True)
    assert "llm.budget_calls: 60: the budget of this run is spent" in printed
    (run,) = workspace.runs()
    first = {record["rule"]: record for record in workspace.records(run) if "llm" in record}
    assert {rule: record["status"] for rule, record in first.items()} == {
        "make_queries": "complete",
        "label_relevance": "failed",
    }
    paid = {rule: record["llm"]["calls_made"] for rule, record in first.items()}
    assert 60 <= sum(paid.values()) < 60 + MOST_AT_ONCE
    made = workspace.executed("data")
    assert made["label_relevance"] == 1 and "make_queries" not in made
    rest = workspace.meta("pointwise_labeled.meta.json")["llm"]["calls_made"]
    assert paid["label_relevance"] + rest == len(
        {key for row in workspace.rows("pointwise_labeled.jsonl") for key in calls(row)}
    )


def calls(row: dict[str, Any]) -> set[str]:
    return {label["call"] for label in row["labels"]}
