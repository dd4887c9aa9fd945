"""Tied models with two new tokens: what was trained is what stands in the merged folder and in its GGUF file."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetrail.export.gguf_answers import ask_file
from finetrail.export.gguf_writer import convert_to_gguf
from finetrail.inference.generate import load_model
from finetrail.models.base import load_base
from finetrail.models.base_model import BaseModel
from finetrail.models.base_tokenizer import prepare_tokenizer
from finetrail.models.limits import Limits
from finetrail.models.masks import Example, encode_row
from finetrail.training.checkpoints.publish import least_peft
from finetrail.training.merge_candidates import Target, merge_candidate, trained_targets
from finetrail.training.merge_weights import merge_adapter
from finetrail.training.settings.train_settings import Saving, TrainSettings
from finetrail.training.sft import TrainReport, train_adapter
from tests.unit.training.conftest import cpu_only, make_row

pytestmark = [pytest.mark.heavy, cpu_only]

NEW = ["<|im_start|>", "<|im_end|>"]
BOUND = 1e-3
TOKENS = 12
# The keys of LoraConfig in version 0.4.0.
FIRST_PEFT = {
    "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha",
    "lora_dropout", "modules_to_save", "peft_type", "r", "target_modules", "task_type", "auto_mapping", "revision",
    "layers_pattern", "layers_to_transform",
}  # fmt: skip
ONE, BOTH = ("embed_tokens",), ("embed_tokens", "lm_head")


@dataclass(frozen=True)
class Trained:
    """A training, and what the model says in memory to three rows."""

    base: Path
    folder: Path
    settings: TrainSettings
    report: TrainReport
    examples: list[Example]

    def targets(self, model: Any) -> list[Target]:
        """Ask a loaded model."""
        import torch

        found = []
        for example in self.examples:
            ids, start = example.input_ids, len(example.input_ids) - TOKENS
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, start - 1 : -1]
            found.append(Target(example.row_id, ids, start, torch.log_softmax(logits.float(), -1).numpy()))
        return found


@pytest.fixture(scope="module")
def base(wide_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(wide_base, tmp_path_factory.mktemp("tied") / "base")
    facts = prepare_tokenizer(folder, template="chatml", pad_token=None, new_tokens=NEW)
    assert facts["new_tokens"] == NEW and json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    return folder


def trained(
    base: Path, work: Path, method: Any, modules_to_save: tuple[str, ...] = (), steps: int = 6, **more: Any
) -> Trained:
    from transformers import AutoTokenizer

    limits = Limits(max_length=256)
    settings = TrainSettings(
        method=method, rank=4, alpha=8, dropout=0.0, max_steps=steps, batch_size=2, gradient_accumulation=1,
        limits=limits, learning_rate=1e-2, weights="fp32", modules_to_save=modules_to_save, **more,
    )  # fmt: skip
    rows = [make_row(session, 0, 1) for session in range(4)]
    tokenizer = AutoTokenizer.from_pretrained(base)
    report = train_adapter(BaseModel(base), rows, rows[:3], settings, state_dir=work / "state", out_dir=work / "out")
    examples = [encode_row(row, tokenizer, limits) for row in rows[:3]]
    return Trained(base, work / "out" / report.folder, settings, report, examples)


def difference(wanted: Sequence[Target], found: Sequence[Target] | Iterator[Any]) -> float:
    """The largest difference of a log-probability over the vocabulary, in nats."""
    told = [one.log_probs if isinstance(one, Target) else one for one in found]
    return max(float(np.abs(one.log_probs - other).max()) for one, other in zip(wanted, told, strict=True))


def converted(merged: Path) -> tuple[Path, bool]:
    """Convert to GGUF in F32, and say whether the file has a head of its own."""
    from gguf import GGUFReader

    file = merged.with_suffix(".gguf")
    convert_to_gguf(merged, file)
    return file, "output.weight" in {tensor.name for tensor in GGUFReader(file).tensors}


def tied(folder: Path) -> bool:
    """What the configuration says; the class of the tokenizer beside it is one that released tools load."""
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    return bool(json.loads((folder / "config.json").read_text())["tie_word_embeddings"])


@pytest.mark.parametrize(("modules_to_save", "parted"), [(ONE, False), (BOTH, True)])
def test_an_adapter_merged_says_the_same_from_memory_to_llama_cpp(
    modules_to_save: tuple[str, ...], parted: bool, base: Path, tmp_path: Path
) -> None:
    made = trained(base, tmp_path, "lora", modules_to_save)
    wanted = made.targets(load_model(base, made.folder))
    merged = merge_adapter(base, made.folder, tmp_path / "merged")
    assert difference(wanted, made.targets(load_model(merged))) <= BOUND
    file, head = converted(merged)
    assert (tied(merged), head) == (not parted, parted)
    assert difference(wanted, ask_file(file, wanted, threads=1)) <= BOUND


def test_matrices_on_the_embeddings_of_a_tied_model_part_it(wide_base: Path, tmp_path: Path) -> None:
    made = trained(wide_base, tmp_path, "lora", target_modules=("q_proj", "embed_tokens"))
    wanted = made.targets(load_model(wide_base, made.folder))
    assert difference(wanted, made.targets(load_model(wide_base))) > 100 * BOUND, "it learned"
    merged = merge_adapter(wide_base, made.folder, tmp_path / "merged")
    assert difference(wanted, made.targets(load_model(merged))) <= BOUND
    file, head = converted(merged)
    assert (tied(merged), head) == (False, True)
    assert difference(wanted, ask_file(file, wanted, threads=1)) <= BOUND


def test_new_tokens_of_a_tied_model_are_learned_on_both_sides(base: Path, tmp_path: Path) -> None:
    """With the head left behind, both tokens would keep the mean of all embeddings there, and one score for ever."""
    import torch
    from transformers import AutoTokenizer

    before, again = (load_base(base, "float32").get_input_embeddings().weight for _ in range(2))
    assert torch.equal(before, again)
    made = trained(base, tmp_path, "lora", ONE)
    model = load_model(base, made.folder)
    words, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert torch.equal(words, head)
    start, end = AutoTokenizer.from_pretrained(made.folder).convert_tokens_to_ids(NEW)
    assert torch.equal(before[start], before[end]) and not torch.equal(head[start], head[end])


def test_a_merge_that_drops_the_head_is_seen(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made = trained(base, tmp_path, "lora", BOTH)
    wanted = made.targets(load_model(base, made.folder))
    merged = merge_adapter(base, made.folder, tmp_path / "merged")
    weights = load_file(merged / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, merged / "model.safetensors", {"format": "pt"})
    config = json.loads((merged / "config.json").read_text())
    (merged / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    assert difference(wanted, made.targets(load_model(merged))) > 100 * BOUND
    file, _ = converted(merged)
    assert difference(wanted, ask_file(file, wanted, threads=1)) > 100 * BOUND


@pytest.mark.parametrize(("modules_to_save", "parted"), [(ONE, False), (BOTH, True)])
def test_an_adapter_of_four_bits_merged_says_the_same(
    modules_to_save: tuple[str, ...], parted: bool, base: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel

    from finetrail.training.settings.hardware import detect
    from finetrail.training.settings.machine_choices import choose
    from finetrail.training.trainer.load_model import build_model

    made = trained(base, tmp_path, "qlora", modules_to_save)
    dequantized: Any = build_model(base, made.settings, choose(made.settings, detect())).dequantize()
    wanted = made.targets(PeftModel.from_pretrained(dequantized.to(dtype=torch.float32), made.folder).eval())
    merged = merge_candidate("dequantized", base, made.folder, made.settings, tmp_path / "merged")
    assert difference(wanted, made.targets(load_model(merged))) <= BOUND
    file, head = converted(merged)
    assert (tied(merged), head) == (not parted, parted)
    assert difference(wanted, ask_file(file, wanted, threads=1)) <= BOUND
    four_bits = trained_targets(base, made.folder, made.settings, made.examples, TOKENS)
    found = difference(four_bits, ask_file(file, four_bits, threads=1))
    print(f"against the base of four bits: {found:.1e}")
    assert found <= 0.01


def test_a_whole_model_says_the_same(base: Path, tmp_path: Path) -> None:
    made = trained(base, tmp_path, "full")
    model = load_model(made.folder)
    wanted = made.targets(model)
    assert made.report.eval_loss == pytest.approx(loss(model, made.examples), abs=BOUND), "as it was in memory"
    file, head = converted(made.folder)
    assert (tied(made.folder), head) == (True, False)
    assert difference(wanted, ask_file(file, wanted, threads=1)) <= BOUND


def loss(model: Any, examples: Sequence[Example]) -> float:
    """The dev loss, in nats a token over all rows."""
    import torch

    nats = 0.0
    for example in examples:
        batch = {"input_ids": torch.tensor([example.input_ids]), "labels": torch.tensor([example.labels])}
        with torch.inference_mode():
            nats += float(model(**batch, use_cache=False).loss) * example.target_tokens
    return nats / sum(example.target_tokens for example in examples)


@pytest.mark.parametrize("modules_to_save", [ONE, BOTH])
def test_a_resumed_training_of_tied_modules_gives_the_straight_runs_weights(
    modules_to_save: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    from finetrail.training.checkpoints.failures import Stopped

    straight = trained(base, tmp_path / "straight", "lora", modules_to_save, steps=3)
    rows = [make_row(session, 0, 1) for session in range(4)]
    hurried = Saving(save_steps=1, max_hours=1.0, save_before_minutes=60.0)
    work: dict[str, Any] = {"state_dir": tmp_path / "s", "out_dir": tmp_path / "o"}
    for _ in range(2):
        with pytest.raises(Stopped):
            train_adapter(BaseModel(base), rows, rows[:3], straight.settings, saving=hurried, **work)
    train_adapter(BaseModel(base), rows, rows[:3], straight.settings, **work)
    for path in sorted(straight.folder.iterdir()):
        assert path.read_bytes() == (tmp_path / "o/final_adapter" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(("modules_to_save", "version"), [((), "0.4.0"), (ONE, "0.14.0"), (BOTH, "0.4.0")])
def test_the_published_configuration_says_the_same_in_keys_that_old_versions_know(
    modules_to_save: tuple[str, ...], version: str, wide_base: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig

    made = trained(wide_base, tmp_path, "lora", modules_to_save, steps=1)
    checkpoint = tmp_path / "state/checkpoint-1"
    kept, written = (LoraConfig.from_pretrained(str(folder)).to_dict() for folder in (made.folder, checkpoint))
    assert kept == written
    names = set(json.loads((made.folder / "adapter_config.json").read_text()))
    assert names - FIRST_PEFT == ({"ensure_weight_tying"} if modules_to_save == ONE else set())
    assert least_peft(made.folder) == version
