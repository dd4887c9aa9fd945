"""The whole chain with a vision model: images from the records to training, prediction and the exported folder."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.workspace import BIN, RESULTS, Workspace

pytestmark = pytest.mark.long

VISION = (
    "overrides={crag_mm: {limit: 80, source: {images: data/img}, base_model: {tiny: mllama},"
    " export: {format: safetensors, quantization: f32, allow_unverified: true}}}"
)


@pytest.fixture(scope="module")
def with_vision(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Every session but one has got an image, and all has run."""
    workspace = fresh.copy(tmp_path_factory.mktemp("vision") / "project")
    images = workspace.root / "data" / "img"
    images.mkdir()
    path = workspace.root / "data/crag_mm/turns.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    sessions = sorted({row["session_id"] for row in rows})
    for number, session in enumerate(sessions[1:]):
        Image.new("RGB", (20 + 5 * number, 30), (9 * number % 256, 80, 200)).save(images / f"{session}.png")
    shown = [row | {"image": f"{row['session_id']}.png"} if row["session_id"] != sessions[0] else row for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in shown))
    workspace.config += [VISION]
    workspace.made = workspace.executed("all")
    return workspace


def test_everything_runs(with_vision: Workspace) -> None:
    assert {"train_adapter", "predict_answers", "merge_adapter", "export_safetensors"} <= with_vision.made.keys()
    assert "convert_gguf" not in with_vision.made
    adapter = json.loads(
        (with_vision.root / RESULTS / "models/lora/fold0/final_adapter/adapter_config.json").read_text()
    )
    assert "language_model" in adapter["target_modules"]
    merged = with_vision.root / RESULTS / "models/lora/fold0/final_merged_checkpoint"
    assert (merged / "preprocessor_config.json").is_file() or (merged / "processor_config.json").is_file()
    assert json.loads((merged / "config.json").read_text())["architectures"] == ["MllamaForConditionalGeneration"]
    parity = json.loads((with_vision.root / RESULTS / "ollama/lora/fold0/parity.json").read_text())
    assert parity["verdict"] == "unverified"
    assert "FROM " in (with_vision.root / RESULTS / "ollama/lora/fold0/Modelfile").read_text()


def test_predictions_are_made_with_the_images(with_vision: Workspace) -> None:
    meta = with_vision.meta("predictions/lora/fold0.meta.json")
    assert meta["images_not_shown"] == 0
    assert any(row["image"] for row in with_vision.rows("folds/fold0/test.jsonl"))


def test_a_text_model_refuses_them_or_drops_them_by_name(with_vision: Workspace, tmp_path: Path) -> None:
    workspace = with_vision.copy(tmp_path / "project")
    workspace.config[-1] = "overrides={crag_mm: {source: {images: data/img}}}"
    adapter = str(RESULTS / "models/lora/fold0/final_adapter/manifest.json")
    assert "this model reads text only" in workspace.snakemake(adapter, fails=True)
    workspace.config[-1] = "overrides={crag_mm: {source: {images: data/img}, limits: {images: drop}}}"
    assert workspace.executed(adapter)["train_adapter"] == 1
    assert workspace.meta("models/lora/fold0.meta.json")["training"]["dropped_images"] > 0


def test_peek_names_the_image_and_marks_the_answer(with_vision: Workspace) -> None:
    choice = VISION.removeprefix("overrides=")
    with_vision.edit("config/config.yaml", "overrides: {}", f"overrides: {choice}")
    script = [str(BIN / "python"), "scripts/train/peek_rows.py", "--recipe", "crag_mm", "--scale", "tutorial"]
    shown = subprocess.run(
        script, cwd=with_vision.root, env=with_vision.environment() | {"PYTHONPATH": "scripts"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.count("--- ") == 20 and "image " in shown and "<|image|>" in shown
    assert shown.count("⟦") == 20 and shown.count("<|eot_id|>⟧") == 20
