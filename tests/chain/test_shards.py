"""The steps that ask models, shared out among several jobs: same bytes, no call, and the rest as it was."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chain.slow_endpoint import slow_endpoint
from tests.chain.test_plan import plan
from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

STEPS = ("make_queries", "label_relevance", "generate_answers", "judge_answers")
BEHIND = ["recall_passages", "rerank_passages", "filter_passages", "select_answers", "make_folds"]
FILES = ("queries", "recall", "pointwise_labeled", "answers", "judged", "synthetic", "folds/fold0/train")


def shards(count: int, evaluate: int = 1) -> str:
    phases = ", ".join(f"{name}: {{shards: {count}}}" for name in ("queries", "label", "synthesize"))
    return f"overrides={{crag_mm: {{{phases}, evaluate: {{shards: {evaluate}}}}}}}"


def jobs(count: int) -> dict[str, int]:
    """The jobs of all steps that ask, each in so many shards and one that merges them; records name their script."""
    return dict.fromkeys(STEPS, count + 1 if count > 1 else 1) | dict.fromkeys(BEHIND, 1)


def digests(workspace: Workspace) -> dict[str, str]:
    paths = {name: workspace.root / RESULTS / f"{name}.jsonl" for name in FILES}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}


def stored_calls(workspace: Workspace) -> int:
    """Count the answers in all segments of the store."""
    segments = (workspace.root / RESULTS.parent / "calls").glob("*.jsonl")
    return sum(path.read_bytes().count(b'"request"') for path in segments)


def paid(workspace: Workspace, runs: set[str]) -> int:
    """Count what the jobs of all runs but the earlier ones paid; those that merge shards only add their shards up."""
    asking = [record for record in workspace.new_records(runs) if "llm" in record and "shards" not in record]
    return sum(record["llm"]["calls_made"] for record in asking)


def test_another_count_of_shards_makes_no_call_and_the_same_bytes(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    bytes_of_one_job, calls, runs = digests(workspace), stored_calls(workspace), workspace.runs()
    counts = {name: workspace.meta(f"{name}.meta.json")["counts"] for name in ("pointwise_labeled", "judged")}
    assert calls > 0
    for count in (3, 2, 1):
        assert workspace.executed("data", config=(shards(count),)) == jobs(count)
        assert digests(workspace) == bytes_of_one_job
        assert {name: workspace.meta(f"{name}.meta.json")["counts"] for name in counts} == counts
        assert ("shards" in workspace.meta("judged.meta.json")) == (count > 1)
        assert list((workspace.root / RESULTS).glob("shards/*/*")) == [], "merged shards are removed"
    assert workspace.executed("data", config=(shards(count),)) == {}
    assert stored_calls(workspace) == calls
    assert paid(workspace, runs) == 0


@pytest.mark.long
def test_shards_whose_files_are_gone_are_made_again_only_for_a_reason(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    target, config = f"{RESULTS}/pointwise_labeled.jsonl", ("overrides={crag_mm: {label: {shards: 3}}}",)
    assert workspace.executed(target, config=config) == {"label_relevance": 4}
    for path in sorted((workspace.root / RESULTS).rglob("*")):
        path.touch()
    with (workspace.root / "scripts/finetrail/llm/ask.py").open("a") as stream:
        stream.write("\n\n# A comment.\n")
    assert workspace.executed(target, config=config) == {}
    (workspace.root / target).unlink()
    assert workspace.executed(target, config=config) == {"label_relevance": 4}
    with (workspace.root / "scripts/label/label_relevance.py").open("a") as stream:
        stream.write("\nADDED_BY_A_TEST = 1\n")
    assert workspace.executed(target, config=config) == {"label_relevance": 4}
    prompt = "config/prompts/crag_mm/label_relevance.md"
    workspace.edit(prompt, "# User\n", "# User\nRead with care.\n")
    runs = workspace.runs()
    assert workspace.executed(target, config=config) == {"label_relevance": 4}
    assert paid(workspace, runs) > 0
    assert workspace.executed(target, config=config) == {}


@pytest.mark.long
def test_the_plan_of_shards_is_one_line_and_the_run_pays_what_it_says(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    target, config = f"{RESULTS}/pointwise_labeled.jsonl", (shards(3),)
    workspace.edit("config/prompts/crag_mm/label_relevance.md", "# User\n", "# User\nRead with care.\n")
    before = plan(workspace, target, config)
    queries, label = before.splitlines()[1:3]
    assert queries.split()[:4] == ["make_queries", "in", "3", "shards"]
    assert queries.split()[6:9] == [queries.split()[5], "0", "0"], "all calls are stored"
    assert label.startswith("label_relevance in 3 shards") and "unknown until rerank_passages has run" in label
    workspace.executed(f"{RESULTS}/reranked.jsonl", config=config)
    printed = plan(workspace, target, config)
    assert printed.splitlines()[1].startswith("make_queries  ") and "up to date, does not run" in printed
    to_make = int(printed.splitlines()[2].split()[8])
    runs = workspace.runs()
    assert workspace.executed(target, config=config) == {"label_relevance": 4}
    assert 0 < paid(workspace, runs) <= to_make, "what two shards want, the later one may find stored"
    done = plan(workspace, target, config).splitlines()[2].split()
    assert done[0] == "label_relevance" and int(done[5]) == 0
    assert int(done[1]) == len(workspace.rows("pointwise_labeled.jsonl"))


def test_a_row_set_aside_in_a_shard_is_left_out_and_counted(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    rows = workspace.rows("pointwise_labeled.jsonl")
    aside = rows[len(rows) // 2]
    target = f"{RESULTS}/pointwise_labeled.jsonl"
    with slow_endpoint() as server:
        server.release.set()
        server.refused = json.dumps(aside["question"])[1:-1]
        llm, model = server.config()
        llm = llm.replace("llm={", "llm={max_quarantined_share: 0.9, ")
        found: list[bytes] = []
        for count in (1, 3, 2):
            config = (llm, model.replace("label: {", f"label: {{shards: {count}, "))
            workspace.executed(target, config=config)
            found.append((workspace.root / target).read_bytes())
            if count == 1:
                asked = server.asked
            counts = workspace.meta("pointwise_labeled.meta.json")["counts"]
            assert counts["quarantined"] >= 1 and counts["in"] == len(rows)
    assert asked > 0 and server.asked == asked, "no call but those about the row that was set aside"
    assert found[0] == found[1] == found[2]
    left = [json.loads(line)["id"] for line in found[0].splitlines()]
    assert aside["id"] not in left and len(left) == len(rows) - counts["quarantined"]


def test_shards_of_the_whole_chain_train_nothing_and_are_audited(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    runs, before = workspace.runs(), digests(workspace)
    made = workspace.executed("all", config=(shards(2, evaluate=2),))
    assert made == jobs(2) | {"judge_predictions": 12, "score_answers": 1, "plot_risk_coverage": 1, "list_artifacts": 1}
    assert digests(workspace) == before
    assert paid(workspace, runs) == 0
    audit = json.loads((workspace.root / RESULTS / "audit/files.json").read_text())
    assert [entry["path"] for entry in audit["originals"] if "/shards/" in entry["path"]] == []
    rules = {Path(entry["path"]).name: entry["rule"] for entry in audit["artifacts"]}
    assert rules["pointwise_labeled.jsonl"] == "label_relevance"
    assert workspace.executed("all", config=(shards(2, evaluate=2),)) == {}
