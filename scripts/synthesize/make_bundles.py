"""Make the training bundles of every epoch, in the order in which they are trained on.

What is retrieved for a train question was ranked by a model that did not learn from it (out of fold). A passage that is
no gold one and holds the gold answer would teach the opposite of what it shows: it is left out, and listed.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from finetrail.chat.bundles import Shown, cite
from finetrail.examples.curriculum import Bundle, Curriculum, bundle, false_negatives, training_order
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.questions import Pages, question_of
from finetrail.rows.records import Row, content_id, read_rows, read_table
from finetrail.rows.row_file import RowFile
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize", "folds.evidence", "folds.evidence_words")


def plan_of(settings: dict[str, Any]) -> Curriculum:
    """Return the curriculum that the recipe chooses."""
    chosen, folds = settings["synthesize"], settings["folds"]
    return Curriculum(
        epochs=chosen["epochs"],
        gold_epochs=chosen["gold_epochs"],
        passages=folds["evidence"],
        hard_negatives=chosen["hard_negatives"],
        refuse_missing=chosen["refuse_missing"],
        most_words=folds["evidence_words"],
        seed=chosen["seed"],
    )


def example_of(row: Row, made: Bundle) -> Row:
    """Render a bundle as a training example."""
    passages = [
        {"id": number, "title": passage["title"], "text": passage["text"], "passage_id": passage["id"]}
        for number, passage in enumerate(made.passages, start=1)
    ]
    return {
        "id": content_id("bundle", row["id"], str(made.epoch)),
        "parents": [row["id"]],
        "record_id": row["id"],
        "session_id": row["session_id"],
        "turn": row["turn"],
        "kind": "refusal" if made.refused else f"bundle of the {made.phase} phase",
        "epoch": made.epoch,
        "question": row["question"],
        "passages": passages,
        "target": made.target,
        "supporting_facts": row["hops"]["supporting_facts"],
        "complete": made.complete,
        "answer": row["answer"],
        "image": row["image"],
        "history": row["history"],
        "hops": row["hops"],
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the bundles, epoch after epoch, and the passages that no bundle may show."""
    plan = plan_of(step.settings)
    splits = read_table(args.splits)
    train = [row["id"] for row in read_rows(args.rows) if splits[row["id"]]["split"] == "train"]
    pages = Pages(read_rows(args.passages))
    out = step.writer(args.out)
    dropped = step.writer(args.dropped, may_be_empty=True)
    counts: Counter[str] = Counter()
    progress = step.progress("bundles", plan.epochs * len(train))
    with RowFile(args.rows) as rows, PassageFile(args.passages) as texts:
        for row_id in train:
            question = question_of(rows[row_id], pages, texts)
            for passage in false_negatives(question):
                reason = "is no gold passage and holds the gold answer"
                dropped.write(
                    {"record_id": row_id, "passage_id": passage["id"], "answer": question.answer, "reason": reason}
                )
            if len(cite([Shown.of(passage) for passage in question.gold], question.facts)) < len(set(question.facts)):
                counts["questions with a supporting fact that no passage of the corpus holds"] += 1
        for epoch in range(1, plan.epochs + 1):
            for row_id in training_order(train, epoch, plan.seed):
                made = bundle(question_of(rows[row_id], pages, texts), epoch, plan)
                out.write(example_of(rows[row_id], made))
                counts[f"epoch {epoch}: {made.phase}"] += 1
                counts[f"epoch {epoch}: a supporting fact is missing"] += not made.complete
                counts[f"epoch {epoch}: refused"] += made.refused
                counts["passages left out, so that the words fit"] += made.too_long
                progress.advance()
    step.facts["bundles"] = dict(sorted(counts.items())) | {"passages that hold the answer": dropped.count}
    step.count(rows_in=plan.epochs * len(train), kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "reranked.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "synthetic.jsonl")
    add_output(parser, "--dropped", "synthetic.dropped.jsonl: passages that hold the gold answer and are not gold")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
