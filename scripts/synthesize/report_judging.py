"""Report which planted defects the judge of answers noticed, and how many answers it took as they are."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from finetrail.metrics.calibration import interval
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import read_table
from finetrail.serving.offline.teacher import rests_on_offline
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize.judge", "synthesize.planted_seed")
ENVIRONMENT = "data"

INTACT = "intact"
RESAMPLES = 1000


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the report."""
    settings: dict[str, Any] = step.settings["synthesize"]
    groups = {name: row["group"] for name, row in read_table(args.splits).items()}
    found: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for row in step.rows(args.rows, "answers"):
        found[row["kind"]].append((groups[row["record_id"]], row["verdict"]["correct"]))
    draws = {"resamples": RESAMPLES, "seed": settings["planted_seed"]}

    def share(kind: str, wanted: bool) -> Any:
        return interval([group for group, _ in found[kind]], [said is wanted for _, said in found[kind]], **draws)

    report = {
        "judge": settings["judge"]["model"],
        **rests_on_offline(settings["judge"]["model"]),
        "intact": {"answers": len(found[INTACT]), "taken": share(INTACT, True)},
        "planted": {
            kind: {"answers": len(found[kind]), "detected": share(kind, False)}
            for kind in sorted(found)
            if kind != INTACT
        },
    }
    step.file(args.out).write_text(render_json(report), encoding="utf-8")
    total = sum(map(len, found.values()))
    step.count(rows_in=total, kept=total)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "calibration/answers_judged.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "judge_calibration.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
