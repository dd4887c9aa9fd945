"""What a GPU makes of our trainer: tokens a second, MFU and peak memory, beside plain TRL with its defaults.

LoRA, QLoRA and full fine-tuning of a random model of about a billion weights, each with and without packing and Liger's
kernels, and once by plain TRL. Every run is a process of its own; one that fails leaves its cause in the results.

- ``tokens_per_second``: of real tokens, padding not counted; the median of the steps behind the warm-up.
- ``mfu``: model FLOPs ÷ what the GPU could do (dense, 16 bits): a token costs 2 FLOPs a weight forward, as many for the
  gradients of activations and, where weights are trained, as many for theirs, and 12 · layers · width · length of its
  row for attention (Chowdhery et al. 2022, arXiv:2204.02311, appendix B). The head counts only for tokens that carry
  loss: TRL's loss computes no other logits on a GPU. Null for a GPU that the table does not know.
- ``peak_memory_mb``: the most that torch held on the GPU; of the process on a CPU.

And whether a training that was stopped goes on as it would have: two straight runs and one that stops after its first
step and is resumed, with and without ``deterministic: true``.

- ``same_batches``: whether the resumed run saw the same rows at the same steps.
- ``spread``, ``gap``: the largest difference of a step's loss between the straight runs, and of the resumed one from
  the first of them. ``holds``: the gap is at most twice the spread; with ``deterministic`` both are 0.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "gpu.json"
METHODS = ("lora", "qlora", "full")
WARM_UP = 5
SEED = 7
# Dense TFLOP/s with 16 bits, from the makers' data sheets; the first name that the GPU's holds counts.
PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "H100 PCIe": 756, "H100": 989, "GH200": 989, "A100": 312, "L40S": 362, "L40": 181,
    "L4": 121, "A10": 125, "A30": 165, "A40": 150, "A6000": 155, "4090": 165, "3090": 71, "V100": 125, "T4": 65,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """The random model and its rows."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    length: int
    rows: int
    batch: int


BILLION = Size(2048, 8192, 16, 32, 8, 128_256, 2048, 256, 4)
TINY = Size(64, 128, 2, 2, 2, 1024, 256, 32, 2)


@dataclass(frozen=True)
class Variant:
    """One run: ``plain`` is TRL with its defaults, ``resume`` compares a stopped training with straight ones."""

    method: str
    packing: bool = False
    liger: bool = False
    plain: bool = False
    resume: bool = False
    deterministic: bool = False

    @property
    def name(self) -> str:
        """Name it as the results do."""
        if self.plain:
            return f"{self.method}.plain_trl"
        kernels = ".packing" * self.packing + ".liger" * self.liger
        return self.method + kernels + ".resume" * self.resume + ".deterministic" * self.deterministic


def variants() -> list[Variant]:
    """List all runs."""
    ours = [
        Variant(method, packing, liger) for method, packing, liger in product(METHODS, (False, True), (False, True))
    ]
    resumed = [Variant("lora", resume=True), Variant("lora", resume=True, deterministic=True)]
    return [*ours, *(Variant(method, plain=True) for method in METHODS), *resumed]


def make_rows(size: Size) -> list[dict[str, Any]]:
    """Return made-up chat rows, the longest about 1.2 times shorter than a sequence."""
    rows = []
    for number in range(size.rows):
        lines = 1 + (number * 37) % max(2, size.length // 16)
        facts = " ".join(f"Line {place} leaves stop {number} at {place % 24}." for place in range(lines))
        messages = [
            {"role": "user", "content": f"{facts} When does line 3 leave?"},
            {"role": "assistant", "content": f"At {number % 24}. " * (1 + number % 5)},
        ]
        rows.append({"id": f"row{number}", "messages": messages})
    return rows


def make_base(folder: Path, size: Size) -> None:
    """Write a random Llama with a small tokenizer, whose ids are the first of its vocabulary."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    from finetrail.tiny.tiny_base import build_tiny_base
    from finetrail.tiny.tiny_settings import TinyBaseSettings

    texts = [message["content"] for row in make_rows(TINY) for message in row["messages"]]
    small = TinyBaseSettings(
        vocabulary_size=512, hidden_size=64, intermediate_size=64, heads=2, key_value_heads=2, steps=1
    )
    build_tiny_base("llama", texts, settings=small, system="", seed=SEED, out_dir=folder)
    config = AutoConfig.from_pretrained(
        folder,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        head_dim=size.hidden // size.heads,
        vocab_size=size.vocabulary,
        max_position_embeddings=size.length,
        tie_word_embeddings=True,
        initializer_range=0.02,  # a tiny model's, which the folder names, is for narrow ones
    )
    torch.manual_seed(SEED)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def run_ours(
    base: Path, work: Path, size: Size, variant: Variant, steps: int, *, stop: bool = False
) -> list[dict[str, Any]]:
    """Train with our trainer, stopped after the first step and resumed if asked for; return the log's rows."""
    from finetrail.models.base_model import BaseModel
    from finetrail.models.limits import Limits
    from finetrail.training.checkpoints.failures import Stopped
    from finetrail.training.settings.train_settings import Saving, TrainSettings
    from finetrail.training.sft import train_adapter

    settings = TrainSettings(
        method=variant.method,  # type: ignore[arg-type]
        rank=16,
        alpha=32,
        dropout=0.05 if variant.resume else 0.0,
        learning_rate=1e-4,
        max_steps=steps,
        batch_size=size.batch,
        gradient_accumulation=1,
        fit_to_memory=False,
        weights="bf16" if variant.method == "full" else "fp32",
        packing=variant.packing,
        liger="on" if variant.liger else "off",
        deterministic=variant.deterministic,
        seed=SEED,
        limits=Limits(max_length=size.length),
    )
    saving = Saving(save_steps=10 * steps)
    rows, state, out = make_rows(size), work / "s", work / "o"
    if stop:
        with contextlib.suppress(Stopped):
            hurried = replace(saving, max_hours=1.0, save_before_minutes=60.0)
            train_adapter(BaseModel(base), rows, [], settings, state_dir=state, out_dir=out, saving=hurried)
    train_adapter(BaseModel(base), rows, [], settings, state_dir=state, out_dir=out, saving=saving)
    return [json.loads(line) for line in (out / "training_log.jsonl").read_text(encoding="utf-8").splitlines()]


def run_resume(base: Path, work: Path, size: Size, variant: Variant, steps: int) -> dict[str, Any]:
    """Compare a training that was stopped and resumed with straight ones."""
    first, second, resumed = (
        run_ours(base, work / name, size, variant, steps, stop=name == "resumed")
        for name in ("first", "second", "resumed")
    )

    def apart(other: Sequence[dict[str, Any]]) -> float:
        return max(abs(float(one["loss"]) - float(two["loss"])) for one, two in zip(first, other, strict=True))

    spread, gap = apart(second), apart(resumed)
    return {
        "same_batches": [row["rows"] for row in first] == [row["rows"] for row in resumed],
        "spread": spread,
        "gap": gap,
        "holds": spread == gap == 0 if variant.deterministic else gap <= 2 * spread,
    }


def run_plain(base: Path, work: Path, size: Size, variant: Variant, steps: int, use_cpu: bool) -> list[dict[str, Any]]:
    """Train with TRL and what it sets by itself; return rows as ours logs them."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from finetrail.training.trainer.training_log import peak_memory

    found: list[dict[str, Any]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes each step's tokens, seconds and memory."""

        tokens, since = 0.0, time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            if "loss" not in logs:
                return
            moment, tokens = time.monotonic(), logs["num_tokens"]
            speed = (tokens - self.tokens) / (moment - self.since)
            found.append({"loss": logs["loss"], "tokens_per_second": speed, "peak_memory_mb": peak_memory() >> 20})
            self.tokens, self.since = tokens, moment

    loading: dict[str, Any] = {"dtype": torch.float32 if use_cpu else torch.bfloat16}
    if variant.method == "qlora":
        loading["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=loading["dtype"],
        )
    arguments = SFTConfig(
        output_dir=str(work),
        use_cpu=use_cpu,
        bf16=not use_cpu,
        max_length=size.length,
        max_steps=steps,
        per_device_train_batch_size=size.batch,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        report_to=[],
        seed=SEED,
    )
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    rows = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in make_rows(size)]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, **loading),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=None if variant.method == "full" else lora,
        callbacks=[Clock()],
    )
    trainer.train()
    return found


def flops_of_token(base: Path, size: Size, method: str) -> float:
    """Return what a token costs forward and backward, on average; see the module's description."""

    from finetrail.models.base_model import BaseModel
    from finetrail.models.limits import Limits
    from finetrail.models.masks import encode_rows
    from finetrail.training.settings.train_settings import TrainSettings

    limits, loss = Limits(max_length=size.length), TrainSettings().loss
    rows = encode_rows(make_rows(size), BaseModel(base).tokenizer, limits, loss=loss).examples
    lengths = [len(row.input_ids) for row in rows]
    tokens = sum(lengths)
    scored = sum(row.target_tokens for row in rows) / tokens
    length = sum(length * length for length in lengths) / tokens
    head = size.hidden // size.heads
    attention = size.hidden * head * (2 * size.heads + 2 * size.key_value_heads)
    weights = size.layers * (attention + 3 * size.hidden * size.intermediate) + scored * size.hidden * size.vocabulary
    return (6 if method == "full" else 4) * weights + 12 * size.layers * size.hidden * length


def figures(log: Sequence[dict[str, Any]], flops: float, peak_tflops: float | None) -> dict[str, Any]:
    """Sum up a run's log.

    Args:
        log: a row a step.
        flops: of a token.
        peak_tflops: of the GPU, where known.
    """
    speed = statistics.median(row["tokens_per_second"] for row in log[min(WARM_UP, len(log) // 2) :])
    mfu = None if peak_tflops is None else round(speed * flops / (peak_tflops * 1e12), 4)
    return {
        "tokens_per_second": round(speed, 1),
        "mfu": mfu,
        "peak_memory_mb": max(row["peak_memory_mb"] for row in log),
        "last_loss": log[-1]["loss"],
    }


def run_one(variant: Variant, base: Path, size: Size, steps: int, peak_tflops: float | None) -> dict[str, Any]:
    """Train once in this process; a setting that this machine lacks is a finding."""
    import torch

    from finetrail.errors import FinetrailError

    use_cpu = not torch.cuda.is_available()
    with tempfile.TemporaryDirectory(prefix="finetrail-gpu-") as work:
        try:
            if variant.resume:
                return run_resume(base, Path(work), size, variant, steps)
            if variant.plain:
                log = run_plain(base, Path(work), size, variant, steps, use_cpu)
            else:
                log = run_ours(base, Path(work), size, variant, steps)
        except (FinetrailError, torch.cuda.OutOfMemoryError) as error:
            return {"not_run": str(error)}
    return figures(log, flops_of_token(base, size, variant.method), peak_tflops)


def start(variant: Variant, base: Path, options: argparse.Namespace, peak_tflops: float | None) -> dict[str, Any]:
    """Train once in a process of its own."""
    given = {"--base": base, "--steps": options.steps, "--device": options.device, "--peak-tflops": peak_tflops}
    command = [sys.executable, __file__, "--one", json.dumps(vars(variant)), *(["--tiny"] if options.tiny else [])]
    command += [str(part) for pair in given.items() if pair[1] is not None for part in pair]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | hidden)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-3:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def device_of(options: argparse.Namespace) -> dict[str, Any]:
    """Describe the device, and stop where there is none to be measured."""
    import torch

    if options.device == "cpu":
        return {"name": "cpu", "peak_tflops": options.peak_tflops}
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU: run this where there is one, or try it with --device cpu --tiny")
    properties = torch.cuda.get_device_properties(0)
    known = (peak for name, peak in PEAK_TFLOPS.items() if name in properties.name)
    peak = options.peak_tflops or next(known, None)
    return {"name": properties.name, "memory_mb": properties.total_memory >> 20, "peak_tflops": peak}


def versions() -> dict[str, str]:
    """Name what was measured, where it is there."""
    found = {}
    for name in ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "liger-kernel", "flash-attn"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the results; fail where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: whether all runs, not how fast")
    parser.add_argument("--steps", type=int, default=25, help=f"of a run, {WARM_UP} of which are not timed")
    parser.add_argument("--only", nargs="+", default=None, help="names of runs, such as lora.packing")
    parser.add_argument("--peak-tflops", type=float, default=None, help="of a GPU that the table does not know")
    parser.add_argument("--one", default=None, help="train once, as JSON says, and print the figures")
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    size = TINY if options.tiny else BILLION
    if options.one:
        variant = Variant(**json.loads(options.one))
        print(json.dumps(run_one(variant, options.base, size, options.steps, options.peak_tflops)))
        return 0
    device, runs = device_of(options), dict[str, Any]()
    results = {"device": device, "versions": versions(), "model": vars(size), "steps": options.steps, "runs": runs}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="finetrail-gpu-") as name:
        base = Path(name) / "base"
        make_base(base, size)
        for variant in variants():
            if options.only is None or variant.name in options.only:
                since = time.monotonic()
                runs[variant.name] = start(variant, base, options, device["peak_tflops"])
                print(f"{variant.name}: {runs[variant.name]} ({time.monotonic() - since:.0f} s)", file=sys.stderr)
            # After every run, so that a job that is cut off has measured something.
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))
    return 1 if any("failed" in run or not run.get("holds", True) for run in runs.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
