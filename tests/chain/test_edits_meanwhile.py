"""Files that are edited while a job runs or waits: what ran is what was recorded, or the job stops."""

import contextlib
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chain.slow_endpoint import SlowEndpoint, slow_endpoint
from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

EDITED = "was edited after this run was started"
LABELLED = RESULTS / "pointwise_labeled.jsonl"
ANSWERS = RESULTS / "answers.jsonl"
TUTORIAL = "config/tutorial/crag_mm.yaml"


@contextlib.contextmanager
def while_labelling(workspace: Workspace, target: str) -> Iterator[tuple[SlowEndpoint, dict[str, Any]]]:
    """Run the workflow up to a target; the block's body runs while `label_relevance` waits for its endpoint.

    What the run did stands in the dictionary afterwards: `code`, `printed`, and `records` by rule.
    """
    before, outcome = workspace.runs(), dict[str, Any]()
    with slow_endpoint() as server:
        process = workspace.start(target, config=server.config())
        try:
            assert server.arrived.wait(60), "label_relevance never asked"
            yield server, outcome
            server.release.set()
            outcome["printed"], _ = process.communicate(timeout=120)
        finally:
            process.kill()
    outcome["code"] = process.returncode
    outcome["records"] = {record["rule"]: record for record in workspace.new_records(before)}


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def files(workspace: Workspace) -> set[str]:
    """Return the names of all files among the recipe's results, hidden and temporary ones too."""
    return {path.name for path in (workspace.root / RESULTS).rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scripts/label/label_relevance.py", "ADDED = 1\n"),
        ("scripts/finetrail/rows/row_file.py", "ADDED = 1\n"),  # `rerank_passages` reads it too
        ("config/prompts/crag_mm/label_relevance.md", "Decide.\n"),
    ],
)
def test_a_running_job_stops_and_runs_again_when_its_own_source_was_edited(
    with_data: Workspace, copy_of: Copy, name: str, text: str
) -> None:
    workspace = copy_of(with_data)
    made = files(workspace)
    with while_labelling(workspace, str(LABELLED)) as (server, outcome):
        append(workspace.root / name, text)
    assert outcome["code"] == 1
    error = outcome["records"]["label_relevance"]["error"]
    assert name.removeprefix("scripts/") in error and EDITED in error
    assert EDITED in outcome["printed"], "Snakemake shows the end of the log"
    assert made - files(workspace) == {LABELLED.name, "pointwise_labeled.meta.json"}
    assert files(workspace) - made == set(), "nothing half-written is left"
    again = dict.fromkeys(["label_relevance", *(["rerank_passages"] if "row_file" in name else [])], 1)
    assert workspace.planned(str(LABELLED), config=server.config()) == again
    if name.endswith(".py"):
        assert workspace.executed(str(LABELLED), config=server.config()) == again
        assert workspace.meta("pointwise_labeled.meta.json")["llm"]["calls_made"] == 0, "what was paid for is kept"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scripts/synthesize/generate_answers.py", "ADDED = 1\n"),
        ("config/prompts/crag_mm/generate_answers.md", "Be brief.\n"),
    ],
)
def test_a_waiting_job_stops_when_its_source_was_edited(
    with_data: Workspace, copy_of: Copy, name: str, text: str
) -> None:
    workspace = copy_of(with_data)
    with while_labelling(workspace, str(ANSWERS)) as (server, outcome):
        append(workspace.root / name, text)
    assert outcome["code"] == 1
    records = outcome["records"]
    assert {rule: record["status"] for rule, record in records.items()} == {
        "label_relevance": "complete",
        "filter_passages": "complete",
        "generate_answers": "failed",
    }
    assert name.removeprefix("scripts/") in records["generate_answers"]["error"]
    assert EDITED in records["generate_answers"]["error"]
    assert not (workspace.root / ANSWERS).exists()
    assert workspace.planned(str(ANSWERS), config=server.config()) == {"generate_answers": 1}


def test_an_edit_that_was_taken_back_lets_the_job_end_well(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    script = workspace.root / "scripts/label/label_relevance.py"
    text = script.read_text()
    with while_labelling(workspace, str(LABELLED)) as (server, outcome):
        script.write_text(text + "ADDED = 1\n")
        script.write_text(text)
    assert outcome["code"] == 0
    llm, overrides = server.config()
    elsewhere = llm.replace(str(server.server_port), "9")
    assert workspace.executed(str(LABELLED), config=(elsewhere, overrides)) == {}, "an address changes no result"


def test_a_configuration_edited_meanwhile_touches_the_next_run_only(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    with while_labelling(workspace, "data") as (server, outcome):
        workspace.edit(TUTORIAL, "synthesize:\n", "synthesize:\n  refusal_text: No idea\n")
    assert outcome["code"] == 0
    rules = ["label_relevance", "filter_passages", "generate_answers", "judge_answers", "select_answers", "make_folds"]
    assert set(outcome["records"]) == set(rules)
    old = workspace.meta("synthetic.meta.json")["parameters"]["settings"]["synthesize"]["refusal_text"]
    assert old == "I don't know"
    assert "No idea" not in (workspace.root / RESULTS / "folds/fold0/train.jsonl").read_text()
    assert workspace.executed("data", config=server.config()) == {"select_answers": 1, "make_folds": 1}
    new = workspace.meta("synthetic.meta.json")["parameters"]["settings"]["synthesize"]["refusal_text"]
    assert new == "No idea"


def cluster_job(workspace: Workspace, rule: str) -> "subprocess.CompletedProcess[str]":
    """Run one job of the latest run as a cluster would: by a Snakemake that parses the workflow again."""
    run = Path("logs/tutorial/runs") / max(workspace.runs())
    variables = {
        "FINETRAIL_RUN": str(run),
        "FINETRAIL_RUN_CONFIG": str(run / "run_config.yaml"),
        "FINETRAIL_DIGESTS": str(run / "digests.json"),
    }
    options = ["--mode", "remote", "--force", "--nolock", "--no-hooks", "--ignore-incomplete", "--retries", "0"]
    options += ["--target-jobs", f"{rule}:recipe=crag_mm", "--allowed-rules", rule]
    return subprocess.run(
        workspace.command(options=(*options,))[:-1],
        cwd=workspace.root,
        env=workspace.environment() | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_job_on_a_cluster_runs_while_nothing_was_edited(with_data: Workspace, copy_of: Copy) -> None:
    done = cluster_job(copy_of(with_data), "recall_passages")
    assert done.returncode == 0, done.stderr


def test_a_job_on_a_cluster_is_tried_again_by_who_submitted_it_alone(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    (workspace.root / RESULTS / "recall.jsonl").unlink()
    again = ("resources={recall_passages: {retries: 3}}",)
    assert workspace.executed(f"{RESULTS}/recall.jsonl", config=again) == {"recall_passages": 1}
    (workspace.root / RESULTS / "queries.jsonl").write_text("no row\n")
    tries = Counter(record["rule"] for record in workspace.records(max(workspace.runs())))
    assert cluster_job(workspace, "recall_passages").returncode == 1
    tries.subtract(record["rule"] for record in workspace.records(max(workspace.runs())))
    assert tries == {"recall_passages": -1}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (TUTORIAL, "queries:\n", "recall: {k1: 1.5}\n\nqueries:\n"),
        ("tests/chain/mini.yaml", "    limit: 40\n", "    limit: 40\n    recall: {k1: 1.5}\n"),
        ("rules/recall.smk", 'of("recall/recall_passages.py"', 'of( "recall/recall_passages.py"'),
        ("scripts/recall/recall_passages.py", "import argparse\n", "import argparse\nimport json\n"),
    ],
)
def test_a_job_on_a_cluster_stops_when_its_run_was_edited(
    with_data: Workspace, copy_of: Copy, name: str, old: str, new: str
) -> None:
    workspace = copy_of(with_data)
    workspace.edit(name, old, new)
    done = cluster_job(workspace, "recall_passages")
    assert done.returncode == 1
    said = done.stderr + (workspace.root / "logs/tutorial/crag_mm/recall_passages.log").read_text()
    assert f"{name.removeprefix('scripts/')}: {EDITED}" in said
