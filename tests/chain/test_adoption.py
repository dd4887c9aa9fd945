"""Outputs that Snakemake has no record of are adopted where their meta files fit, and made anew where they do not."""

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.chain.test_reruns import NO_CHANGE_OF_BYTES, SELECTION, append, once
from tests.workspace import BIN, RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]


def adopt(workspace: Workspace, *options: str, target: str = "all") -> list[str]:
    """Run the program as a user would; return the lines that it prints."""
    given = workspace.command(target)[1:]
    command = [str(BIN / "python"), "scripts/setup/adopt_outputs.py", *options, "--", *given]
    environment = workspace.environment() | {"PYTHONPATH": "scripts"}
    done = subprocess.run(
        command, cwd=workspace.root, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def forget(workspace: Workspace) -> None:
    """Remove what Snakemake knows, and give all files other times, in another order."""
    shutil.rmtree(workspace.root / ".snakemake")
    draw = random.Random(5)
    for path in sorted((workspace.root / "results").rglob("*")):
        moment = 1_700_000_000 + draw.randrange(10_000_000)
        os.utime(path, (moment, moment))


def test_results_from_elsewhere_are_adopted_and_nothing_runs(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    forget(workspace)
    assert sum(workspace.planned("all").values()) > 5, "without a record, times decide"
    *lines, last = adopt(workspace)
    assert last == f"{len(lines)} jobs adopted, 0 not" and len(lines) > sum(with_all.made.values())
    assert workspace.executed("all") == {}
    assert adopt(workspace) == ["0 jobs adopted, 0 not"]


def test_what_does_not_fit_is_named_and_made_anew(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    forget(workspace)
    append(workspace.root / "scripts/finetrail/examples/select.py", NO_CHANGE_OF_BYTES)
    (workspace.root / RESULTS / "passages.meta.json").unlink()
    lines = adopt(workspace, target="data")
    refused = {line.split()[4].rstrip(":"): line for line in lines if line.startswith("will be made anew")}
    assert refused.keys() >= {"load_passages", "select_answers"}
    assert "--code" in refused["select_answers"]
    assert "passages.meta.json: cannot be read" in refused["load_passages"]
    made = workspace.executed("data")
    assert made.keys() >= {"load_passages", *SELECTION} and "ingest_records" not in made
    assert workspace.executed("data") == {}


def test_changed_bytes_are_noticed_though_snakemake_has_a_record(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    path = workspace.root / RESULTS / "synthetic.jsonl"
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(before.replace(b"the", b"teh", 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert workspace.planned("data") == {}, "Snakemake alone does not notice"
    refused = [line for line in adopt(workspace, "--every", target="data") if line.startswith("will be made anew")]
    assert [line.split()[4].rstrip(":") for line in refused] == SELECTION
    assert "is not what results/tutorial/crag_mm/synthetic.meta.json describes" in refused[0]
    assert workspace.executed("data") == once(SELECTION)
    assert path.read_bytes() == before


def test_files_in_between_may_be_missing_where_their_meta_files_are_here(with_data: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_data)
    forget(workspace)
    folder = workspace.root / RESULTS
    for name in ("queries.jsonl", "recall.jsonl", "reranked.jsonl", "answers.jsonl", "synthetic.jsonl"):
        (folder / name).unlink()
    assert adopt(workspace, target="data")[-1].endswith("jobs adopted, 0 not")
    assert workspace.executed("data") == {}
    forget(workspace)
    (folder / "queries.meta.json").unlink()
    refused = [line for line in adopt(workspace, target="data") if line.startswith("will be made anew")]
    assert "neither is how it was made" in refused[0] and "recall_passages" in refused[0]


def test_a_pulled_folder_of_a_model_must_be_whole(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    forget(workspace)
    weights: Path = next((workspace.root / RESULTS / "models/lora/fold0/final_adapter").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused = [line for line in adopt(workspace) if line.startswith("will be made anew")]
    assert "train_adapter crag_mm lora fold0" in refused[0] and "differs from its manifest" in refused[0]
