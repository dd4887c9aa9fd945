"""Models that read pictures by a prefix: what is drawn and cut, exact resume, and what is refused."""

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from finetrail.errors import FinetrailError
from finetrail.examples.picture_tasks import task_prompt
from finetrail.models.base_model import BaseModel
from finetrail.models.chat_tokens import chat_tokens
from finetrail.models.limits import Limits
from finetrail.rows.records import read_rows, sha256_file
from finetrail.tiny.tiny_base import build_tiny_base
from finetrail.training.prefix.drawing import counts_of, draw_rows
from finetrail.training.prefix.image_prefix import load_for_answers
from finetrail.training.prefix.prefix_parts import PREFIX
from finetrail.training.prefix.prefix_rows import encode_task
from finetrail.training.prefix.prefix_trainer import PrefixSteps
from finetrail.training.settings.train_settings import DrawingPhase, Launch, Prefix, Saving, TrainSettings
from finetrail.training.sft import train_adapter
from finetrail.vision.image_encoder import (
    ClassifierShape,
    EncoderShape,
    Eyes,
    VisionSettings,
    build_classifier,
    build_encoder,
    load_eyes,
    save_eyes,
)
from tests.unit.models.spoiled import spoil
from tests.unit.training.conftest import SMALL, make_texts

pytestmark = pytest.mark.heavy

CLASSES = ("scp", "shr6")
UNIFORM = (DrawingPhase({"caption": 0.333333, "summary": 0.333333, "link": 0.333334}, epochs=1),)
CENTRIC = (
    DrawingPhase({"caption": 0.5, "link": 0.5}, epochs=1),
    DrawingPhase({"summary": 0.7, "caption": 0.15, "link": 0.15, "text_summary": 0.0}, epochs=1),
)
SETTINGS = TrainSettings(
    method="image_prefix", rank=4, alpha=8, dropout=0.1, learning_rate=1e-2, batch_size=2, gradient_accumulation=2,
    fit_to_memory=False, limits=Limits(max_length=200),
    prefix=Prefix(image_tokens=4, trainable_blocks=1, encoder_learning_rate=1e-3, phases=(DrawingPhase(
        {"caption": 0.5, "summary": 0.25, "link": 0.25}, draws=24),)),
)  # fmt: skip


def eyes(classes: tuple[str, ...] = CLASSES) -> Eyes:
    import torch

    torch.manual_seed(1)
    settings = VisionSettings(classes, 32, EncoderShape(16, 24, 2, 2, 32, 16), ClassifierShape(0.1, 0.1))
    return Eyes(settings, build_encoder(settings).eval(), build_classifier(settings).eval())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an encoder, and pictures."""
    folder = tmp_path_factory.mktemp("prefix")
    for name in ("base", "vision", "images"):
        (folder / name).mkdir()
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 10, 200)).save(folder / f"images/{number}.png")
    build_tiny_base("mistral", make_texts(), settings=SMALL, system="", seed=1, out_dir=folder / "base")
    save_eyes(eyes(), folder / "vision")
    return folder


def task(place: Path, number: int, kind: str, answer: str, **parts: Any) -> dict[str, Any]:
    name = f"{number % 4}.png"
    shown = kind in ("caption", "summary")
    parts = {"cond_name": CLASSES[number % 2]} if kind == "summary" else parts
    question = task_prompt(kind, parts)
    return {
        "id": f"{kind}{number}",
        "kind": kind,
        "image": {"path": name, "sha256": sha256_file(place / "images" / name)} if shown else None,
        "answer": answer,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "task": {"cond_name": CLASSES[number % 2], "weight": 1.0, "parts": parts},
    }


def rows(place: Path) -> list[dict[str, Any]]:
    made = [task(place, number, "caption", f"The river {number} is old.") for number in range(6)]
    made += [task(place, number, "summary", "The museum opened.") for number in range(6)]
    seen = {"seen": ["It is old."], "told": ["The town stands."]}
    return made + [task(place, number, "link", f"Visit the museum {number}.", **seen) for number in range(4)]


def train(place: Path, folder: Path, settings: TrainSettings = SETTINGS, **more: Any) -> Any:
    saving = Saving(save_steps=2, sample_steps=4, sample_tokens=4)
    given: dict[str, Any] = {
        "state_dir": folder / "state",
        "out_dir": folder / "out",
        "images": str(place / "images"),
    } | more
    dev = rows(place)[:2]
    vision = place / "vision"
    return train_adapter(
        BaseModel(place / "base"), rows(place), dev, settings, saving=saving, vision_dir=vision, parts=PREFIX, **given
    )


def digests(folder: Path) -> dict[str, str]:
    files = sorted((folder / "out/final_adapter").glob("*.safetensors"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def straight(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    train(place, folder)
    return folder


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        (UNIFORM, [{"caption": 100, "summary": 100, "link": 100}]),
        (CENTRIC, [{"caption": 100, "link": 100}, {"summary": 210, "caption": 45, "link": 45}]),
        ((DrawingPhase({"caption": 0.4, "text_summary": 0.6}, draws=7),), [{"caption": 3, "text_summary": 4}]),
    ],
)
def test_the_drawn_shares_are_the_probabilities(phases: Any, expected: list[dict[str, int]]) -> None:
    kinds = ["caption"] * 100 + ["summary"] * 100 + ["link"] * 100 + ["text_summary"] * 10
    drawn, counts = draw_rows(kinds, phases, seed=3)
    assert counts == expected
    start = 0
    for phase in counts:
        part = drawn[start : start + sum(phase.values())]
        assert Counter(kinds[place] for place in part) == phase
        start += len(part)
    assert (drawn, counts) == draw_rows(kinds, phases, seed=3) != draw_rows(kinds, phases, seed=4)
    seen = Counter(place for place in drawn if kinds[place] == "caption")
    assert max(seen.values()) - min(seen.values()) <= 1 or len(seen) < 100  # each row once before any comes again


def test_a_task_without_rows_is_named() -> None:
    with pytest.raises(FinetrailError, match="no rows of the task text_summary"):
        counts_of(DrawingPhase({"caption": 0.5, "text_summary": 0.5}, epochs=1), {"caption": 3})


def test_long_rows_lose_pieces_of_the_prompt_first_and_a_cut_target_has_no_end(place: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place / "base")
    ids = {name: number for number, name in enumerate(CLASSES)}

    def encode(row: dict[str, Any], length: int) -> Any:
        return encode_task(
            row, tokenizer, max_length=length, prefix_tokens=5, class_ids=ids, images=str(place / "images")
        )

    end = chat_tokens(tokenizer).end
    row = task(place, 0, "link", "Visit the old museum.", seen=["It is old."], told=[f"Fact {n}." for n in range(9)])
    whole = encode(row, 200)
    assert not whole.truncated and whole.input_ids[-1] == end and whole.dropped_passages == 0
    shorter = encode(row, len(whole.input_ids) - 8)
    assert shorter.dropped_passages > 0 and not shorter.truncated and shorter.input_ids[-1] == end
    row = task(place, 1, "caption", "The river opened in the town. " * 20)
    cut = encode(row, 120)
    assert cut.truncated and len(cut.input_ids) == 115 and end not in cut.input_ids[len(cut.prompt_ids) :]
    assert cut.whole_target > cut.target_tokens
    with pytest.raises(FinetrailError, match=r"caption1: the prompt has .* no room for a target"):
        encode(row, 20)


def test_a_row_that_the_model_cannot_be_shown_is_left_out_where_it_was_drawn(place: Path, tmp_path: Path) -> None:
    base = shutil.copytree(place / "base", tmp_path / "base")
    spoil(base)
    asked = rows(place)
    bad = task(place, 1, "caption", "Wide \uff3bINST\uff3d brackets.")

    def encode(train_rows: list[dict[str, Any]], dev: list[dict[str, Any]]) -> Any:
        return PREFIX.encode(BaseModel(base), place / "vision", train_rows, dev, SETTINGS, str(place / "images"))

    whole = encode(asked, asked[:2])
    found = encode([bad if row["id"] == bad["id"] else row for row in asked], [bad, asked[0]])
    drawn = [example.row_id for example in whole.train]
    assert found.set_aside == 1 and whole.set_aside == 0 and bad["id"] in drawn
    assert found.train == [example for example in whole.train if example.row_id != bad["id"]]
    assert [example.row_id for example in found.dev] == [asked[0]["id"]]


def test_what_is_published_and_logged(place: Path, straight: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = straight / "out/final_adapter"
    names = {path.name for path in folder.iterdir()}
    assert {
        "adapter_model.safetensors", "adapter_config.json", "stage2_prefix_modules.safetensors",
        "stage1_encoder_finetuned.safetensors", "cond_name_to_id.json", "tokenizer.json", "samples.jsonl",
    } <= names  # fmt: skip
    assert json.loads((folder / "cond_name_to_id.json").read_text()) == {"scp": 0, "shr6": 1}
    log = list(read_rows(straight / "out/training_log.jsonl"))
    steps = [row for row in log if row.get("loss") is not None]
    assert len(steps) == 6 and all(len(row["row_losses"]) == len(row["rows"]) == 4 for row in steps)
    kinds = Counter(name.rstrip("0123456789") for row in steps for name in row["rows"])
    assert kinds == {"caption": 12, "summary": 6, "link": 6}
    for row in steps:
        assert sum(row["row_losses"]) / 4 == pytest.approx(row["loss"], rel=1e-4)
    assert {row["step"] for row in read_rows(folder / "samples.jsonl")} == {4, 6}
    before, after = (
        load_file(place / "vision/stage1_encoder.safetensors"),
        load_file(folder / "stage1_encoder_finetuned.safetensors"),
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("vit.layers.1.", "vit.layernorm.")) for name in changed)


def test_a_resumed_training_has_the_weights_of_the_straight_one(place: Path, straight: Path, tmp_path: Path) -> None:
    class Power(Exception):
        pass

    def fail(done: int, total: int) -> None:
        if done == 5:
            raise Power

    with pytest.raises(Power):
        train(place, tmp_path, progress=fail)
    assert not (tmp_path / "out").exists()
    train(place, tmp_path)
    attempts = list(read_rows(tmp_path / "state/attempts.jsonl"))
    assert [row["from_step"] for row in attempts if "choices" in row] == [0, 4]
    assert digests(tmp_path) == digests(straight)


@pytest.mark.long
def test_two_processes_see_the_rows_of_one_with_doubled_accumulation(
    place: Path, straight: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, gradient_accumulation=1, launch=Launch(processes=2))
    train(place, tmp_path, settings)
    logs = [list(read_rows(folder / "out/training_log.jsonl")) for folder in (straight, tmp_path)]
    rows_of = [[sorted(row["rows"]) for row in log if "rows" in row] for log in logs]
    assert rows_of[0] == rows_of[1]


def test_another_mapping_of_classes_is_refused_with_the_names_that_differ(place: Path, straight: Path) -> None:
    with pytest.raises(FinetrailError) as caught:
        load_for_answers(place / "base", eyes(("shr6", "tadv", "scp")), straight / "out/final_adapter", 4)
    said = str(caught.value)
    assert "shr6: 0 here, 1 there" in said and "tadv: 1 here, none there" in said and "scp: 2 here, 0 there" in said


def test_a_checkpoint_of_the_original_pipeline_is_read(place: Path, straight: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    ours = straight / "out/final_adapter"
    for name in ("adapter_config.json", "cond_name_to_id.json"):
        (tmp_path / name).write_bytes((ours / name).read_bytes())
    modules = load_file(ours / "stage2_prefix_modules.safetensors")
    torch.save(load_file(ours / "adapter_model.safetensors"), tmp_path / "adapter_model.bin")
    torch.save(
        {
            "cond_embedding.weight": modules["class_embedding.weight"],
            "image_proj.weight": modules["image_projection.weight"],
            "image_proj.bias": modules["image_projection.bias"],
        },
        tmp_path / "stage2_prefix_modules.pt",
    )
    torch.save(load_file(ours / "stage1_encoder_finetuned.safetensors"), tmp_path / "stage1_encoder_finetuned.pt")
    models = [load_for_answers(place / "base", load_eyes(place / "vision"), folder, 4) for folder in (ours, tmp_path)]
    for first, second in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(first, second)


class Runs:
    def __reduce__(self) -> Any:
        return print, ("code of the file",)


def test_code_in_a_checkpoint_is_never_run(
    place: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    ours = straight / "out/final_adapter"
    for name in ("adapter_config.json", "cond_name_to_id.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((ours / name).read_bytes())
    torch.save({"a": Runs()}, tmp_path / "stage2_prefix_modules.pt")
    with pytest.raises(FinetrailError, match="holds more than tensors"):
        load_for_answers(place / "base", load_eyes(place / "vision"), tmp_path, 4)
    assert "code of the file" not in capsys.readouterr().out


def test_what_liger_s_evaluation_adds_does_not_reach_the_model() -> None:
    """The library's trainer adds ``skip_logits`` where Liger's kernels are on, which only its own models know."""

    class Model:
        training = False

        def __call__(self, input_ids: int) -> dict[str, int]:
            return {"loss": input_ids + 1}

    assert PrefixSteps().compute_loss(Model(), {"input_ids": 1, "skip_logits": True}) == 2
