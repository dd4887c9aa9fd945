"""Tokenizers and settings with which training would teach the wrong thing are refused, each with its reason."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.config.sections.train import Template
from finetrail.errors import FinetrailError
from finetrail.models.base_model import BaseModel
from finetrail.models.base_tokenizer import prepare_tokenizer
from finetrail.models.chat_tokens import pad_id
from finetrail.models.limits import Limits
from finetrail.models.masks import encode_row
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.sft import train_adapter
from tests.unit.training.conftest import make_row

LIMITS = Limits(max_length=256)
SETTINGS = TrainSettings(rank=2, alpha=4, max_steps=2, batch_size=2, gradient_accumulation=1, limits=LIMITS)
NO_MARKS = LAYOUTS["llama3"].jinja.replace("{%- generation %}", "").replace("{%- endgeneration %}", "")
BOS, EOT = "<|begin_of_text|>", "<|eot_id|>"


@pytest.fixture
def base(base_dir: Path, tmp_path: Path) -> Path:
    """A copy of the base that a test may spoil."""
    return shutil.copytree(base_dir, tmp_path / "base")


def spoiled(base: Path, **changes: Any) -> Any:
    """Change attributes of the folder's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(base)
    return AutoTokenizer.from_pretrained(base)


def checked(base: Path, loss: Any = "answer") -> None:
    BaseModel(base).check(loss=loss, max_length=256)


def test_the_tiny_base_is_fine(base: Path) -> None:
    for loss in ("answer", "assistant"):
        checked(base, loss)


@pytest.mark.parametrize(("pad_token", "expected"), [(None, EOT), (BOS, BOS)])
def test_any_token_pads(pad_token: str | None, expected: str, base: Path) -> None:
    tokenizer = spoiled(base, pad_token=pad_token)
    checked(base)
    assert tokenizer.convert_ids_to_tokens(pad_id(tokenizer)) == expected


def test_two_bos_tokens(base: Path) -> None:
    tokenizer = spoiled(base, chat_template="{{- bos_token }}" + LAYOUTS["llama3"].jinja)
    with pytest.raises(FinetrailError, match="s0-t0: the prompt begins with two BOS tokens"):
        encode_row(make_row(0, 0), tokenizer, LIMITS)


@pytest.mark.parametrize("how", ["drops", "raises"])
def test_a_system_message_that_is_not_shown(how: str, base: Path) -> None:
    system = LAYOUTS["llama3"].jinja.index("{{- '<|start_header_id|>system")
    end = LAYOUTS["llama3"].jinja.index("}}", system) + 2
    instead = "" if how == "drops" else "{{- raise_exception('no system role') }}"
    tokenizer = spoiled(base, chat_template=LAYOUTS["llama3"].jinja[:system] + instead + LAYOUTS["llama3"].jinja[end:])
    with pytest.raises(FinetrailError, match="s0-t0: the chat template drops or refuses the system message"):
        encode_row(make_row(0, 0), tokenizer, LIMITS)
    row = make_row(0, 0)
    encode_row(row | {"messages": row["messages"][1:]}, tokenizer, LIMITS)


def test_a_final_token_at_which_generation_does_not_stop(base: Path) -> None:
    tokenizer = spoiled(base, eos_token="<|end_of_text|>")
    (base / "generation_config.json").unlink()
    with pytest.raises(
        FinetrailError, match=r"the final trained token would be <\|eot_id\|>, but generation stops at <\|end"
    ):
        checked(base)
    (base / "generation_config.json").write_text(f'{{"eos_token_id": [{tokenizer.convert_tokens_to_ids(EOT)}]}}')
    checked(base)


def test_a_turn_that_ends_with_no_control_token(base: Path) -> None:
    spoiled(base, chat_template=LAYOUTS["chatml"].jinja)
    with pytest.raises(FinetrailError, match=r"ends the assistant's turn with '<\|im_end\|>\\n', which begins with no"):
        checked(base)


def test_a_template_without_marks_where_they_are_needed(base: Path) -> None:
    spoiled(base, chat_template=NO_MARKS)
    checked(base, "answer")
    with pytest.raises(FinetrailError, match=r"the chat template has no \{% generation %\}"):
        checked(base, "assistant")


def test_marks_that_leave_the_end_of_the_turn_out(base: Path) -> None:
    marked = LAYOUTS["llama3"].jinja
    answer = "{{- message['content'] | trim + '<|eot_id|>' }}\n        {%- endgeneration %}"
    assert answer in marked
    without = "{{- message['content'] | trim }}{%- endgeneration %}{{- '<|eot_id|>' }}"
    tokenizer = spoiled(base, chat_template=marked.replace(answer, without))
    with pytest.raises(FinetrailError, match=r"s0-t1: what .* marks is not each answer with its end"):
        encode_row(make_row(0, 1), tokenizer, LIMITS, loss="assistant")


def test_rows_longer_than_the_context(base: Path) -> None:
    with pytest.raises(FinetrailError, match=r"limits.max_length is 257, but the model's context is 256"):
        BaseModel(base).check(loss="answer", max_length=257)


def test_new_tokens_that_an_adapter_would_not_train(base: Path, tmp_path: Path) -> None:

    facts = prepare_tokenizer(base, template="chatml", pad_token=None, new_tokens=["<|im_start|>", "<|im_end|>"])
    assert facts["new_tokens"] == ["<|im_start|>", "<|im_end|>"]

    checked(base, "assistant")
    rows = [make_row(session, 0, 1) for session in range(4)]
    work: dict[str, Any] = {"state_dir": tmp_path / "state", "out_dir": tmp_path / "out"}
    with pytest.raises(
        FinetrailError, match=r"2 new tokens \(<\|im_start\|>, <\|im_end\|>\), whose embeddings"
    ) as refused:
        train_adapter(BaseModel(base), rows, [], SETTINGS, **work)
    assert refused.value.hint == "Add embed_tokens to modules_to_save"
    BaseModel(base).check_new_tokens(["embed_tokens"])


def test_new_tokens_that_find_a_spare_embedding(base: Path) -> None:
    """Published models have more embeddings than tokens: what stands in the spare ones has never been trained."""

    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 64}))
    known, new = "<|eot_id|>", "<|im_start|>"
    facts = prepare_tokenizer(base, template=None, pad_token=None, new_tokens=[known, new])
    assert facts["new_tokens"] == [new]
    (base / "manifest.json").write_text(json.dumps({"tokenizer": facts}))

    with pytest.raises(FinetrailError, match=r"the tokenizer has 1 new tokens \(<\|im_start\|>\), whose embeddings"):
        BaseModel(base).check_new_tokens([])
    BaseModel(base).check_new_tokens(["embed_tokens"])


@pytest.mark.parametrize(
    ("choice", "cause"),
    [
        ({"template": "gemma"}, "gemma ends a turn with it, and '<end_of_turn>' is no token"),
        ({"pad_token": "<nothing>"}, "pad_token '<nothing>' is no token"),
    ],
)
def test_tokens_that_the_vocabulary_lacks(choice: dict[str, str], cause: str, base: Path) -> None:
    with pytest.raises(FinetrailError, match=cause):
        prepare_tokenizer(base, template=choice.get("template"), pad_token=choice.get("pad_token"), new_tokens=[])


def test_the_configuration_names_every_layout() -> None:
    assert set(get_args(Template)) == set(LAYOUTS)


def test_a_model_whose_template_is_of_another_family(base: Path) -> None:
    prepare_tokenizer(base, template=None, pad_token=None, new_tokens=[], family="llama3")
    with pytest.raises(FinetrailError, match="the model's template is llama3, of the family llama3, not mistral") as no:
        prepare_tokenizer(base, template=None, pad_token=None, new_tokens=[], family="mistral")
    assert no.value.where == "base_model.family"
