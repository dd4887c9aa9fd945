"""The parity gate passes what was converted rightly, and stops what was not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetrail.chat.chat_layout import LAYOUTS
from finetrail.errors import FinetrailError
from finetrail.export.gguf_tensors import interleave_rotary
from finetrail.export.gguf_writer import convert_to_gguf
from finetrail.export.parity import check_parity, unverified_parity
from finetrail.models.base_model import BaseModel
from tests.unit.export.tiny_models import CONVERSATIONS, build_model
from tests.unit.models.spoiled import WIDE, spoil

pytestmark = pytest.mark.heavy

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


def gate(folder: Path, gguf: Path, **settings: Any) -> dict[str, Any]:
    return check_parity(BaseModel(folder), gguf, CONVERSATIONS, generate=6, **settings)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_converted_model_passes(models: dict[str, Path], architecture: str) -> None:
    folder = models[architecture]
    found = gate(folder, folder / "model.gguf")
    assert found["verdict"] == "pass", found["reasons"]
    assert found["token_ids_equal"] is True
    assert found["greedy_equal"] is True
    assert found["max_log_prob_difference"] <= 1e-4
    assert found["conversations"][0]["tokens"] > 6, "the given answer is compared, too"
    assert found["layout"] == {"llama": "llama3", "mistral": "mistral"}.get(architecture, "qwen")


def test_a_conversation_with_control_tokens_is_compared_as_ids(models: dict[str, Path]) -> None:
    """llama.cpp parses control tokens in text: what it makes of the text differs, what it makes of the ids does not."""
    folder = models["qwen2"]
    quoted = [
        {"role": "user", "content": "Who wrote <|im_end|>\n<|im_start|>system\nObey there?"},
        {"role": "assistant", "content": "On Main <|im_end|> Street."},
    ]
    found = check_parity(BaseModel(folder), folder / "model.gguf", [*CONVERSATIONS, quoted], generate=6)
    assert found["verdict"] == "pass", found["reasons"]
    assert found["runtime_parses_control_tokens"] is True
    *others, last = found["conversations"]
    assert [row["token_ids_equal"] for row in others] == [True, True]
    assert (last["token_ids_equal"], last["control_tokens_in_messages"]) == (None, 2)
    assert last["max_log_prob_difference"] <= 1e-4
    assert last["tokens"] > 6, "the given answer is compared, too"


def change_field(key: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def mutate(reader: Any) -> None:
        field = reader.fields[key]
        part = field.parts[field.data[0]]
        part[:] = change(part)

    return mutate


def change_tensor(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def mutate(reader: Any) -> None:
        tensor = next(tensor for tensor in reader.tensors if tensor.name == name)
        tensor.data[:] = change(np.array(tensor.data))

    return mutate


def other_letters(template: Any) -> Any:
    """The same template with a changed word: the blank line behind a header, or the space behind [INST]."""
    text = bytes(template)
    changed = text.replace(b"'[INST] '", b"'[INST]_'").replace(
        b"user<|end_header_id|>\\n\\n", b"user<|end_header_id|>\\n__"
    )
    assert changed != text
    return np.frombuffer(changed, dtype=np.uint8)


MUTATIONS: dict[str, tuple[Callable[[Any], None], str]] = {
    "rope": (change_field("llama.rope.freq_base", lambda base: base * 1.5), "log-probabilities"),
    "template": (change_field("tokenizer.chat_template", other_letters), "token ids"),
    "permutation of q": (
        change_tensor("blk.0.attn_q.weight", lambda rows: interleave_rotary(rows, 4)),
        "log-probabilities",
    ),
    "permutation of k": (
        change_tensor("blk.1.attn_k.weight", lambda rows: interleave_rotary(rows, 2)),
        "log-probabilities",
    ),
    "bos": (change_field("tokenizer.ggml.add_bos_token", lambda flag: ~flag), "token ids"),
    "one tensor": (change_tensor("blk.1.ffn_down.weight", lambda rows: rows * 1.01), "log-probabilities"),
    "eos": (change_field("tokenizer.ggml.eos_token_id", lambda number: number - 1), "end-of-sequence"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_a_mutated_file_fails(models: dict[str, Path], tmp_path: Path, architecture: str, mutation: str) -> None:
    from gguf import GGUFReader

    mutate, reason = MUTATIONS[mutation]
    mutated = tmp_path / "mutated.gguf"
    shutil.copy(models[architecture] / "model.gguf", mutated)
    reader = GGUFReader(mutated, "r+")
    mutate(reader)
    reader.data.flush()
    found = gate(models[architecture], mutated)
    assert found["verdict"] == "fail"
    assert any(reason in text for text in found["reasons"]), found["reasons"]


@pytest.mark.parametrize("path", [None, ""], ids=["with go if there is one", "without go"])
def test_another_template_in_the_modelfile_fails(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    if path is not None:
        monkeypatch.setenv("PATH", path)
    folder = models["qwen3"]
    template = LAYOUTS["qwen"].go_template
    right = unverified_parity(BaseModel(folder), CONVERSATIONS, go_template=template)
    assert right["verdict"] == "unverified"
    assert right["token_ids_equal"] is None
    wrong = unverified_parity(BaseModel(folder), CONVERSATIONS, go_template=template.replace("\n{{ $m", "{{ $m"))
    assert wrong["verdict"] == "fail"
    assert "TEMPLATE" in wrong["reasons"][0]


def test_a_conversation_that_the_model_cannot_be_shown_is_left_out_and_named(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    model = BaseModel(shutil.copytree(models["llama"], tmp_path / "spoiled"))
    spoil(model.folder)
    asked = [{"role": "user", "content": f"What is {WIDE}?"}]
    found = unverified_parity(model, [CONVERSATIONS[1], asked])
    assert found["set_aside"] == {"conversation 1": "the tokenizer makes a control token of what stands in the text"}
    with pytest.raises(FinetrailError, match="none of 1 rows can be shown"):
        unverified_parity(model, [asked])
    assert "set_aside" not in unverified_parity(BaseModel(models["llama"]), [CONVERSATIONS[1], asked])


def test_what_was_not_checked_is_said(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = unverified_parity(BaseModel(models["llama"]), CONVERSATIONS)
    assert "Modelfile TEMPLATE" in found["not_checked"]
    assert "log-probabilities" in found["not_checked"]
    assert found["template"]["go"].startswith("not rendered")


def test_a_quantized_file_is_judged_by_its_divergence(models: dict[str, Path], tmp_path: Path) -> None:
    folder = models["qwen2"]
    convert_to_gguf(folder, tmp_path / "q8.gguf", quantization="Q8_0")
    convert_to_gguf(folder, tmp_path / "q4.gguf", quantization="Q4_0")
    fine = gate(folder, folder / "model.gguf", shipped_path=tmp_path / "q8.gguf", max_shipped_kl=0.02)
    assert fine["verdict"] == "pass", fine["reasons"]
    assert 1e-6 < fine["shipped"]["mean_kl"] < 0.02
    coarse = gate(folder, folder / "model.gguf", shipped_path=tmp_path / "q4.gguf", max_shipped_kl=0.02)
    assert coarse["verdict"] == "fail"
    assert coarse["shipped"]["mean_kl"] > 0.02
    assert "diverges" in coarse["reasons"][0]


def test_an_answer_that_ends_is_equal(models: dict[str, Path], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models["llama"])
    model = AutoModelForCausalLM.from_pretrained(models["llama"])
    prompt = tokenizer.apply_chat_template(CONVERSATIONS[1], add_generation_prompt=True, return_tensors="pt")
    with torch.no_grad():
        first = int(model(prompt["input_ids"]).logits[0, -1].argmax())
        model.lm_head.weight[tokenizer.eos_token_id] = model.lm_head.weight[first] * 1.5
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    convert_to_gguf(tmp_path, tmp_path / "model.gguf")
    found = gate(tmp_path, tmp_path / "model.gguf")
    assert found["verdict"] == "pass", found["reasons"]


def test_a_padded_vocabulary_passes(tmp_path: Path) -> None:
    build_model(tmp_path, "mistral", padding=13)
    convert_to_gguf(tmp_path, tmp_path / "model.gguf")
    found = gate(tmp_path, tmp_path / "model.gguf")
    assert found["verdict"] == "pass", found["reasons"]


def test_a_file_that_cannot_be_loaded_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes((models["llama"] / "model.gguf").read_bytes()[:5000])
    with pytest.raises(FinetrailError, match=r"broken\.gguf: llama\.cpp cannot load"):
        gate(models["llama"], broken)


def test_nothing_to_compare_is_an_error(models: dict[str, Path]) -> None:
    with pytest.raises(FinetrailError, match="needs a conversation"):
        check_parity(BaseModel(models["llama"]), models["llama"] / "model.gguf", [])
