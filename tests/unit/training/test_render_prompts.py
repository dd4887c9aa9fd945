"""prompts/{family}.jsonl: the final string is what the trainer tokenizes and what the Modelfile's TEMPLATE writes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.errors import FinetrailError
from finetrail.export.go_template import go_version, render_go
from finetrail.models.limits import Limits
from finetrail.models.masks import encode_row
from finetrail.rows.artifacts import write_manifest
from finetrail.rows.records import read_rows, write_jsonl
from finetrail.tiny.tiny_tokenizer import train_tokenizer
from finetrail.training.rendered import rendered
from synthesize import format_qa
from tests.unit.training.conftest import make_row, make_texts
from train import render_prompts

pytestmark = pytest.mark.heavy

LIMITS: dict[str, Any] = {"max_length": 256, "history_turns": None, "history_answer_tokens": None, "images": "show"}
ROWS = [make_row(session, turn) for session in range(3) for turn in range(2)]


@pytest.fixture
def base(tmp_path: Path, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tokenizer of a tiny mistral, as the folder of a base model."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "base"
    tokenizer = train_tokenizer("mistral", make_texts(), vocabulary_size=512, context=256)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, folder / "manifest.json", {})
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    return folder


def run(base: Path, family: str = "mistral") -> int:
    files = ["--train", "train.jsonl", "--base", str(base / "manifest.json"), "--out", "p.jsonl", "--meta", "m.json"]
    return render_prompts.main([*files, "--family", family, "--settings", json.dumps({"limits": LIMITS})])


def test_the_text_has_the_trainers_tokens_and_the_templates_prompt(base: Path) -> None:
    from transformers import AutoTokenizer

    assert run(base) == 0
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompts = list(read_rows(Path("p.jsonl")))
    assert [row["parents"] for row in prompts] == [[row["id"]] for row in ROWS]
    for made, row in zip(prompts, ROWS, strict=True):
        example = encode_row(row, tokenizer, Limits(**LIMITS))
        assert tokenizer(made["text"], add_special_tokens=False)["input_ids"] == example.input_ids
        assert made["text"].startswith("<s>[INST]") and made["text"].endswith("</s>")
        assert made["text"][made["answer_start"] :] == f" {row['answer']}</s>"
        messages = [{"role": turn["role"], "content": turn["content"]} for turn in example.messages[:-1]]
        wanted = made["text"][: made["answer_start"]]
        assert LAYOUTS["mistral"].render(messages, add_generation_prompt=True, bos_token="<s>") == wanted
        if go_version() is not None:  # the server itself writes BOS
            assert render_go(LAYOUTS["mistral"].go_template, [messages]) == [wanted.removeprefix("<s>")]


def test_passages_that_do_not_fit_are_left_out_and_counted(base: Path) -> None:
    long = ROWS[0] | {"messages": ROWS[0]["messages"], "id": "long"}
    write_jsonl(Path("train.jsonl"), [long])
    limits = json.dumps({"limits": LIMITS | {"max_length": 130}})
    files = ["--train", "train.jsonl", "--base", str(base / "manifest.json"), "--out", "p.jsonl", "--meta", "m.json"]
    assert render_prompts.main([*files, "--family", "mistral", "--settings", limits]) == 0
    (row,) = read_rows(Path("p.jsonl"))
    assert row["passages_left_out"] > 0
    assert row["tokens"] <= 130


def test_another_family_is_refused(base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(base, "llama3") == 1
    assert "the model's template is mistral, of the family mistral, not llama3" in capfd.readouterr().err
    assert not Path("p.jsonl").exists()


def test_a_layout_that_writes_something_else_is_found(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    example = encode_row(ROWS[0], tokenizer, Limits(**LIMITS))
    with pytest.raises(FinetrailError, match="the Modelfile's TEMPLATE would write another prompt"):
        rendered(example, tokenizer, LAYOUTS["gemma"])


def test_pairs_in_the_tokenizers_own_template(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    pair: dict[str, Any] = {"id": "a", "question": "Q?", "answer": "A.", "validation": {"overall": 9.0}}
    write_jsonl(Path("validated.jsonl"), [pair])
    own = tmp_path / "own"
    shutil.copytree(base, own)
    tokenizer = AutoTokenizer.from_pretrained(own)
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(own)
    files = ["--rows", "validated.jsonl", "--out", "f.jsonl", "--meta", "m.json", "--base", str(own / "manifest.json")]
    settings = json.dumps({"folds": {"system_prompt": ""}})
    form = ["--template", "tokenizer", "--threshold", "8.0", "--settings", settings]
    assert format_qa.main([*files, *form]) == 0
    assert [row["text"] for row in read_rows(Path("f.jsonl"))] == ["<s><user>Q?<assistant>A."]
    assert format_qa.main([*files[:6], *form]) == 1, "without a base model there is no such template"
