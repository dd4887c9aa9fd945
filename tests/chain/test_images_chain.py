"""Images from their addresses to a trained vision model and its score: `crag_mm_images`, as small as it can be."""

import base64
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.unit.web.site import Site
from tests.workspace import Workspace, copy_project

RESULTS = "results/tutorial/crag_mm_images"
SMALL = """overrides={crag_mm_images: {limit: 24, source: {fetch: {allow_private: true}}, evaluate: {resamples: 100},
    splits: {train: 0.6, dev: 0.1, test: 0.3}, predict: {max_answer_tokens: 4},
    base_model: {pretrain_steps: 3, hidden_size: 64, intermediate_size: 128, vocabulary_size: 600},
    train: {models: {lora: {max_steps: 2}}}}}"""
SESSIONS = "data/crag_mm_images/sessions.jsonl"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with closing(Site()) as one:
        yield one


@pytest.fixture(scope="module")
def made(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copy_project(tmp_path_factory.mktemp("pictures") / "project")
    workspace.configfiles = ()
    path = workspace.root / SESSIONS
    sessions = [json.loads(line) for line in path.read_text().splitlines()]
    for row in sessions:  # what stands in a record is now at an address
        if "image_url" in row:
            content = base64.b64decode(row["image_url"].partition(",")[2])
            row["image_url"] = site.page(f"/{row['session_id']}.png", content, "image/png")
    path.write_text("".join(json.dumps(row) + "\n" for row in sessions))
    workspace.config += ["recipes=[crag_mm_images]", " ".join(SMALL.split())]
    workspace.made = workspace.executed("all")
    return workspace


def rows(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace.root / RESULTS / name).read_text().splitlines()]


def test_every_row_carries_its_image_from_file_or_address(made: Workspace, site: Site) -> None:
    assert site.paths() and len(site.paths()) == len(set(site.paths())), "each address once"
    for part in ("train", "eval", "test"):
        assert all(row["image"] for row in rows(made, f"folds/fold0/{part}.jsonl"))


def test_the_same_question_beside_another_image_is_another_question(made: Workspace) -> None:
    train = rows(made, "folds/fold0/train.jsonl")
    asked = [(str(row["question"]), str(row["answer"])) for row in train]
    assert len(set(asked)) < len(asked), "the same answer to the same question, and all are kept"
    dropped = rows(made, "synthetic.dropped.jsonl")
    assert "the same answer to the same question of another record" not in {row["reason"] for row in dropped}


def test_the_student_is_taught_to_search_by_train_records_alone_and_nobody_asks_for_the_others(made: Workspace) -> None:
    train = {row["id"] for row in rows(made, "splits.jsonl") if row["split"] == "train"}
    queries = json.loads((made.root / RESULTS / "queries.meta.json").read_text())
    assert queries["llm"]["calls_made"] == len(train)
    kinds = Counter(row["kind"] for row in rows(made, "folds/fold0/train.jsonl"))
    assert kinds["search_query"] == kinds["passage_choice"] == len(train)
    assert {row["record_id"] for row in rows(made, "student_tasks.jsonl")} == train


def test_every_model_looks_things_up_by_itself_before_it_answers(made: Workspace) -> None:
    passages = {row["id"] for row in rows(made, "passages.jsonl")}
    models = ("lora", "base", "lora_shuffled")
    for lookup in (row["lookup"] for model in models for row in rows(made, f"predictions/{model}/fold0.jsonl")):
        assert {query["origin"] for query in lookup["queries"]} <= {"student", "question"}
        assert {span["passage_id"] for span in lookup["passages"]} <= passages
    metrics = json.loads((made.root / RESULTS / "metrics/lora/fold0.json").read_text())
    turns = len(rows(made, "folds/fold0/test.jsonl"))
    assert {name: found["turns"] for name, found in metrics["lookups"].items()} == dict.fromkeys(models, turns)
    assert "own queries and choices" in metrics["comparisons"]["held_out_loss"]["metric"]


def test_the_student_can_be_talked_to_about_an_image(made: Workspace) -> None:
    command = [sys.executable, "scripts/evaluate/ask_question.py", "--recipe", "crag_mm_images", "--image"]
    options: dict[str, Any] = {"cwd": made.root, "capture_output": True, "text": True, "timeout": 300, "check": False}
    options["env"] = made.environment() | {"PYTHONPATH": "scripts"}
    image = made.root / "data/crag_mm_images/images/buoy001.png"
    talked = subprocess.run([*command, image], input="What is this?\n\nAnd why?\n", **options)
    assert talked.returncode == 0, talked.stderr
    for said in ("Question: What is this?", "Question: And why?", "Queries:", "chosen by:", "Answer: "):
        assert said in talked.stdout
    gone = subprocess.run([*command, "no.png", "--question", "What?"], **options)
    assert gone.returncode == 1 and "no.png: there is no such image" in gone.stderr


def test_the_metrics_say_whether_the_model_looks(made: Workspace) -> None:
    metrics = json.loads((made.root / RESULTS / "metrics/lora/fold0.json").read_text())
    looks = metrics["right_image_beats_another"]
    assert looks.keys() == {"lora", "base", "lora_shuffled"}, "refusing everything looks at nothing"
    test = rows(made, "folds/fold0/test.jsonl")
    assert {share["pairs"] for share in looks.values()} == {4 * len(test)}
    assert set(metrics["turn_scores"]["lora"]) == {"before_early_stop", "after_early_stop"}


def test_the_folder_for_ollama_holds_safetensors_and_says_what_was_not_checked(made: Workspace) -> None:
    folder = made.root / RESULTS / "ollama/lora/fold0"
    assert json.loads((folder / "parity.json").read_text())["verdict"] == "unverified"
    modelfile = (folder / "Modelfile").read_text()
    merged = made.root / RESULTS / "models/lora/fold0/final_merged_checkpoint"
    assert "FROM " in modelfile and list(merged.glob("*.safetensors"))


def test_again_there_is_nothing_to_be_done(made: Workspace) -> None:
    assert "Nothing to be done" in made.snakemake("all")
