"""Tokens a second of our trainer beside plain TRL with the same settings, on the same tiny model and rows.

Both train at the same time, each in a process of its own, and take turns: one does a step while the other waits, who
begins alternates. So whatever else the machine does disturbs both alike. A step lasts from its predecessor's end to its
own, so that everything that happens between steps is counted.

- ``tokens_per_second``: tokens of the timed steps ÷ their seconds.
- ``ratios``: ours ÷ plain in each of the pairs, which are so many stretches of the timed steps; ``ratio`` is their
  median, and must be at least .97. ``cpu_ratio`` is the same for the processor time.
- ``same_losses``: whether the losses of both are equal, step by step, to the last bit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "training.json"
PAIRS = 5
STEPS = 20
WARM_UP = 5
ROWS = 96
BOUND = 0.97
NAMES = ("ours", "plain")
METHODS = ("lora", "full")
SEED = 7

Took = tuple[float, float]
"""Seconds, and seconds of the processor."""


class Turns:
    """Called at the end of each step: says how long it took, and waits for this trainer's turn to do the next one."""

    def __init__(self) -> None:
        self.steps, self.since = 0, (0.0, 0.0)
        self.channel = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # libraries print, too

    def tell(self, what: Any) -> None:
        """Report."""
        print(json.dumps(what), file=self.channel, flush=True)

    def __call__(self) -> None:
        """Report, and wait."""
        self.steps += 1
        if self.steps > WARM_UP:
            self.tell([time.perf_counter() - self.since[0], time.process_time() - self.since[1]])
        elif self.steps == WARM_UP:
            self.tell("warm")
        if self.steps >= WARM_UP:
            sys.stdin.readline()
        self.since = time.perf_counter(), time.process_time()


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
    from finetrail.tiny.tiny_base import build_tiny_base
    from finetrail.tiny.tiny_settings import TinyBaseSettings

    texts = [message["content"] for row in make_rows() for message in row["messages"]]
    build_tiny_base("llama", texts, settings=TinyBaseSettings(steps=2), system="", seed=SEED, out_dir=folder)


def settings_for(method: str, steps: int) -> Any:
    """Return the settings of both, as ours has them."""
    from finetrail.models.limits import Limits
    from finetrail.training.settings.train_settings import TrainSettings

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


def run_ours(base: Path, work: Path, method: str, steps: int, turns: Callable[[], None]) -> list[float]:
    """Train with our trainer; return the loss of each step."""
    from finetrail.models.base_model import BaseModel
    from finetrail.training.settings.train_settings import Saving
    from finetrail.training.sft import train_adapter

    train_adapter(
        BaseModel(base),
        make_rows(),
        [],
        settings_for(method, steps),
        state_dir=work / "state",
        out_dir=work / "out",
        saving=Saving(save_steps=10 * steps),
        progress=lambda step, of: turns(),
    )
    log = (work / "out" / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in log]


def run_plain(base: Path, work: Path, method: str, steps: int, turns: Callable[[], None]) -> list[float]:
    """Train with TRL alone, as its documentation shows; return the loss of each step."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    settings = settings_for(method, steps)

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Takes turns."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns()

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
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def run_one(name: str, base: Path, method: str, steps: int) -> None:
    """Train once in this process, in turns with the other, and report the losses at last."""
    turns = Turns()
    with tempfile.TemporaryDirectory(prefix="finetrail-bench-") as work:
        run = run_ours if name == "ours" else run_plain
        losses = run(base, Path(work), method, steps, turns)
    assert len(losses) == steps
    turns.tell(losses)


class Trainer:
    """One of the two, in a process of its own."""

    def __init__(self, name: str, process: "subprocess.Popen[str]", said: Path) -> None:
        self.name, self.process, self.said = name, process, said

    def read(self) -> Any:
        """Wait for the next thing that it reports."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} failed:\n{self.said.read_text()[-4000:]}")
        return json.loads(line)

    def go(self) -> None:
        """Let it do a step."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def started(name: str, base: Path, method: str, steps: int) -> Iterator[Trainer]:
    """Start a trainer; it is ended with us."""
    command = [sys.executable, __file__, "--one", name, "--base", str(base), "--method", method, "--steps", str(steps)]
    said = base.with_name(f"{method}.{name}.log")
    with said.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            yield Trainer(name, process, said)
        finally:
            process.kill()
            process.communicate()


def tokens_timed(base: Path, method: str, steps: int) -> int:
    """Count the tokens of the timed steps, on average: rows come in a drawn order, every one equally often."""
    from transformers import AutoTokenizer

    from finetrail.models.masks import encode_row

    settings = settings_for(method, steps)
    tokenizer = AutoTokenizer.from_pretrained(base)
    total: int = sum(len(encode_row(row, tokenizer, settings.limits).input_ids) for row in make_rows())
    rows: int = settings.batch_size * settings.gradient_accumulation * steps
    return round(total / ROWS * rows)


def in_turns(base: Path, method: str, steps: int) -> tuple[dict[str, list[Took]], dict[str, list[float]]]:
    """Train with both; return what each timed step took, and the losses, by name."""
    took: dict[str, list[Took]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        trainers = [stack.enter_context(started(name, base, method, steps)) for name in NAMES]
        for trainer in trainers:
            trainer.read()
        for step in range(steps - WARM_UP):
            for trainer in trainers if step % 2 == 0 else reversed(trainers):
                trainer.go()
                took[trainer.name].append(tuple(trainer.read()))
        for trainer in trainers:
            trainer.go()
        return took, {trainer.name: trainer.read() for trainer in trainers}


def compare(base: Path, method: str, pairs: int, steps: int) -> dict[str, Any]:
    """Run both on one method and return the results as they are written.

    Args:
        base, method: what is trained.
        pairs: stretches of the timed steps.
        steps: of a stretch.
    """
    took, losses = in_turns(base, method, WARM_UP + pairs * steps)

    def seconds(name: str, pair: int, clock: int) -> float:
        return sum(step[clock] for step in took[name][pair * steps : (pair + 1) * steps])

    ratios, cpu_ratios = (
        [seconds("plain", pair, clock) / seconds("ours", pair, clock) for pair in range(pairs)] for clock in (0, 1)
    )
    tokens = tokens_timed(base, method, pairs * steps)
    return {
        "tokens_per_second": {name: round(tokens / sum(step[0] for step in took[name]), 1) for name in NAMES},
        "ratios": [round(ratio, 4) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 4),
        "cpu_ratio": round(statistics.median(cpu_ratios), 4),
        "same_losses": losses["ours"] == losses["plain"],
        "last_loss": losses["ours"][-1],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the results, and fail where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--steps", type=int, default=STEPS, help="timed ones of a pair")
    parser.add_argument("--method", choices=METHODS, default=None, help="one of them only")
    parser.add_argument("--one", choices=NAMES, default=None, help="train once, in turns with the other")
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    if arguments.one:
        run_one(arguments.one, arguments.base, arguments.method, arguments.steps)
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
