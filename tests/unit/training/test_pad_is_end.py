"""A pad token that is the end of the turn, as published models have it: nothing goes by the token, all by its place."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from finetrail.chat.messages import Message
from finetrail.inference.generate import Prompt, load_model, reply_greedily
from finetrail.models.base_model import BaseModel
from finetrail.models.chat_tokens import chat_tokens, pad_id
from finetrail.models.limits import Limits
from finetrail.models.masks import IGNORED, encode_row, prompt_ids
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.sft import train_adapter
from tests.unit.training.conftest import TOPICS, cpu_only

pytestmark = pytest.mark.heavy

EOT = "<|eot_id|>"
LIMITS = Limits(max_length=256)


@pytest.fixture
def base(base_dir: Path, tmp_path: Path) -> Path:
    """The base, with its end of a turn as the pad token of the tokenizer and of the model."""
    import json

    from transformers import AutoTokenizer

    folder = shutil.copytree(base_dir, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = EOT
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": tokenizer.pad_token_id}))
    return folder


def lesson(number: int) -> dict[str, Any]:
    """A row whose prompt and answer are as long as its number asks for, so that a batch needs padding."""
    topic = TOPICS[number]
    messages: list[Message] = [
        {"role": "user", "content": " ".join([topic] * (1 + 3 * number))},
        {"role": "assistant", "content": " ".join([topic] * (1 + number))},
    ]
    return {"id": topic, "question": messages[0]["content"], "evidence": [], "messages": messages}


@cpu_only
@pytest.mark.parametrize("packing", [False, True])
def test_a_model_that_pads_with_its_end_learns_to_stop(packing: bool, base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    rows = [lesson(number) for number in range(4)]
    settings = TrainSettings(
        method="full", weights="fp32", max_steps=60, batch_size=1 if packing else 4, gradient_accumulation=1,
        learning_rate=1e-2, limits=LIMITS, packing=packing,
    )  # fmt: skip
    train_adapter(BaseModel(base), rows, rows[:2], settings, state_dir=tmp_path / "state", out_dir=tmp_path / "out")
    tuned = tmp_path / "out" / "final_checkpoint"
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    assert pad_id(tokenizer) == chat_tokens(tokenizer).end == tokenizer.convert_tokens_to_ids(EOT)
    prompts = [Prompt(prompt_ids(row["messages"][:1], tokenizer, where=row["id"]), (), 0) for row in rows]
    found = reply_greedily(load_model(tuned), tokenizer, prompts, 24, None)
    assert found == [(row["messages"][1]["content"], "eos") for row in rows]


def test_the_end_of_an_earlier_turn_is_learned_too(base: Path) -> None:
    """Torch's embeddings give the row of their padding index no gradient, wherever the token stands."""
    import torch
    from transformers import AutoTokenizer

    from finetrail.training.settings.hardware import detect
    from finetrail.training.settings.machine_choices import choose
    from finetrail.training.trainer.load_model import build_model

    settings = TrainSettings(method="full", weights="fp32", limits=LIMITS)
    model: Any = build_model(base, settings, choose(settings, detect()))
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = encode_row(lesson(0), tokenizer, LIMITS).input_ids
    model.model(input_ids=torch.tensor([ids])).last_hidden_state.sum().backward()
    assert model.get_input_embeddings().weight.grad[tokenizer.pad_token_id].abs().max() > 0


def test_a_prompt_in_a_padded_batch_is_answered_as_alone(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    prompts = [Prompt(prompt_ids(lesson(n)["messages"][:1], tokenizer, where=""), (), 0) for n in range(4)]
    model = load_model(base)
    together = reply_greedily(model, tokenizer, prompts, 8, None)
    assert together == [reply_greedily(model, tokenizer, [prompt], 8, None)[0] for prompt in prompts]


def test_the_end_carries_loss_and_padding_none(base: Path) -> None:
    from transformers import AutoTokenizer

    from finetrail.training.prefix.prefix_rows import TaskCollator
    from finetrail.training.trainer.collator import make_collator

    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = [encode_row(lesson(number), tokenizer, LIMITS) for number in range(3)]
    items = [
        {"input_ids": one.input_ids, "labels": one.labels, "weights": 1.0, "class_ids": -1, "pictures": []}
        for one in examples
    ]
    end = tokenizer.pad_token_id
    for collate in (make_collator(end, packing=False, vision=None), TaskCollator(end, 8)):
        batch = collate([dict(item) for item in items])
        lengths = [len(one.input_ids) for one in examples]
        assert batch["attention_mask"].sum(dim=1).tolist() == lengths
        for labels, one in zip(batch["labels"].tolist(), examples, strict=True):
            assert labels[: len(one.labels)] == one.labels and one.labels[-1] == end
            assert set(labels[len(one.labels) :]) <= {IGNORED}
