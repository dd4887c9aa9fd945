"""Summarise the scores of the validated pairs: verdicts and ten bins, as JSON, as text and as a picture."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.metrics.score_distribution import as_text, summarise
from finetrail.report.plots.verdict_picture import draw_verdicts
from finetrail.rows.artifacts import render_json
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize.criteria", "synthesize.pass_score", "synthesize.review_score")
ENVIRONMENT = "plots"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the three forms of the summary."""
    settings = step.settings["synthesize"]
    sums = dict.fromkeys(settings["criteria"], 0.0)

    def overall() -> Iterator[float]:
        for row in step.rows(args.rows, "pairs"):
            for name in sums:
                sums[name] += row["validation"]["scores"][name]
            yield row["validation"]["overall"]

    summary = summarise(overall(), settings["pass_score"], settings["review_score"])
    total = summary["total"]
    summary["mean_scores"] = {name: round(value / total, 4) if total else None for name, value in sums.items()}
    step.file(args.out).write_text(render_json(summary), encoding="utf-8")
    step.file(args.text).write_text(as_text(summary), encoding="utf-8")
    draw_verdicts(summary, f"{step.recipe}: {total} pairs, overall score", step.file(args.picture))
    step.count(rows_in=total, kept=total)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "validated.jsonl")
    add_output(parser, "--out", "validation_report.json")
    add_output(parser, "--text", "validation_report.txt")
    add_output(parser, "--picture", "validation_report.svg")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
