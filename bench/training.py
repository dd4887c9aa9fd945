"""Tokens a second of our trainer beside plain TRL with the same settings, on the same tiny model and rows.

Each run is a process of its own; pairs are interleaved, and who begins alternates. Timed is what lies between the end
of the first steps (warm-up) and the end of the last one, everything that happens between steps included:

- ``tokens_per_second``: tokens of those steps ÷ seconds, the median of the runs.
- ``ratio``: ours ÷ plain in each pair; the median must be at least .97. ``cpu_ratio`` is the same for the processor
  time, which a busy machine disturbs less.
- ``same_losses``: whether every pair's losses are equal, step by step, to the last bit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "training.json"
PAIRS = 5
STEPS = 60
WARM_UP = 5
ROWS = 96
BOUND = 0.97
NAMES = ("ours", "plain")
METHODS = ("lora", "full")
SEED = 7

Moment = tuple[float, float]


def now() -> Moment:
    """Return the clock and the processor time of this process, in seconds."""
    return time.perf_counter(), time.process_time()


def make_rows() -> list[dict[str, Any]]:
    """Return made-up chat rows of unequal length."""
    rows = []
    for number in range(ROWS):
        facts = " ".join(f"Line {place} of stop {number} leaves at {(number * 7 + place) % 24}." for place in range(6))
        question = f"{facts}\nWhen does line {number % 6} leave stop {number}?"
        answer = f"It leaves at {(number * 7 + number % 6) % 24}." + " Be there early." * (number % 4)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"id": f"row{number}", "messages": messages})
    return rows


def make_base(folder: Path) -> None:
    """Make the tiny base that both train."""
    from finetrail.training.settings import TinyBaseSettings
    from finetrail.training.tiny_base import build_tiny_base

    texts = [message["content"] for row in make_rows() for message in row["messages"]]
    build_tiny_base("llama", texts, settings=TinyBaseSettings(steps=2), system="", seed=SEED, out_dir=folder)


def settings_for(method: str, steps: int) -> Any:
    """Return the settings of both, as ours has them."""
    from finetrail.training.settings import Limits, TrainSettings

    return TrainSettings(
        method="full" if method == "full" else "lora",
        rank=8,
        alpha=16,
        dropout=0.05,
        learning_rate=1e-3,
        max_steps=steps,
        batch_size=4,
        gradient_accumulation=2,
        seed=SEED,
        limits=Limits(max_length=1024),
    )


def run_ours(base: Path, work: Path, method: str, steps: int) -> tuple[list[Moment], list[float]]:
    """Train with our trainer; return when each step ended, and its loss."""
    from finetrail.training.settings import Saving
    from finetrail.training.sft import train_adapter

    ends: list[Moment] = []
    train_adapter(
        base,
        make_rows(),
        [],
        settings_for(method, steps),
        state_dir=work / "state",
        out_dir=work / "out",
        saving=Saving(save_steps=10 * steps),
        progress=lambda step, of: ends.append(now()),
    )
    log = (work / "out" / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    return ends, [json.loads(line)["loss"] for line in log]


def run_plain(base: Path, work: Path, method: str, steps: int) -> tuple[list[Moment], list[float]]:
    """Train with TRL alone, as its documentation shows."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    settings = settings_for(method, steps)
    ends: list[Moment] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes when steps end."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(now())

    rows = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in make_rows()]
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
    )
    arguments = SFTConfig(
        output_dir=str(work),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=settings.limits.max_length,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_share,
        max_grad_norm=settings.max_grad_norm,
        optim=settings.optimizer,
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        seed=SEED,
        data_seed=SEED,
        dataloader_pin_memory=False,
    )
    set_seed(SEED)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype="float32", attn_implementation="sdpa"),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=lora if settings.adapter else None,
        callbacks=[Clock()],
    )
    trainer.train()
    return ends, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def run_one(name: str, base: Path, method: str, steps: int) -> dict[str, Any]:
    """Train once in this process; return the figures."""
    with tempfile.TemporaryDirectory(prefix="finetrail-bench-") as work:
        run = run_ours if name == "ours" else run_plain
        ends, losses = run(base, Path(work), method, steps)
    assert len(ends) == len(losses) == steps
    seconds, cpu_seconds = (last - first for first, last in zip(ends[WARM_UP - 1], ends[-1], strict=True))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "losses": losses}


def start(name: str, base: Path, method: str, steps: int) -> dict[str, Any]:
    """Train once in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--base", str(base), "--method", method, "--steps", str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def tokens_timed(base: Path, method: str, steps: int) -> int:
    """Count the tokens of the timed steps, on average: rows come in a drawn order, every one equally often."""
    from transformers import AutoTokenizer

    from finetrail.training.masks import encode_row

    settings = settings_for(method, steps)
    tokenizer = AutoTokenizer.from_pretrained(base)
    total: int = sum(len(encode_row(row, tokenizer, settings.limits).input_ids) for row in make_rows())
    rows: int = settings.batch_size * settings.gradient_accumulation * (steps - WARM_UP)
    return round(total / ROWS * rows)


def compare(base: Path, method: str, pairs: int, steps: int) -> dict[str, Any]:
    """Run the pairs of one method and return the results as they are written."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for pair in range(pairs):
        for name in NAMES if pair % 2 == 0 else reversed(NAMES):
            runs[name].append(start(name, base, method, steps))
        ours, plain = (runs[name][-1]["seconds"] for name in NAMES)
        print(f"{method}, pair {pair + 1}: ratio {plain / ours:.3f}", file=sys.stderr)
    pairs_run = list(zip(*(runs[name] for name in NAMES), strict=True))
    ratios, cpu_ratios = (
        [plain[clock] / ours[clock] for ours, plain in pairs_run] for clock in ("seconds", "cpu_seconds")
    )
    tokens = tokens_timed(base, method, steps)
    return {
        "tokens_per_second": {
            name: round(tokens / statistics.median(run["seconds"] for run in runs[name]), 1) for name in NAMES
        },
        "ratios": [round(ratio, 4) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 4),
        "cpu_ratio": round(statistics.median(cpu_ratios), 4),
        "same_losses": all(run["losses"] == runs["plain"][0]["losses"] for name in NAMES for run in runs[name]),
        "last_loss": runs["ours"][0]["losses"][-1],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the results, and fail where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of a run, {WARM_UP} of which are not timed")
    parser.add_argument("--method", choices=METHODS, default=None, help="one of them only")
    parser.add_argument("--one", choices=NAMES, default=None, help="train once and print the figures")
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    if arguments.one:
        print(json.dumps(run_one(arguments.one, arguments.base, arguments.method, arguments.steps)))
        return 0
    with tempfile.TemporaryDirectory(prefix="finetrail-bench-") as name:
        base = Path(name) / "base"
        make_base(base)
        methods = [arguments.method] if arguments.method else METHODS
        found = {method: compare(base, method, arguments.pairs, arguments.steps) for method in methods}
    results = {
        **found,
        "pairs": arguments.pairs,
        "steps": arguments.steps,
        "machine": {"cpus": os.cpu_count(), "load": [round(load, 2) for load in os.getloadavg()]},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))
    return 0 if all(method["ratio"] >= BOUND and method["same_losses"] for method in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
