"""Hold a trained generator to the plan's criteria of success: value, target, and whether it is met here."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetrail.config.current import operation_key
from finetrail.errors import FinetrailError
from finetrail.report.plots.recall_picture import draw_distractors
from finetrail.rows.artifacts import read_json, render_json
from finetrail.rows.records import Row, read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.training.tracking.artifact_registry import Registry

SETTINGS = ("train.models.{model}", "limits", "source.images")
ENVIRONMENT = "plots"

MET, NOT_MET, UNKNOWN = "met", "not met", "not measurable here"
GAIN, SECONDS, MEGABYTES, TOKENS, MEMORY_GB, STEPS = 0.05, 2.0, 500, 50, 16, 100


def criterion(name: str, value: Any, target: str, *, met: bool | None, why: str | None = None) -> Row:
    """Return one line of the file; `met` is None where it cannot be told here."""
    verdict = UNKNOWN if met is None else MET if met else NOT_MET
    return {"criterion": name, "value": value, "target": target, "verdict": verdict, **({"why": why} if why else {})}


def registered(folder: Path) -> dict[str, Row]:
    """Return the artifacts by alias, with their sizes; none where nothing was tracked."""
    registry = Registry(folder)
    return {
        alias: {"megabytes": round((folder / entry.path).stat().st_size / 1e6, 3), **entry.metadata}
        for alias, entry in registry.entries().items()
    }


def speed(log: Path) -> Row:
    """Return the speed of a training, over all of its steps: steps and tokens a second, and the peak memory."""
    rows = [row for row in read_rows(log) if row.get("steps_per_second")]
    if not rows:
        raise FinetrailError("the log holds no speed", where=str(log), hint="Train the model again")
    seconds = sum(1 / row["steps_per_second"] for row in rows)
    tokens = sum(row["tokens_per_second"] / row["steps_per_second"] for row in rows)
    return {
        "steps_per_second": round(len(rows) / seconds, 4),
        "tokens_per_second": round(tokens / seconds, 1),
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
    }


def criteria(
    scores: Row, latency: Row, trained: Row, artifacts: dict[str, Row], keys: Row, arithmetic: str
) -> list[Row]:
    """Hold everything that was measured to the plan.

    Args:
        scores: the metrics file.
        latency: seconds a question.
        trained: what `speed` returns.
        artifacts: what `registered` returns.
        keys: operation keys of the section `train`.
        arithmetic: `precision` of the model; `auto` is chosen for the hardware.
    """
    gain = scores["comparisons"]["answer_f1"]["differences"]["base"]
    gpu = not latency["device"].startswith("CPU")
    seconds = latency["seconds"]["in all"]["p95"]
    largest = max((entry["megabytes"] for entry in artifacts.values()), default=None)
    hardware = None if gpu else "no GPU: the figure is this CPU's, with this base model"
    memory = round(trained["peak_memory_mb"] / 1024, 2)
    deployed = scores["hop_scores"][scores["model"]]["retrieved"]
    small = None if largest is None else largest < MEGABYTES
    in_time = keys["save_before_minutes"] >= 30 and (keys["max_hours"] or 0) <= 12
    rate = trained["tokens_per_second"]
    fast, quick, fits = (holds if gpu else None for holds in (rate > TOKENS, seconds < SECONDS, memory <= MEMORY_GB))
    untracked = "nothing was tracked" if largest is None else None
    return [
        criterion(
            "answer F1 over the untuned base",
            gain["estimate"],
            f"> {GAIN}, its interval above 0",
            met=gain["estimate"] > GAIN and (gain["low"] or 0) > 0,
        ),
        criterion("peak memory of the training, GB", memory, f"<= {MEMORY_GB}", met=fits, why=hardware),
        criterion("tokens a second in training", rate, f"> {TOKENS}", met=fast, why=hardware),
        criterion("seconds a question, p95", seconds, f"< {SECONDS}", met=quick, why=hardware),
        criterion("largest artifact, MB", largest, f"< {MEGABYTES}", met=small, why=untracked),
        criterion("steps between checkpoints", keys["save_steps"], f"<= {STEPS}", met=keys["save_steps"] <= STEPS),
        criterion("training resumes from `latest`", "latest" in artifacts, "registered", met="latest" in artifacts),
        criterion("inference loads `best`", "best" in artifacts, "registered", met="best" in artifacts),
        criterion("minutes left when it saves", keys["save_before_minutes"], ">= 30 of at most 12 hours", met=in_time),
        criterion("precision follows the hardware", arithmetic, "auto", met=arithmetic == "auto"),
        criterion("seeds are fixed", scores["training_seeds"], "at least one", met=bool(scores["training_seeds"])),
        criterion(
            "share of supported answers",
            deployed["supported_answers"],
            "reported",
            met=None,
            why="the plan names no target",
        ),
    ]


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the criteria and the picture of the scores among distractors."""
    scores = read_json(args.metrics)
    folder = next(iter(sorted(args.state.glob("*/wandb"))), args.state / "none")
    trained = speed(args.training_log)
    keys = operation_key(step.recipe, "train")
    arithmetic = step.settings["train"]["models"][scores["model"]]["precision"]
    made = criteria(scores, read_json(args.latency), trained, registered(folder), keys, arithmetic)
    report = {"model": scores["model"], "trained": trained, "criteria": made}
    step.file(args.out).write_text(render_json(report), encoding="utf-8")
    curves = {
        name: {
            condition.removeprefix("gold_"): table["f1"]
            for condition, table in tables.items()
            if condition.startswith("gold_")
        }
        for name, tables in scores["hop_scores"].items()
    }
    draw_distractors(curves, step.file(args.picture))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--metrics", "the metrics file of the model")
    add_input(parser, "--latency", "its latency file")
    add_input(parser, "--training-log", "its training log")
    parser.add_argument("--state", type=Path, required=True, help="folder of the training's state directories")
    add_output(parser, "--out", "the criteria")
    add_output(parser, "--picture", "F1 by the number of distractors, as SVG")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
