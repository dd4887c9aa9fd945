"""The likelihood of options: each is measured as the answer, behind what the model itself said."""

from pathlib import Path
from typing import Any

import pytest

from finetrail.inference.generate import load_model
from finetrail.inference.likelihood import answer_loss, option_losses
from finetrail.models.limits import Limits
from finetrail.models.masks import IGNORED, encode_row

ROW: dict[str, Any] = {
    "id": "q",
    "question": "Who?\nA: Ann\nB: Bob",
    "choice": {"kind": "letter", "options": ["Ann", "Bob"], "key": 1},
    "messages": [{"role": "user", "content": "Who?\nA: Ann\nB: Bob"}, {"role": "assistant", "content": "the key"}],
}


def whole(model: Any, tokenizer: Any, text: str) -> float:
    row = {**ROW, "messages": [ROW["messages"][0], {"role": "assistant", "content": text}]}
    (loss,) = answer_loss(model, [encode_row(row, tokenizer, Limits())])
    return loss.nats


@pytest.mark.parametrize("reply", ["", "no answer line", "Reasoning: so\n\nAnswer: nonsense"])
def test_options_differ_as_the_whole_replies_do(base_dir: Path, reply: str) -> None:
    """What stands before the answer is counted for none of them, so that the differences are those of the wholes."""
    from transformers import AutoTokenizer

    model, tokenizer = load_model(base_dir), AutoTokenizer.from_pretrained(base_dir)
    head = "Reasoning: so\n\n" if "Answer: " in reply else ""
    first, second = option_losses(model, tokenizer, ROW, reply, Limits())
    wholes = [whole(model, tokenizer, f"{head}Answer: {answer}") for answer in ("A: Ann", "B: Bob")]
    assert first.nats - second.nats == pytest.approx(wholes[0] - wholes[1], abs=1e-4)
    row = {**ROW, "messages": [ROW["messages"][0], {"role": "assistant", "content": "Answer: A: Ann"}]}
    alone = sum(label != IGNORED for label in encode_row(row, tokenizer, Limits()).labels)
    assert first.tokens == pytest.approx(alone, abs=2)
