"""The list of artifacts: what it holds, and every way in which a file may not be what its meta file says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.list_artifacts import main
from finetrail.rows.artifacts import describe_file, write_json, write_manifest
from finetrail.rows.records import sha256_file

SETTINGS = {"description": "fish", "source": {"licence": "MIT", "citation": None}}
METAS = ("records.meta.json", "model.meta.json")


def describe_step(rule: str, inputs: list[str], output: str) -> None:
    write_json(
        Path(f"{rule}.meta.json"),
        {
            "rule": rule,
            "parameters": {"code": f"digest of {rule}"},
            "inputs": [describe_file(Path(name)) for name in inputs],
            "outputs": [describe_file(Path(output))],
            "counts": {"in": 1, "kept": 1},
            "git": {"commit": "c", "dirty": False},
            "tools": {"python": "3.11"},
            "ended": "2026-01-01T00:00:00Z",
        },
    )


@pytest.fixture(autouse=True)
def chain(folder: Path) -> None:
    """A file made from an original, and a folder made from that file."""
    Path("fish.jsonl").write_text('{"fish": "pike"}\n')
    Path("records.jsonl").write_text('{"id": "pike"}\n')
    describe_step("records", ["fish.jsonl"], "records.jsonl")
    Path("weights").mkdir()
    Path("weights/model.bin").write_text("0.5")
    write_manifest(Path("weights"), Path("weights/manifest.json"), {})
    describe_step("model", ["records.jsonl"], "weights/manifest.json")


def run(*metas: str) -> int:
    settings = ["--settings", json.dumps(SETTINGS), "--recipe", "fish"]
    return main(["--metas", *metas, "--out", "files.json", "--meta", "files.meta.json", *settings])


def listed() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("files.json").read_text())
    return content


def test_the_list_holds_every_artifact_with_hash_rule_and_origins() -> None:
    assert run(*METAS) == 0
    content = listed()
    assert {key: content[key] for key in ("recipe", "description", "source")} == {"recipe": "fish"} | SETTINGS
    assert content["originals"] == [{"path": "fish.jsonl", "sha256": sha256_file(Path("fish.jsonl"))}]
    records, model = content["artifacts"]
    assert records == describe_file(Path("records.jsonl")) | {
        "rule": "records",
        "parameters": {"code": "digest of records"},
        "inputs": [describe_file(Path("fish.jsonl")) | {"made_by": None, "original": True}],
        "counts": {"in": 1, "kept": 1},
        "git": {"commit": "c", "dirty": False},
        "tools": {"python": "3.11"},
        "made_at": "2026-01-01T00:00:00Z",
        "meta": "records.meta.json",
    }
    assert (model["path"], model["rule"], model["meta"]) == ("weights/manifest.json", "model", "model.meta.json")
    assert model["inputs"] == [describe_file(Path("records.jsonl")) | {"made_by": "records", "original": False}]
    assert model["files"] == [describe_file(Path("weights/model.bin"))]


def edit(name: str) -> None:
    Path(name).write_text("something else\n")


def read_other_bytes() -> None:
    """Make a step's input again, and its meta file, as if the step had never seen the new one."""
    edit("records.jsonl")
    describe_step("records", ["fish.jsonl"], "records.jsonl")


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "a tampered file": (lambda: edit("records.jsonl"), "records.jsonl: is not what records.meta.json describes"),
    "a file that is gone": (
        lambda: Path("records.jsonl").unlink(),
        "records.jsonl: is described in records.meta.json and not on disk",
    ),
    "a tampered manifest": (
        lambda: Path("weights/manifest.json").write_text('{"files": []}'),
        "weights/manifest.json: is not what model.meta.json describes",
    ),
    "a tampered file of a folder": (
        lambda: edit("weights/model.bin"),
        "weights/model.bin: differs from its manifest",
    ),
    "an input made again": (read_other_bytes, "records.jsonl: model read other bytes than the file now has"),
    "a missing meta file": (lambda: Path("model.meta.json").unlink(), "model.meta.json: cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_as_described_stops_the_list_by_name(capfd: pytest.CaptureFixture[str], fault: str) -> None:
    break_it, message = FAULTS[fault]
    break_it()
    assert run(*METAS) == 1
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not Path("files.json").exists()


def test_an_artifact_whose_step_is_not_listed_counts_as_original() -> None:
    assert run("model.meta.json") == 0
    assert [item["path"] for item in listed()["originals"]] == ["records.jsonl"]
