"""A tiny Llama-3.2-Vision: what it is shown of an image, what it learns, and that it can be stopped and asked."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from finetrail.errors import FinetrailError
from finetrail.inference.generate import answer_sessions, load_model
from finetrail.inference.likelihood import answer_loss
from finetrail.models.base import adapter_targets, load_base
from finetrail.models.base_model import BaseModel
from finetrail.models.image_inputs import IMAGE_TOKEN, Vision, load_vision
from finetrail.models.limits import Limits
from finetrail.models.masks import IGNORED, encode_row, encode_rows
from finetrail.rows.records import sha256_file
from finetrail.tiny.tiny_base import build_tiny_base
from finetrail.training.merge_weights import merge_adapter
from finetrail.training.settings.train_settings import Saving, TrainSettings
from finetrail.training.sft import train_adapter
from finetrail.training.trainer.collator import make_collator
from finetrail.training.trainer.dataset import build_dataset
from tests.unit.training.conftest import SMALL, cpu_only, make_row, make_texts

pytestmark = pytest.mark.heavy

LIMITS = Limits(max_length=256)
SETTINGS = TrainSettings(
    rank=4, alpha=8, dropout=0.1, learning_rate=1e-2, max_steps=4, batch_size=2, gradient_accumulation=1,
    limits=LIMITS,
)  # fmt: skip
SIZES = ((20, 20), (90, 30), (30, 90), (64, 64))  # of one tile, and of several in a row, a column and a square


class Killed(Exception):
    """Stands for the death of the process."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate(SIZES):
        colour = (60 * number, 255 - 60 * number, 30)
        Image.new("RGB", size, colour).save(folder / f"{number}.png")
    Image.new("L", (10, 10), 90).save(folder / "grey.gif")
    return folder


@pytest.fixture(scope="module")
def mllama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mllama")
    build_tiny_base("mllama", make_texts(), settings=SMALL, system="", seed=1, out_dir=folder)
    return folder


@pytest.fixture
def vision(mllama: Path, pictures: Path) -> Vision:
    found = load_vision(mllama, str(pictures))
    assert found is not None
    return found


def with_image(row: dict[str, Any], folder: Path, name: str | None) -> dict[str, Any]:
    return row | {"image": {"path": name, "sha256": sha256_file(folder / name)} if name else None}


@pytest.fixture
def image_rows(pictures: Path) -> list[dict[str, Any]]:
    """Two turns of four sessions with an image each, and one session without."""
    names = ["0.png", "1.png", "2.png", "grey.gif", None]
    return [
        with_image(make_row(session, turn, 1), pictures, name) for session, name in enumerate(names) for turn in (0, 1)
    ]


@pytest.mark.parametrize("loss", ["answer", "assistant"])
def test_the_image_stands_once_before_the_first_question_and_carries_no_loss(
    loss: Any, mllama: Path, vision: Vision, image_rows: list[dict[str, Any]]
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(mllama)
    for row in image_rows:
        example = encode_row(row, tokenizer, LIMITS, loss=loss, vision=vision)
        said = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        learned = tokenizer.decode([label for label in example.labels if label != IGNORED])
        assert learned == "".join(f"{answer}<|eot_id|>" for answer in (said if loss == "assistant" else said[-1:]))
        shown = tokenizer.decode(example.prompt_ids)
        assert shown.count(IMAGE_TOKEN) == len(example.images) == (row["image"] is not None)
        if row["image"]:
            assert shown.index(IMAGE_TOKEN) < shown.index("user says" if row["history"] else "[1] Guide")
            assert vision.token_id not in example.labels


def test_trimming_keeps_the_image_and_the_question(mllama: Path, vision: Vision, pictures: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(mllama)
    row = with_image(make_row(0, 1, 3), pictures, "1.png")
    whole = encode_row(row, tokenizer, Limits(4096), vision=vision)
    short = encode_row(row, tokenizer, Limits(len(whole.input_ids) - 60, history_turns=0), vision=vision)
    shown = tokenizer.decode(short.prompt_ids)
    assert IMAGE_TOKEN in shown and row["question"] in shown
    with pytest.raises(FinetrailError, match=r"s0-t1: the row has \d+ tokens without any evidence"):
        encode_row(row, tokenizer, Limits(20), vision=vision)


def test_rows_of_a_batch_do_not_see_each_others_images(
    mllama: Path, vision: Vision, image_rows: list[dict[str, Any]]
) -> None:
    import torch
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(mllama), load_base(mllama, "float32").eval()
    examples = encode_rows(image_rows, tokenizer, LIMITS, vision=vision).examples
    collate = make_collator(tokenizer.pad_token_id, packing=False, vision=vision)
    with torch.inference_mode():
        together = model(use_cache=False, **collate(list(build_dataset(examples)))).logits
        for place, example in enumerate(examples):
            alone = model(use_cache=False, **collate(list(build_dataset([example])))).logits[0]
            assert (together[place, : len(example.input_ids)] - alone).abs().max() < 1e-5


def test_the_image_matters(mllama: Path, vision: Vision, pictures: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(mllama), load_base(mllama, "float32").eval()
    row = make_row(0, 0, 1)
    shown = [with_image(row, pictures, name) for name in ("0.png", "1.png", None)]
    losses = [
        loss.nats for loss in answer_loss(model, encode_rows(shown, tokenizer, LIMITS, vision=vision).examples, vision)
    ]
    assert len({round(loss, 3) for loss in losses}) == 3


def train(
    base: Path, rows: list[dict[str, Any]], pictures: Path, work: Path, settings: TrainSettings, **more: Any
) -> Any:
    return train_adapter(
        BaseModel(base),
        rows,
        rows[:2],
        settings,
        state_dir=work / "state",
        out_dir=work / "out",
        images=str(pictures),
        saving=Saving(save_steps=2),
        **more,
    )


@pytest.fixture(scope="module")
def trained(mllama: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("trained")
    names = ["0.png", "1.png", None]
    rows = [with_image(make_row(session, 1, 1), pictures, name) for session, name in enumerate(names)]
    report = train(mllama, rows, pictures, work, SETTINGS)
    assert report.steps == 4 and report.dropped_images == 0
    return work / "out" / "final_adapter"


def test_a_killed_run_ends_with_the_same_weights(mllama: Path, pictures: Path, trained: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    names = ["0.png", "1.png", None]
    rows = [with_image(make_row(session, 1, 1), pictures, name) for session, name in enumerate(names)]

    def die(step: int, steps: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(mllama, rows, pictures, tmp_path, SETTINGS, progress=die)
    train(mllama, rows, pictures, tmp_path, SETTINGS)
    resumed = load_file(tmp_path / "out" / "final_adapter" / "adapter_model.safetensors")
    straight = load_file(trained / "adapter_model.safetensors")
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    other = [*rows[:2], with_image(rows[2], pictures, "2.png")]
    with pytest.raises(FinetrailError, match="other data or settings"):
        train(mllama, other, pictures, tmp_path, SETTINGS)


def test_the_adapter_stays_out_of_the_image_encoder_unless_asked(
    mllama: Path, pictures: Path, trained: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    weights = load_file(trained / "adapter_model.safetensors")
    assert all("language_model" in name for name in weights)
    assert any("cross_attn" in name and "lora_B" in name and weight.any() for name, weight in weights.items())
    settings = dataclasses.replace(SETTINGS, vision_layers=True, max_steps=1)
    rows = [with_image(make_row(0, 0, 1), pictures, "0.png")]
    train(mllama, rows, pictures, tmp_path, settings)
    reached = load_file(tmp_path / "out" / "final_adapter" / "adapter_model.safetensors")
    assert {"vision_model", "multi_modal_projector", "language_model"} == {
        part
        for name in reached
        for part in name.split(".")
        if part.endswith(("_model", "_projector")) and part != "base_model"
    }


def test_the_published_model_gets_adapters_in_every_language_layer() -> None:
    import torch
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    with torch.device("meta"):
        model = MllamaForConditionalGeneration(MllamaConfig())  # the defaults are Llama-3.2-11B-Vision's
    pattern = adapter_targets(model, "all-linear", vision_layers=False)
    assert isinstance(pattern, str)
    found = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    assert len(found) == 40 * 7 and all(".language_model.layers." in name for name in found)
    few = adapter_targets(model, ("q_proj", "v_proj"), vision_layers=False)
    assert sum(re.fullmatch(str(few), name) is not None for name, _ in model.named_modules()) == 40 * 2
    with pytest.raises(FinetrailError, match="none of the layers"):
        adapter_targets(model, ("c_attn",), vision_layers=False)


def test_the_published_processor_is_read(mllama: Path, tmp_path: Path) -> None:
    shutil.copytree(mllama, tmp_path / "model")
    published: dict[str, Any] = {"image_processor_type": "MllamaImageProcessor", "size": {"height": 560, "width": 560}}
    published |= {"max_image_tiles": 4, "resample": 2, "rescale_factor": 1 / 255, "do_pad": True, "do_resize": True}
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(published))
    vision = load_vision(tmp_path / "model", None)
    assert vision is not None
    Image.new("RGB", (700, 300)).save(tmp_path / "wide.png")
    made = vision.tensors([[tmp_path / "wide.png"]], [[1, vision.token_id, 5, 6]])
    assert made["pixel_values"].shape == (1, 1, 4, 3, 560, 560)
    assert made["aspect_ratio_ids"].tolist() == [[2]]  # two tiles side by side
    assert made["cross_attention_mask"][0, :, 0].tolist() == [[0] * 4, *[[1, 1, 0, 0]] * 3]


@cpu_only
def test_checkpointed_activations_give_the_same_gradients(mllama: Path, vision: Vision, image_rows: Any) -> None:
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(mllama)
    examples = encode_rows(image_rows[-4:], tokenizer, LIMITS, vision=vision).examples
    batch = make_collator(tokenizer.pad_token_id, packing=False, vision=vision)(list(build_dataset(examples)))
    gradients = []
    for checkpointed in (False, True):
        model = load_base(mllama, "float32").train()
        if checkpointed:
            model.gradient_checkpointing_enable()
        model(use_cache=False, **batch).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])


def test_answers_do_not_depend_on_the_batch_and_are_about_the_image(
    mllama: Path, trained: Path, vision: Vision, image_rows: list[dict[str, Any]]
) -> None:
    from transformers import AutoTokenizer

    model, tokenizer = load_model(mllama, trained), AutoTokenizer.from_pretrained(mllama)
    asked: dict[str, Any] = {"limits": LIMITS, "max_answer_tokens": 6, "vision": vision}
    together = answer_sessions(model, tokenizer, image_rows, batch_size=4, **asked)
    assert together == answer_sessions(model, tokenizer, image_rows, batch_size=1, **asked)
    blind = answer_sessions(model, tokenizer, image_rows, **(asked | {"vision": None}))
    assert [answer.text for answer in blind] != [answer.text for answer in together]


def test_a_refusal_is_measured_behind_the_prompt_that_is_answered(
    mllama: Path, trained: Path, vision: Vision, image_rows: list[dict[str, Any]]
) -> None:
    from transformers import AutoTokenizer

    model, tokenizer = load_model(mllama, trained), AutoTokenizer.from_pretrained(mllama)
    asked: dict[str, Any] = {"limits": LIMITS, "max_answer_tokens": 6, "vision": vision}
    first = [row for row in image_rows if row["turn"] == 0]
    said = answer_sessions(model, tokenizer, first, refusal="I don't know", **asked)
    refusing = [
        row | {"messages": [*row["messages"][:-1], {"role": "assistant", "content": "I don't know"}]} for row in first
    ]
    examples = encode_rows(refusing, tokenizer, LIMITS, vision=vision).examples
    wanted = [loss.nats for loss in answer_loss(model, examples, vision)]
    assert [answer.refusal_nats for answer in said] == pytest.approx(wanted, rel=1e-4)
    plain = answer_sessions(model, tokenizer, first, **asked)
    assert [answer.text for answer in plain] == [answer.text for answer in said]
    assert {answer.refusal_nats for answer in plain} == {None}


@cpu_only
def test_the_merged_model_is_whole(
    mllama: Path, trained: Path, pictures: Path, image_rows: Any, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    merged = merge_adapter(mllama, trained, tmp_path / "merged")
    seeing = load_vision(merged, str(pictures))
    assert seeing is not None
    tokenizer = AutoTokenizer.from_pretrained(merged)
    examples = encode_rows(image_rows[:3], tokenizer, LIMITS, vision=seeing).examples
    one, other = (
        [loss.nats for loss in answer_loss(model, examples, seeing)]
        for model in (load_model(merged), load_model(mllama, trained))
    )
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"other"), "is not the one that was ingested"),
    ],
)
def test_an_image_that_is_not_the_one_of_the_records_is_named(
    spoil: Any, cause: str, mllama: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = with_image(make_row(0, 0), tmp_path, "a.png")
    spoil(tmp_path / "a.png")
    with pytest.raises(FinetrailError, match=f"s0-t0: .*{cause}"):
        encode_row(row, AutoTokenizer.from_pretrained(mllama), LIMITS, vision=load_vision(mllama, str(tmp_path)))


def test_a_file_that_is_no_image_and_one_that_is_a_bomb_are_named(mllama: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    (tmp_path / "text.png").write_text("no image")
    Image.new("1", (10000, 10000)).save(tmp_path / "bomb.png")
    for name in ("text.png", "bomb.png"):
        row = with_image(make_row(0, 0), tmp_path, name)
        with pytest.raises(FinetrailError, match=r"s0-t0: .*cannot be decoded"):
            encode_row(row, AutoTokenizer.from_pretrained(mllama), LIMITS, vision=load_vision(mllama, str(tmp_path)))


def test_an_image_token_in_a_text_is_words(mllama: Path, vision: Vision, pictures: Path) -> None:
    from transformers import AutoTokenizer

    row = with_image(make_row(0, 0), pictures, "1.png")
    row["messages"][1]["content"] += IMAGE_TOKEN
    example = encode_row(row, AutoTokenizer.from_pretrained(mllama), LIMITS, vision=vision)
    assert example.input_ids.count(vision.token_id) == len(example.images) == example.control_texts == 1


def test_a_text_model_may_drop_images_only_where_the_limits_say_so(base_dir: Path, pictures: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    rows = [with_image(make_row(0, 0), pictures, "0.png"), make_row(1, 0)]
    with pytest.raises(FinetrailError, match=r"s0-t0: .*this model reads text only"):
        encode_rows(rows, tokenizer, LIMITS, vision=load_vision(base_dir, str(pictures)))
    encoded = encode_rows(rows, tokenizer, dataclasses.replace(LIMITS, images="drop"))
    examples, dropped = encoded.examples, encoded.dropped_images
    assert dropped == 1 and examples[0].images == ()
