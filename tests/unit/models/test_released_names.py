"""What is saved under the names of released tools is the same tokenizer and the same model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetrail.models.released_names import name_as_released
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


ROPES: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default", "rope_theta": 500000.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "linear": {"rope_type": "linear", "rope_theta": 20000.0, "factor": 2.0},
}


@pytest.mark.parametrize("kind", ROPES)
def test_positions_stand_in_the_older_form_too_and_read_the_same(kind: str, tmp_path: Path) -> None:
    """Transformers 4 reads ``rope_theta`` and ``rope_scaling`` at the top, and else takes its default."""
    from transformers import AutoConfig, LlamaConfig

    LlamaConfig(rope_parameters=dict(ROPES[kind]), max_position_embeddings=512).save_pretrained(tmp_path)
    before = AutoConfig.from_pretrained(tmp_path).to_dict()
    assert before["rope_parameters"] == ROPES[kind]
    name_as_released(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    scaling = {key: value for key, value in ROPES[kind].items() if key != "rope_theta"}
    assert written["rope_theta"] == ROPES[kind]["rope_theta"] and written["rope_parameters"] == ROPES[kind]
    assert written.get("rope_scaling") == (None if kind == "default" else scaling)
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == before
    content = (tmp_path / "config.json").read_bytes()
    name_as_released(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == content, "what holds both already keeps its bytes"


def test_positions_of_a_language_model_within_another_stand_there(tmp_path: Path) -> None:
    from transformers import AutoConfig, MllamaConfig
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig

    MllamaConfig(text_config=MllamaTextConfig(rope_parameters=dict(ROPES["llama3"]))).save_pretrained(tmp_path)
    before = AutoConfig.from_pretrained(tmp_path).to_dict()
    name_as_released(tmp_path)
    text = json.loads((tmp_path / "config.json").read_text())["text_config"]
    assert text["rope_theta"] == 500000.0 and text["rope_scaling"]["rope_type"] == "llama3"
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == before


def test_positions_that_differ_by_kinds_of_layers_stay_as_they_are(tmp_path: Path) -> None:
    kinds = {"full_attention": ROPES["default"], "sliding_attention": ROPES["default"]}
    (tmp_path / "config.json").write_text(json.dumps({"rope_parameters": kinds}))
    name_as_released(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {"rope_parameters": kinds}
