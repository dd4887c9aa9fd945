"""What is written as GGUF: shards, types, determinism, other tokenizers; and what is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.export.gguf_writer import convert_to_gguf
from finetrail.export.llama_runtime import LlamaRuntime
from finetrail.rows.records import sha256_file
from tests.unit.export.tiny_models import CONTEXT, TEXTS, build_model

pytestmark = pytest.mark.heavy

PROMPTS = [
    "Who may apply, in 2024? It's 12345.",
    "naïve  café —\n\n\n x\t日本",
    "<s>[INST] A  b[/INST] c</s>[INST] d[/INST]",
]


def test_shards_are_read_in_the_models_order(models: dict[str, Path]) -> None:
    from gguf import GGUFReader

    assert len(list(models["llama"].glob("model-*.safetensors"))) > 1
    names = [tensor.name for tensor in GGUFReader(models["llama"] / "model.gguf").tensors]
    assert names[0] == "rope_freqs.weight"
    assert {"token_embd.weight", "output.weight", "output_norm.weight"} < set(names)
    tied = [tensor.name for tensor in GGUFReader(models["qwen2"] / "model.gguf").tensors]
    assert "output.weight" not in tied
    assert "blk.1.attn_q.bias" in tied


def test_the_same_folder_gives_the_same_bytes(models: dict[str, Path], tmp_path: Path) -> None:
    found = convert_to_gguf(models["llama"], tmp_path / "again.gguf")
    assert sha256_file(tmp_path / "again.gguf") == sha256_file(models["llama"] / "model.gguf")
    assert found["architecture"] == "llama"
    assert found["tokenizer"] == "gpt2/llama-bpe"
    assert found["bytes"] == (tmp_path / "again.gguf").stat().st_size


def test_llama3_frequencies_are_those_of_transformers(models: dict[str, Path]) -> None:
    import torch
    from gguf import GGUFReader
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = AutoConfig.from_pretrained(models["llama"])
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    factors = torch.tensor(GGUFReader(models["llama"] / "model.gguf").tensors[0].data)
    torch.testing.assert_close(plain / factors, scaled)
    assert factors[0] == 1.0
    assert factors[-1] == 8.0
    assert ((factors > 1.0) & (factors < 8.0)).any()


@pytest.mark.parametrize("quantization", ["F16", "BF16", "Q8_0", "Q5_1", "Q4_0"])
def test_quantizations_load_and_keep_norms_in_full(models: dict[str, Path], tmp_path: Path, quantization: str) -> None:
    from gguf import GGUFReader

    out = tmp_path / "model.gguf"
    convert_to_gguf(models["qwen3"], out, quantization=quantization)
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(out).tensors}
    assert types["blk.0.attn_norm.weight"] == types["blk.0.attn_q_norm.weight"] == "F32"
    assert types["blk.0.attn_q.weight"] == quantization
    assert types["token_embd.weight"] == ("Q8_0" if quantization in ("Q5_1", "Q4_0") else quantization)
    with LlamaRuntime(out, context=256, threads=1) as runtime:
        assert len(runtime.greedy(runtime.tokenize("Who"), 3).tokens) == 3


def test_rows_that_blocks_do_not_divide_are_f16(tmp_path: Path) -> None:
    build_model(tmp_path, "qwen3", intermediate_size=88)
    found = convert_to_gguf(tmp_path, tmp_path / "model.gguf", quantization="Q8_0")
    assert found["types"]["F16"] == 2


def swap_tokenizer(folder: Path, tokenizer: Any, **special: str) -> None:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def gpt2_tokenizer() -> Any:
    """Byte-level BPE that cuts words by its built-in expression, as GPT-2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def test_a_tokenizer_without_published_split_is_gpt2s(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    build_model(tmp_path, "qwen3")
    swap_tokenizer(tmp_path, gpt2_tokenizer(), eos_token="<|endoftext|>")
    assert convert_to_gguf(tmp_path, tmp_path / "model.gguf")["tokenizer"] == "gpt2/gpt-2"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with LlamaRuntime(tmp_path / "model.gguf", context=256, threads=1) as runtime:
        for prompt in PROMPTS:
            assert runtime.tokenize(prompt) == tokenizer(prompt)["input_ids"]


def edit_json(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / name).read_text("utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def as_llama2(stored: dict[str, Any]) -> None:
    """A space before every text, by normalizers: Llama 2's and Mistral v0.2's older way."""
    steps = [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]
    stored["pre_tokenizer"] = None
    stored["normalizer"] = {"type": "Sequence", "normalizers": steps}


@pytest.mark.parametrize("change", [as_llama2, lambda stored: None], ids=["always", "first"])
def test_sentencepiece_styles_tokenize_as_before(
    models: dict[str, Path], tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path / "model"
    shutil.copytree(models["mistral"], folder)
    edit_json(folder, "tokenizer.json", change)
    convert_to_gguf(folder, folder / "model.gguf")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    with LlamaRuntime(folder / "model.gguf", context=256, threads=1) as runtime:
        for prompt in PROMPTS:
            text = prompt if prompt.startswith("<s>") else f"<s>[INST] {prompt}[/INST]"
            wanted = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert runtime.tokenize(text.removeprefix("<s>")) == wanted


def interleave(merges: list[list[str]]) -> None:
    """Move the last way to make some piece behind all other merges."""
    pieces = ["".join(merge) for merge in merges]
    merges.append(merges.pop(next(place for place, piece in enumerate(pieces) if piece in pieces[:place])))


REFUSALS: dict[str, tuple[str, str, Callable[[dict[str, Any]], None], str]] = {
    "architecture": (
        "llama",
        "config.json",
        lambda config: config.update(architectures=["MllamaForConditionalGeneration"]),
        "MllamaForConditionalGeneration cannot be written",
    ),
    "sliding window": (
        "mistral",
        "config.json",
        lambda config: config.update(sliding_window=256),
        "sliding window of 256 tokens",
    ),
    "sliding window of qwen": (
        "qwen2",
        "config.json",
        lambda config: config.update(use_sliding_window=True, sliding_window=128, max_window_layers=0),
        "sliding window of 128 tokens",
    ),
    "rope": (
        "qwen3",
        "config.json",
        lambda config: config.update(
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        ),
        "rope type 'yarn'",
    ),
    "activation": (
        "llama",
        "config.json",
        lambda config: config.update(hidden_act="gelu"),
        "activation 'gelu'",
    ),
    "quantized weights": (
        "llama",
        "config.json",
        lambda config: config.update(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "weights are quantized",
    ),
    "regular expression": (
        "llama",
        "tokenizer.json",
        lambda stored: stored["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\w+"}),
        r"regular expression is not known: \\w\+",
    ),
    "pre-tokenizer": (
        "qwen3",
        "tokenizer.json",
        lambda stored: stored.update(pre_tokenizer={"type": "Whitespace"}),
        r"pre-tokenizer \['Whitespace'\]",
    ),
    "normalizer": (
        "qwen3",
        "tokenizer.json",
        lambda stored: stored.update(normalizer={"type": "Lowercase"}),
        r"normalizers \['Lowercase'\]",
    ),
    "space before every text": (
        "mistral",
        "tokenizer.json",
        lambda stored: stored["pre_tokenizer"].update(prepend_scheme="always"),
        r"Metaspace\(prepend_scheme=always\)",
    ),
    "merges": (
        "mistral",
        "tokenizer.json",
        lambda stored: stored["model"]["merges"].pop(5),
        "not every way to make",
    ),
    "order of merges": (
        "mistral",
        "tokenizer.json",
        lambda stored: interleave(stored["model"]["merges"]),
        "not listed piece by piece",
    ),
    "added token": (
        "qwen3",
        "tokenizer.json",
        lambda stored: stored["added_tokens"][0].update(rstrip=True),
        "has rstrip",
    ),
    "more tokens than embeddings": (
        "qwen3",
        "tokenizer.json",
        lambda stored: stored["added_tokens"].append(stored["added_tokens"][0] | {"id": 375, "content": "<new>"}),
        "ids up to 375, the model 375 embeddings",
    ),
    "missing shard": (
        "llama",
        "model.safetensors.index.json",
        lambda index: index["weight_map"].update({"lm_head.weight": "model-00099-of-00099.safetensors"}),
        "model-00099-of-00099.safetensors are missing",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_known_is_refused_by_name(models: dict[str, Path], tmp_path: Path, case: str) -> None:
    architecture, file, change, message = REFUSALS[case]
    folder = tmp_path / "model"
    shutil.copytree(models[architecture], folder, ignore=shutil.ignore_patterns("*.gguf"))
    edit_json(folder, file, change)
    with pytest.raises(FinetrailError, match=message):
        convert_to_gguf(folder, folder / "model.gguf")
    assert not list(folder.glob("*.gguf")), "nothing half-written stays"


@pytest.mark.parametrize(
    ("quantization", "message"),
    [("Q4_K_M", "llama-quantize"), ("IQ4_XS", "llama-quantize"), ("Q9", "not known")],
)
def test_a_quantization_that_cannot_be_written_is_refused(
    models: dict[str, Path], tmp_path: Path, quantization: str, message: str
) -> None:
    with pytest.raises(FinetrailError, match=message):
        convert_to_gguf(models["llama"], tmp_path / "model.gguf", quantization=quantization)


def rewrite_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("lm_head.weight"), "output.weight are missing"),
        (lambda weights: weights.update(odd=weights["lm_head.weight"].clone()), "tensor odd is not known"),
    ],
    ids=["untied without output", "unknown tensor"],
)
def test_weights_that_do_not_fit_are_refused(
    models: dict[str, Path], tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["mistral"], folder, ignore=shutil.ignore_patterns("*.gguf"))
    rewrite_weights(folder, change)
    with pytest.raises(FinetrailError, match=message):
        convert_to_gguf(folder, folder / "model.gguf")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match=r"no config\.json"):
        convert_to_gguf(tmp_path, tmp_path / "model.gguf")


def test_the_context_is_the_models(models: dict[str, Path]) -> None:
    from gguf import GGUFReader

    field = GGUFReader(models["qwen3"] / "model.gguf").fields["qwen3.context_length"]
    assert field.contents() == CONTEXT
