"""A saved tokenizer under the names of released tools is the same tokenizer."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetrail.models.tokenizer_names import name_as_released
from tests.unit.export.tiny_models import CONVERSATIONS, TEXTS, build_model

pytestmark = pytest.mark.heavy


def seen(folder: Path) -> dict[str, Any]:
    """What a tokenizer makes of texts and conversations, and its control tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [*TEXTS[:3], "<|extra|> stands  in a\ttext 日本", "ends<|im_end|>"]
    return {
        "class": type(tokenizer).__name__,
        "ids": [tokenizer(text)["input_ids"] for text in texts],
        "rendered": [tokenizer.apply_chat_template(one, tokenize=False) for one in CONVERSATIONS],
        "special": tokenizer.all_special_tokens,
        "padding": (tokenizer.pad_token, tokenizer.padding_side, tokenizer.model_max_length),
        "decoded": tokenizer.decode(tokenizer(texts[3])["input_ids"], skip_special_tokens=True),
    }


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_tokenizer_stays_the_same(architecture: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = build_model(tmp_path / "model", architecture)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|extra|>"]})
    tokenizer.save_pretrained(folder)
    before = seen(folder)
    name_as_released(folder)
    assert seen(folder) == before and "<|extra|>" in before["special"] and "<|extra|>" not in before["decoded"]
    named = json.loads((folder / "tokenizer_config.json").read_text())
    assert named["additional_special_tokens"] == ["<|extra|>"] and "extra_special_tokens" not in named
    assert named["tokenizer_class"] == ("Qwen2Tokenizer" if architecture == "qwen2" else "PreTrainedTokenizerFast")
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(folder / name, alone / name)
    assert seen(alone) == before, "as beside an adapter, without a model's configuration"


def test_known_names_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    name_as_released(tmp_path)
    assert path.read_text() == '{"tokenizer_class": "Qwen2Tokenizer"}'
