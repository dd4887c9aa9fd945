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
FOLDER = "results/fish"
ORIGINAL = "data/fish.jsonl"
RECORDS, WEIGHTS = f"{FOLDER}/records.jsonl", f"{FOLDER}/weights/manifest.json"


def describe_step(rule: str, inputs: list[str], output: str) -> None:
    write_json(
        Path(f"{FOLDER}/{rule}.meta.json"),
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
    for place in ("data", f"{FOLDER}/weights", f"{FOLDER}/audit"):
        Path(place).mkdir(parents=True)
    Path(ORIGINAL).write_text('{"fish": "pike"}\n')
    Path(RECORDS).write_text('{"id": "pike"}\n')
    describe_step("records", [ORIGINAL], RECORDS)
    Path(f"{FOLDER}/weights/model.bin").write_text("0.5")
    write_manifest(Path(f"{FOLDER}/weights"), Path(WEIGHTS), {})
    describe_step("model", [RECORDS], WEIGHTS)


def run() -> int:
    """List from the last step on."""
    settings = ["--settings", json.dumps(SETTINGS), "--recipe", "fish"]
    made = ["--out", f"{FOLDER}/audit/files.json", "--meta", f"{FOLDER}/audit/files.meta.json"]
    return main(["--metas", f"{FOLDER}/model.meta.json", *made, *settings])


def listed() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(f"{FOLDER}/audit/files.json").read_text())
    return content


def test_the_list_holds_every_artifact_with_hash_rule_and_origins() -> None:
    assert run() == 0
    content = listed()
    assert {key: content[key] for key in ("recipe", "description", "source")} == {"recipe": "fish"} | SETTINGS
    assert content["originals"] == [{"path": ORIGINAL, "sha256": sha256_file(Path(ORIGINAL))}]
    records, model = content["artifacts"]
    assert records == describe_file(Path(RECORDS)) | {
        "rule": "records",
        "parameters": {"code": "digest of records"},
        "inputs": [describe_file(Path(ORIGINAL)) | {"made_by": None, "original": True}],
        "counts": {"in": 1, "kept": 1},
        "git": {"commit": "c", "dirty": False},
        "tools": {"python": "3.11"},
        "made_at": "2026-01-01T00:00:00Z",
        "meta": f"{FOLDER}/records.meta.json",
    }
    assert (model["path"], model["rule"], model["meta"]) == (WEIGHTS, "model", f"{FOLDER}/model.meta.json")
    assert model["inputs"] == [describe_file(Path(RECORDS)) | {"made_by": "records", "original": False}]
    assert model["files"] == [describe_file(Path(f"{FOLDER}/weights/model.bin"))]


def edit(name: str) -> None:
    Path(FOLDER, name).write_text("something else\n")


def read_other_bytes() -> None:
    """Make a step's input again, and its meta file, as if the step had never seen the new one."""
    edit("records.jsonl")
    describe_step("records", [ORIGINAL], RECORDS)


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "a tampered file": (lambda: edit("records.jsonl"), f"{RECORDS}: is not what {FOLDER}/records.meta.json describes"),
    "a file that is gone": (
        lambda: Path(RECORDS).unlink(),
        f"{RECORDS}: is described in {FOLDER}/records.meta.json and not on disk",
    ),
    "a tampered manifest": (
        lambda: Path(WEIGHTS).write_text('{"files": []}'),
        f"{WEIGHTS}: is not what {FOLDER}/model.meta.json describes",
    ),
    "a tampered file of a folder": (
        lambda: edit("weights/model.bin"),
        f"{FOLDER}/weights/model.bin: differs from its manifest",
    ),
    "an input made again": (read_other_bytes, f"{RECORDS}: model read other bytes than the file now has"),
    "a missing meta file": (
        lambda: Path(f"{FOLDER}/model.meta.json").unlink(),
        f"{FOLDER}/model.meta.json: cannot be read",
    ),
    "a step that nothing describes": (
        lambda: Path(f"{FOLDER}/records.meta.json").unlink(),
        f"{RECORDS}: was read by the step of {FOLDER}/model.meta.json, and no meta file says how it was made",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_as_described_stops_the_list_by_name(capfd: pytest.CaptureFixture[str], fault: str) -> None:
    break_it, message = FAULTS[fault]
    break_it()
    assert run() == 1
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not Path(f"{FOLDER}/audit/files.json").exists()


def test_a_meta_file_left_from_earlier_settings_is_not_listed() -> None:
    """It claims a file of another step, or one that nothing was made of."""
    Path(f"{FOLDER}/found.jsonl").write_text("{}\n")
    describe_step("search", [ORIGINAL], f"{FOLDER}/found.jsonl")
    now = Path(RECORDS).read_bytes()
    edit("records.jsonl")
    describe_step("earlier", [ORIGINAL], RECORDS)
    Path(RECORDS).write_bytes(now)
    Path(f"{FOLDER}/torn.meta.json").write_text('{"outputs": [')
    Path(f"{FOLDER}/foreign.meta.json").write_text("{}")
    assert run() == 0
    assert [entry["rule"] for entry in listed()["artifacts"]] == ["records", "model"]
