"""For every chat template, the tokens that carry loss are exactly the assistant's words and the end of the turn."""

from copy import copy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.errors import FinetrailError
from finetrail.models.base_tokenizer import prepare_tokenizer
from finetrail.models.chat_tokens import chat_tokens
from finetrail.models.limits import Limits, Loss
from finetrail.models.masks import IGNORED, encode_row, encode_rows
from finetrail.tiny.tiny_settings import Architecture
from finetrail.tiny.tiny_tokenizer import train_tokenizer
from finetrail.training.trainer.dataset import build_dataset
from tests.unit.training.conftest import make_row, make_texts

pytestmark = pytest.mark.heavy

WHOLE = Limits(max_length=4096)
KINDS: dict[str, Architecture] = {"mistral": "mistral", "alpaca": "mistral", "gemma": "mistral"}
KINDS |= dict.fromkeys(("llama3", "llama3_1"), "llama")
LOSSES: tuple[Loss, ...] = ("answer", "assistant")


@cache
def tokenizer_of(layout: str) -> Any:
    """A small tokenizer, changed for the layout as a recipe would have it changed."""
    from transformers import AutoTokenizer

    kind = KINDS.get(layout, "qwen3")
    with TemporaryDirectory() as folder:
        train_tokenizer(kind, make_texts(), vocabulary_size=600, context=512).save_pretrained(folder)
        Path(folder, "config.json").write_text("{}")
        new = [stop for stop in LAYOUTS[layout].stop if stop.startswith("<")]
        prepare_tokenizer(Path(folder), template=layout, pad_token=None, new_tokens=new)
        return AutoTokenizer.from_pretrained(folder)


def learned(tokenizer: Any, labels: list[int]) -> list[str]:
    """Decode every stretch of tokens that carries loss."""
    stretches: list[list[int]] = [[]]
    for label in labels:
        if label != IGNORED:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]


def expected(row: dict[str, Any], layout: str, loss: Loss) -> list[str]:
    said = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
    end, lead = LAYOUTS[layout].stop[0], LAYOUTS[layout].answer_lead
    return [f"{lead}{answer}{end}" for answer in (said if loss == "assistant" else said[-1:])]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_exactly_what_the_assistant_writes_carries_loss(layout: str, loss: Loss) -> None:
    tokenizer = tokenizer_of(layout)
    rows = [make_row(session, turn) for session in range(3) for turn in range(3)]
    examples = [encode_row(row, tokenizer, WHOLE, loss=loss) for row in rows]
    for row, example in zip(rows, examples, strict=True):
        assert [text.lstrip(" ") for text in learned(tokenizer, example.labels)] == [
            text.lstrip(" ") for text in expected(row, layout, loss)
        ]
        assert example.input_ids[-1] == chat_tokens(tokenizer).end
        assert [given for given, label in zip(example.input_ids, example.labels, strict=True) if label != IGNORED] == [
            label for label in example.labels if label != IGNORED
        ]
    packed = build_dataset(examples, pack_to=1024)
    assert len(packed) < len(rows)
    for item in packed:
        texts = [text for place in item["rows"] for text in expected(rows[place], layout, loss)]
        assert [text.lstrip(" ") for text in learned(tokenizer, item["labels"])] == [text.lstrip(" ") for text in texts]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_prompt_ends_as_the_served_one_does(layout: str) -> None:
    tokenizer = tokenizer_of(layout)
    row = make_row(1, 2)
    messages = [*row["messages"][:-1]]
    served = LAYOUTS[layout].render(messages, True, tokenizer.bos_token)
    assert encode_row(row, tokenizer, WHOLE).prompt_ids == tokenizer(served, add_special_tokens=False)["input_ids"]


def with_answer(answer: str, history: str = "user says 0") -> dict[str, Any]:
    row = make_row(0, 1)
    row["messages"][2]["content"] = history
    row["messages"][-1]["content"] = answer
    return row


def test_thoughts_of_earlier_turns_are_not_shown() -> None:
    tokenizer = tokenizer_of("qwen")
    row = with_answer("<think>It opened.</think>In 1900.", "<think>Hidden.</think>Shown.")
    example = encode_row(row, tokenizer, WHOLE)
    prompt = tokenizer.decode(example.prompt_ids)
    assert "Shown." in prompt and "Hidden" not in prompt
    assert learned(tokenizer, example.labels) == ["<think>It opened.</think>In 1900.<|im_end|>"]


def test_a_row_with_thoughts_behind_a_closed_block_is_set_aside_alone() -> None:
    encoded = encode_rows(
        [with_answer("<think>It opened.</think>In 1900."), make_row(1, 2)], tokenizer_of("qwen3"), WHOLE
    )
    assert encoded.set_aside == {"s0-t1": "the answer holds thoughts, but the prompt has closed them"}
    assert [example.row_id for example in encoded.examples] == ["s1-t2"]


def published(file: str, layout: str) -> Any:
    """A small tokenizer with a template as it is published (the trainer's library carries them)."""
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    tokenizer = copy(tokenizer_of(layout))
    tokenizer.chat_template = Path(spec.origin).with_name("chat_templates").joinpath(f"{file}.jinja").read_text("utf-8")
    return tokenizer


@pytest.mark.parametrize(
    ("file", "layout", "loss"),
    [
        *((file, "llama3", "answer") for file in ("llama3", "llama3_1", "llama3_2")),
        *((file, "qwen3", "answer") for file in ("qwen2_5", "qwen3", "qwen3_instruct_2507")),
        *((file, "gemma", "answer") for file in ("gemma", "gemma3")),
        ("llama3_training", "llama3", "assistant"),
    ],
)
def test_published_templates_teach_the_same(file: str, layout: str, loss: Loss) -> None:
    tokenizer = published(file, layout)
    for row in (make_row(1, turn) for turn in range(3)):
        if layout == "gemma":
            row["messages"] = row["messages"][1:]
        example = encode_row(row, tokenizer, WHOLE, loss=loss)
        assert [text.lstrip(" ") for text in learned(tokenizer, example.labels)] == expected(row, layout, loss)


@pytest.mark.parametrize(("file", "layout"), [("qwen2_5", "qwen"), ("qwen3", "qwen3"), ("gemma3", "gemma")])
def test_published_marks_around_more_than_the_answer_are_refused(file: str, layout: str) -> None:
    """These mark a line break behind the end of the turn, or what the prompt already holds."""
    row = make_row(1, 1)
    row["messages"] = row["messages"][1:]
    with pytest.raises(FinetrailError, match=r"s1-t1: what \{% generation %\} marks is not each answer"):
        encode_row(row, published(f"{file}_training", layout), WHOLE, loss="assistant")
