"""Which tokens carry loss, and what is left out when a row is too long."""

from typing import Any, get_args

import pytest

from finetrail.chat.messages import user_turn
from finetrail.errors import FinetrailError
from finetrail.models.limits import Limits
from finetrail.models.masks import IGNORED, encode_row
from finetrail.tiny.tiny_settings import Architecture
from finetrail.tiny.tiny_tokenizer import train_tokenizer

pytestmark = pytest.mark.heavy

WHOLE = Limits(max_length=4096)


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_exactly_the_answer_and_the_end_carry_loss(
    architecture: Architecture, texts: list[str], rows: list[dict[str, Any]]
) -> None:
    tokenizer = train_tokenizer(architecture, texts, vocabulary_size=512, context=256)
    for row in rows:
        example = encode_row(row, tokenizer, WHOLE)
        loss_bearing = [label for label in example.labels if label != IGNORED]
        assert tokenizer.decode(loss_bearing).lstrip() == row["answer"] + tokenizer.eos_token
        assert example.input_ids == example.prompt_ids + loss_bearing
        prompt = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_dict=False)
        assert example.prompt_ids == prompt


def test_trimming_drops_the_last_passages_only(texts: list[str], rows: list[dict[str, Any]]) -> None:
    tokenizer = train_tokenizer("llama", texts, vocabulary_size=512, context=256)
    row = rows[1]
    whole = encode_row(row, tokenizer, WHOLE)
    short = encode_row(row, tokenizer, Limits(max_length=len(whole.input_ids) - 1))
    assert (whole.dropped_passages, short.dropped_passages) == (0, 1)
    shown = tokenizer.decode(short.prompt_ids)
    assert user_turn(row["question"], row["evidence"][:2]) in shown
    assert row["history"][0]["content"] in shown and "Guide 2" not in shown
    assert short.labels[-short.target_tokens :] == whole.labels[-whole.target_tokens :]


def test_a_choice_never_names_a_passage_that_did_not_fit(texts: list[str], rows: list[dict[str, Any]]) -> None:
    tokenizer = train_tokenizer("llama", texts, vocabulary_size=512, context=256)
    chosen = [*rows[1]["messages"][:-1], {"role": "assistant", "content": "1, 3"}]
    row = rows[1] | {"kind": "passage_choice", "messages": chosen}
    whole = encode_row(row, tokenizer, WHOLE)
    short = encode_row(row, tokenizer, Limits(max_length=len(whole.input_ids) - 1))
    said = [tokenizer.decode(e.labels[-e.target_tokens :], skip_special_tokens=True).strip() for e in (whole, short)]
    assert said == ["1, 3", "1"] and short.dropped_passages == 1


def test_a_row_that_never_fits_is_named(texts: list[str], rows: list[dict[str, Any]]) -> None:
    tokenizer = train_tokenizer("llama", texts, vocabulary_size=512, context=256)
    with pytest.raises(FinetrailError, match="s0-t1: the row has"):
        encode_row(rows[1], tokenizer, Limits(max_length=20))


def test_history_is_shortened_from_the_oldest(texts: list[str], rows: list[dict[str, Any]]) -> None:
    tokenizer = train_tokenizer("llama", texts, vocabulary_size=512, context=256)
    none = tokenizer.decode(encode_row(rows[1], tokenizer, Limits(4096, history_turns=0)).prompt_ids)
    assert "assistant says 0" not in none and "Be brief." in none
    cut = tokenizer.decode(encode_row(rows[1], tokenizer, Limits(4096, history_answer_tokens=2)).prompt_ids)
    assert "user says 0" in cut and "assistant says 0 about" not in cut
