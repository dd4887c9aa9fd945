"""Artifacts without W&B: aliases, hashes, what a zip file holds and what is refused."""

import inspect
import json
import zipfile
from pathlib import Path

import pytest

from finetrail.errors import FinetrailError
from finetrail.metrics.answer_overlap import exact_match, token_f1
from finetrail.rows.artifacts import write_json
from finetrail.rows.records import sha256_file
from finetrail.training.checkpoints.checkpoints import is_complete, mark_complete
from finetrail.training.tracking.adapter_zip import LIMIT, unzip_checkpoint, zip_checkpoint
from finetrail.training.tracking.artifact_registry import REGISTRY, Registry
from finetrail.training.tracking.tracker import artifact_metadata, score_of


def file_of(folder: Path, step: int) -> Path:
    path = folder / f"step-{step}.zip"
    path.write_bytes(bytes([step]))
    return path


def test_best_is_the_highest_score_and_only_named_files_stay(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    given = [(1, 0.5), (2, 0.7), (3, None), (4, 0.7)]
    aliases = [registry.put(file_of(tmp_path, step), {"step": step}, score) for step, score in given]
    assert aliases == [["latest", "best"], ["latest", "best"], ["latest"], ["latest"]]
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == ["step-2.zip", "step-4.zip"]
    listed = json.loads((tmp_path / REGISTRY).read_text())
    assert {alias: entry["path"] for alias, entry in listed.items()} == {"best": "step-2.zip", "latest": "step-4.zip"}
    assert all(sha256_file(tmp_path / entry["path"]) == entry["sha256"] for entry in listed.values())


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.put(file_of(tmp_path, 1), {}, None)
    assert registry.find("best") is None
    (tmp_path / "step-1.zip").write_bytes(b"other")
    with pytest.raises(FinetrailError, match="other bytes than were registered"):
        registry.find("latest")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "checkpoint-7"
    folder.mkdir(parents=True)
    write_json(folder.parent / "identity.json", {"identity": "a", "code": None})
    (folder.parent / "steps.0.jsonl").write_text("{}\n")
    write_json(folder / "trainer_state.json", {"global_step": 7})
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(bytes(reversed(range(256))) * 90)
    (folder / "training_args.bin").write_bytes(b"pickled")
    mark_complete(folder)
    return folder


def test_what_goes_into_a_zip_file_comes_out_complete(checkpoint: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.zip", tmp_path / "b.zip"]
    assert all(zip_checkpoint(checkpoint, file) for file in files)
    assert files[0].read_bytes() == files[1].read_bytes()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    write_json(fresh / "identity.json", {"identity": "a", "code": "new"})
    back = unzip_checkpoint(files[0], fresh)
    assert back == fresh / "checkpoint-7" and is_complete(back)
    assert (back / "optimizer.pt").read_bytes() == (checkpoint / "optimizer.pt").read_bytes()
    assert (fresh / "steps.0.jsonl").exists() and not (back / "training_args.bin").exists()
    assert json.loads((fresh / "identity.json").read_text())["code"] == "new"
    write_json(fresh / "identity.json", {"identity": "b", "code": None})
    with pytest.raises(FinetrailError, match="other data or settings"):
        unzip_checkpoint(files[0], fresh)


def test_an_artifact_stays_below_500_megabytes() -> None:
    assert LIMIT == 500 * 10**6
    assert inspect.signature(zip_checkpoint).parameters["limit"].default == LIMIT


def test_a_large_one_goes_without_its_optimizer_and_a_larger_one_not_at_all(checkpoint: Path, tmp_path: Path) -> None:
    whole, alone, out = tmp_path / "whole.zip", tmp_path / "alone.zip", tmp_path / "out.zip"
    assert zip_checkpoint(checkpoint, whole)
    assert zip_checkpoint(checkpoint, alone, limit=whole.stat().st_size - 1)
    with zipfile.ZipFile(alone) as archive:
        names = set(archive.namelist())
    assert names == {"checkpoint-7/adapter_model.safetensors", "checkpoint-7/adapter_config.json"}
    assert unzip_checkpoint(alone, checkpoint.parent) is None
    assert not zip_checkpoint(checkpoint, out, limit=100)
    assert {path.name for path in tmp_path.iterdir()} == {"state", "whole.zip", "alone.zip"}


def test_deepspeed_s_frozen_weights_never_go(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "global_step7").mkdir()
    (checkpoint / "global_step7" / "mp_rank_00_model_states.pt").write_bytes(b"base")
    assert zip_checkpoint(checkpoint, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert all("/adapter_" in name for name in archive.namelist())


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_name_that_leads_elsewhere_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("identity.json", '{"identity": "a"}')
        archive.writestr(name, "x")
    with pytest.raises(FinetrailError, match="leads elsewhere"):
        unzip_checkpoint(tmp_path / "a.zip", checkpoint.parent)
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(FinetrailError, match="no artifact"):
        unzip_checkpoint(tmp_path / "b.zip", checkpoint.parent)


def test_the_six_fields_of_the_metadata() -> None:
    made = artifact_metadata(100, {"eval_f1": 0.5, "eval_em": 0.25, "eval_loss": 1.0}, "org/base", 16, 2048)
    expected = {"step": 100, "eval_f1": 0.5, "eval_em": 0.25}
    assert made == expected | {"base_model": "org/base", "lora_rank": 16, "sequence_length": 2048}


def test_f1_decides_and_the_loss_breaks_ties() -> None:
    ranked = [(0.5, 2.0), (0.5, 1.0), (0.6, 9.0)]
    scores = [score_of({"eval_f1": f1, "eval_loss": loss}) or 0.0 for f1, loss in ranked]
    assert scores == sorted(scores) and len({*scores}) == 3
    assert score_of({"eval_loss": 1.0}) == -1.0
    assert score_of({}) is None


def test_overlap_of_answers() -> None:
    assert exact_match("The Arthur's Magazine.", "arthurs magazine") == 1
    assert token_f1("in the old town", "the town") == pytest.approx(2 * 1 / (3 + 1))
    assert token_f1("yes", "no") == 0
    assert token_f1("the", "") == 1 and token_f1("", "town") == 0
