"""Score every train pair from 0 to 10 on the named criteria and overall; nothing is filtered."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import scores_schema
from finetrail.metrics.score_distribution import verdict_of
from finetrail.rows.records import Row
from finetrail.step.step import Step, add_input, add_output

SETTINGS = ("synthesize.criteria", "synthesize.pass_score", "synthesize.review_score")
ASKS = "synthesize.judge"
PROMPT = "validate_qa"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the pairs with their scores."""
    settings = step.settings["synthesize"]
    criteria: list[str] = settings["criteria"]
    model = model_at(step, "synthesize.judge")
    schema = scores_schema(criteria)
    render = load_prompt(args.prompt).renderer()

    def requests(row: Row) -> list[ChatRequest]:
        shown = {key: row[key] for key in ("question", "answer", "context")}
        return [model.request(row["id"], step.rule, render(criteria=criteria, **shown), schema)]

    out = step.writer(args.out)
    verdicts: Counter[str] = Counter()
    with open_engine(step) as engine:
        for row, (answer,) in ask_rows(step, engine, step.rows(args.rows, "pairs"), requests):
            overall = float(answer.parsed["overall"])
            verdict = verdict_of(overall, settings["pass_score"], settings["review_score"])
            verdicts[verdict] += 1
            scored = {
                "verdict": verdict,
                "overall": overall,
                "scores": {name: float(answer.parsed[name]) for name in criteria},
                "reason": answer.parsed["reason"],
                "call": answer.key,
                "answer_sha256": answer.answer_sha256,
            }
            out.write(row | {"validation": scored, "calls": [*row["calls"], answer.key]})
    step.facts["verdicts"] = dict(sorted(verdicts.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "training_data.jsonl")
    add_output(parser, "--out", "validated.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
