"""Answer the test questions turn by turn, with the model's own queries and choices, on its own history.

No other model is asked: the student writes its search queries, the recipe's indexes and ranking find chunks, the
student (or the ranking) chooses among them, and it answers from what was chosen. Each row says how its passages were
found. The held-out loss of the original answers stands behind what the model finds and chooses on the gold history,
and what the images of other questions would have led to is measured the same way; see `predict_answers`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from finetrail.retrieval.model_place import folders_of
from finetrail.rows.artifacts import check_manifest
from finetrail.rows.records import read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = (
    "student",
    "queries.enabled",
    "queries.count",
    "recall",
    "encoder",
    "rerank",
    "folds.evidence",
    "folds.system_prompt",
    "predict.max_answer_tokens",
    "predict.trivial_answer",
    "evaluate.metric",
    "limits",
    "source.images",
)
ENVIRONMENT = "train"

INDEXES = ("words", "vectors", "encoder")


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one prediction a test row."""
    from finetrail.inference.answering.corpus_search import Searcher
    from finetrail.inference.answering.predictions import Counting, load_predictor, predictions
    from finetrail.inference.answering.student_search import Student

    folders = {kind: folders_of(getattr(args, kind)) for kind in INDEXES}
    for manifest in [args.base, *args.adapter]:
        check_manifest(manifest.parent, manifest)
    rows = list(read_rows(args.test))
    asked = load_predictor(args.base.parent, args.adapter[0].parent if args.adapter else None, rows, step.settings)
    turns = step.progress("turns", len(rows))
    counting = Counting(step.progress("losses").over, lambda done, _: turns.advance(done - turns.done))
    out = step.writer(args.out)
    chose: Counter[str] = Counter()
    control_texts = unfit = 0
    with Searcher(args.passages, folders, step.settings) as searcher:
        student = Student(
            asked.model, asked.tokenizer, searcher, step.settings, limits=asked.limits, vision=asked.vision
        )
        made = predictions(asked, rows, settings=step.settings, counting=counting, look_up=student.look_up)
        for prediction, answer in made:
            control_texts += answer.control_texts
            unfit += "set_aside" in prediction
            if answer.lookup is not None:
                shown = answer.lookup["passages"][: len(answer.lookup["passages"]) - answer.dropped_passages]
                prediction["lookup"] = {**answer.lookup, "passages": shown}
                chose[answer.lookup["chose"]] += 1
            out.write(prediction)
    step.facts["set_aside"] = unfit
    step.facts["images_not_shown"] = 0 if asked.vision else sum(row.get("image") is not None for row in rows)
    step.facts["control_tokens_shown_as_words"] = control_texts
    step.facts["chosen_by"] = dict(sorted(chose.items()))
    step.count(rows_in=len(rows), kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--test", "the fold's test.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--words", "manifests of the shards of the index of words", nargs="*", required=False)
    add_input(parser, "--vectors", "manifests of the shards of the index of vectors", nargs="*", required=False)
    add_input(parser, "--encoder", "manifest of the bi-encoder, if it was fetched", nargs="*", required=False)
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(
        parser,
        "--adapter",
        "manifest.json of the adapter; none for the base alone",
        nargs="*",
        default=[],
        required=False,
    )
    add_output(parser, "--out", "predictions")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
