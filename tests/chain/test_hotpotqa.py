"""The chain of hotpotqa at its smallest: from questions to criteria, then asked, then as a notebook."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.load import load_config
from finetrail.inference.answering.deployed import deployed
from tests.workspace import ROOT, Workspace

RESULTS = "results/tutorial/hotpotqa"
MINI = "tests/chain/mini_hotpotqa.yaml"
NOTEBOOK = "notebooks/05_Deep_Learning_Methods_Code.ipynb"
SECTIONS = ["Setup and detection", "Weights & Biases", "Data pipeline", "Model setup", "Training loop", "Evaluation"]
SECTIONS += ["Inference demo"]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def made(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = fresh.copy(tmp_path_factory.mktemp("hotpotqa") / "project")
    workspace.config, workspace.configfiles = ["scale=tutorial", "recipes=[hotpotqa]"], (MINI,)
    workspace.snakemake("all")
    return workspace


def read(workspace: Workspace, name: str) -> Any:
    return json.loads((workspace.root / RESULTS / name).read_text(encoding="utf-8"))


def rows(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace.root / RESULTS / name).read_text(encoding="utf-8").splitlines()]


def test_the_whole_chain_runs_and_then_has_nothing_to_do(made: Workspace) -> None:
    metrics = read(made, "metrics/generator/fold0.json")
    assert metrics["comparisons"]["answer_f1"]["units"] == 40
    assert set(metrics["hop_scores"]) == {"generator", "base", "generator_shuffled", "trivial"}
    for tables in metrics["hop_scores"].values():
        assert {"retrieved", "closed_book", "gold_0", "gold_2", "type: bridge", "level: hard"} <= set(tables)
    verdicts = {line["verdict"] for line in read(made, "criteria/generator/fold0/criteria.json")["criteria"]}
    assert verdicts <= {"met", "not met", "not measurable here"}
    assert (made.root / RESULTS / "ollama/generator/fold0/Modelfile").is_file()
    assert "Nothing to be done" in made.snakemake("all")


def test_the_official_script_says_what_the_metrics_say(made: Workspace) -> None:
    official = made.root / RESULTS / "predictions/generator/fold0.official.json"
    out = made.root / "scores.json"
    command = [sys.executable, "scripts/evaluate/score_hotpotqa.py", "--predictions", str(official)]
    command += ["--gold", "data/hotpotqa/dev_40.jsonl", "--out", str(out)]
    subprocess.run(command, cwd=made.root, env=made.environment() | {"PYTHONPATH": "scripts"}, check=True, timeout=60)
    scored = read(made, "metrics/generator/fold0.json")["hop_scores"]["generator"]["retrieved"]
    for name, value in json.loads(out.read_text())["metrics"].items():
        assert scored[name] == pytest.approx(value, abs=1e-9), name


def test_rows_are_trained_in_the_written_order_and_all_phases_are_reached(made: Workspace) -> None:
    written = [row["id"] for row in rows(made, "folds/fold0/train.jsonl")]
    phases = [row["epoch"] for row in rows(made, "folds/fold0/train.jsonl")]
    trained = [name for row in rows(made, "models/generator/fold0/training_log.jsonl") for name in row.get("rows", [])]
    assert phases == sorted(phases) and set(phases) == {1, 2, 3}
    assert trained == written


def test_train_questions_are_ranked_out_of_fold(made: Workspace) -> None:
    splits = {row["id"]: row["split"] for row in rows(made, "splits.jsonl")}
    models = {row["id"]: row["model"] for row in rows(made, "pair_scores.jsonl")}
    for name, split in splits.items():
        assert models[name].startswith("without") == (split == "train")


def test_only_adapters_leave_as_artifacts(made: Workspace) -> None:
    files = list((made.root / "results/tutorial/state").glob("hotpotqa.generator.fold0/*/wandb/*.zip"))
    assert files
    for file in files:
        assert file.stat().st_size < 500_000_000
        names = {Path(name).name for name in zipfile.ZipFile(file).namelist()}
        assert "adapter_model.safetensors" in names
        assert not {"model.safetensors", "pytorch_model.bin"} & names


def test_a_question_is_answered_from_best(made: Workspace) -> None:
    command = [sys.executable, "scripts/evaluate/ask_question.py", "--recipe", "hotpotqa", "--question", "Who?"]
    environment = made.environment() | {"PYTHONPATH": "scripts"}
    done = subprocess.run(
        command, cwd=made.root, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Passages:" in done.stdout and "Answer:" in done.stdout


def test_the_pipeline_shows_what_the_rules_showed(made: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.root)
    run = load_config(made.root, configfiles=[Path(MINI)], config={"recipes": ["hotpotqa"], "scale": "tutorial"})
    with deployed(run, "hotpotqa", "generator", "fold0") as pipeline:
        for row in rows(made, "folds/fold0/test.jsonl")[:5]:
            shown = [passage["title"] for passage in pipeline.ask(row["question"]).passages]
            assert shown == [evidence["title"] for evidence in row["evidence"]]


def test_the_notebook_runs_from_top_to_bottom(made: Workspace) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook: Any = nbformat.reads((made.root / NOTEBOOK).read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    titles = [cell.source.partition(". ")[2] for cell in notebook.cells if cell.source.startswith("## ")]
    assert titles == SECTIONS
    environment = made.environment() | {"FINETRAIL_CONFIGFILE": MINI}
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(made.root)}})
    client.execute(env=environment)
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "not measurable here" in said and "best: step-" in said


def test_the_notebook_repeats_nothing_of_the_library() -> None:
    source = json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))
    code = "".join("".join(cell["source"]) for cell in source["cells"] if cell["cell_type"] == "code")
    assert code.count("\ndef ") == 1 and "class " not in code
    assert all(not cell.get("outputs") for cell in source["cells"])
