"""What `make peek` prints: all of a row, with marks around what carries loss and nowhere else."""

from pathlib import Path
from typing import Any

import pytest

from finetrail.models.limits import Limits
from finetrail.models.masks import EncodedRows, encode_row
from finetrail.training.peek import MARKS, show_row, show_summary, stretches
from tests.unit.training.conftest import make_row

LIMITS = Limits(max_length=256)


@pytest.fixture(scope="module")
def tokenizer(base_dir: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base_dir)


def test_marks_stand_around_what_carries_loss(tokenizer: Any) -> None:
    row = make_row(1, 1, 1)
    example = encode_row(row, tokenizer, LIMITS, loss="assistant")
    shown = show_row(example, tokenizer, MARKS)
    said = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
    assert [part.partition("⟧")[0] for part in shown.split("⟦")[1:]] == [f"{text}<|eot_id|>" for text in said]
    assert f"{len(example.input_ids)} tokens, {example.target_tokens} carry loss" in shown
    assert "".join(text for text, _ in stretches(example, tokenizer)) == tokenizer.decode(example.input_ids)


def test_a_text_cannot_steer_the_terminal(tokenizer: Any) -> None:
    row = make_row(1, 0, 1)
    row["messages"][-1]["content"] = "red \x1b[31m alert"
    assert "\\x1b[31m" in show_row(encode_row(row, tokenizer, LIMITS), tokenizer, MARKS)


def test_the_summary_counts_what_was_left_out(tokenizer: Any) -> None:
    whole = encode_row(make_row(0, 0, 3), tokenizer, LIMITS)
    short = encode_row(make_row(0, 0, 3), tokenizer, Limits(len(whole.input_ids) - 1))
    summary = show_summary(EncodedRows([whole, short], 2, {}))
    assert f"2 rows of {len(short.input_ids)} to {len(whole.input_ids)} tokens" in summary
    assert "1 rows lost 1 passages so that they fit; 2 images are not shown" in summary
