"""Train a cross-encoder on the train questions, once on all of them and once without each fold.

Positives are passages with a supporting sentence, negatives those that retrieval ranks high and that hold neither a
supporting sentence nor the answer. The model without a fold ranks that fold's questions, so that what the generator is
trained on was ranked as it will be for questions that no model has seen.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from finetrail.config.current import operation_key
from finetrail.errors import FinetrailError
from finetrail.examples.curriculum import Question, false_negatives
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.questions import Pages, question_of
from finetrail.retrieval.reranker_folder import BASE, WHOLE, fold_of, pair_text, without
from finetrail.rows.artifacts import check_manifest
from finetrail.rows.records import read_rows, read_table, sha256_text
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.tiny.tiny_cross_encoder import save_tiny_cross_encoder
from finetrail.training.reranker_trainer import PassageList, RankerSettings, train_cross_encoder

SETTINGS = ("rerank.train",)
ENVIRONMENT = "train"


def lists_of(question: Question, text: str, negatives: int) -> Iterator[PassageList]:
    """Yield one list a gold passage: it, and the negatives that retrieval ranks highest."""
    barred = {passage["id"] for passage in (*question.gold, *false_negatives(question))}
    hard = [pair_text(passage) for passage in question.retrieved if passage["id"] not in barred][:negatives]
    for passage in question.gold if hard else ():
        yield PassageList(text, [pair_text(passage), *hard])


def make_base(choice: dict[str, Any], args: argparse.Namespace, asked: Sequence[str], folder: Path) -> None:
    """Put the model that training begins from into a folder.

    Raises:
        FinetrailError: it cannot be loaded.
    """
    if choice["tiny"]:
        texts = (pair_text(passage) for passage in read_rows(args.passages))
        words = chain(texts, asked)
        save_tiny_cross_encoder(words, folder, max_tokens=choice["max_tokens"], seed=choice["seed"])
        return
    from sentence_transformers import CrossEncoder

    for manifest in args.base:
        check_manifest(manifest.parent, manifest)
    try:
        model = CrossEncoder(
            choice["path"] or str(args.base[0].parent),
            num_labels=1,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as error:
        raise FinetrailError(
            f"the cross-encoder cannot be loaded: {error}",
            where="rerank.train",
            hint="It needs the safetensors weights of a cross-encoder",
        ) from error
    model.save_pretrained(str(folder), create_model_card=False)


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the folder of models."""
    choice = step.settings["rerank"]["train"]
    settings = RankerSettings(**{field.name: choice[field.name] for field in fields(RankerSettings)})
    save_steps = operation_key(step.recipe, "rerank.train")["save_steps"]
    splits = read_table(args.splits)
    asked: list[str] = []
    pages = Pages(read_rows(args.passages))
    lists: dict[int, list[PassageList]] = {}
    with PassageFile(args.passages) as texts:
        for row in read_rows(args.rows):
            if splits[row["id"]]["split"] != "train":
                continue
            asked.append(row["question"])
            fold = fold_of(splits[row["id"]]["group"], choice["folds"], choice["seed"])
            question = question_of(row, pages, texts)
            lists.setdefault(fold, []).extend(lists_of(question, row["question"], choice["negatives"]))
    folder = step.folder(args.manifest.parent, args.manifest, {"kind": "reranker", "folds": choice["folds"]})
    base = folder / BASE
    base.mkdir()
    make_base(choice, args, asked, base)
    runs = {WHOLE: [one for fold in sorted(lists) for one in lists[fold]]}
    runs |= {
        without(fold): [one for other in sorted(lists) if other != fold for one in lists[other]]
        for fold in range(choice["folds"])
    }
    for name, chosen in runs.items():
        progress = step.progress(f"steps ({name})")

        def report(done: int, total: int, progress: Any = progress) -> None:
            progress.total = total
            progress.advance(done - progress.done)

        (folder / name).mkdir()
        step.facts[name] = train_cross_encoder(
            base,
            chosen,
            settings,
            state_dir=args.state / sha256_text(step.args.settings)[:16] / name,
            out=folder / name,
            save_steps=save_steps,
            progress=report,
        )
    step.count(rows_in=len(asked), kept=len(asked))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "recall.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--base", "manifest of the cross-encoder to begin from, if it was fetched", nargs="*", default=[])
    parser.add_argument("--state", type=Path, required=True, help="folder of the state directories")
    add_output(parser, "--manifest", "manifest.json in the folder of the models")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
