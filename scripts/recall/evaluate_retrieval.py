"""Measure backends of retrieval against relevance judgements: nDCG@10, recall@k and MRR, with intervals.

Every backend stands beside the first one: a paired bootstrap over groups of queries says what differs.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.metrics.compare import Measurement, compare
from finetrail.metrics.ranking import measures
from finetrail.retrieval.backends import open_named
from finetrail.retrieval.fusion import fuse
from finetrail.retrieval.judgements import read_qrels, read_queries
from finetrail.retrieval.model_place import folders_of
from finetrail.retrieval.search_index import SearchIndex
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("retrieval_report", "recall")
ENVIRONMENT = "data"

DEPTH = 100
"""Passages that each backend finds, and that fusion sees."""


def rankings(indexes: Sequence[SearchIndex], queries: Mapping[str, str]) -> dict[str, list[str]]:
    """Search for all queries; the lists of several indexes are fused."""
    found = [list(index.search(list(queries.values()), DEPTH)) for index in indexes]
    return {
        name: [hit.passage_id for hit in fuse(lists, DEPTH)]
        for name, lists in zip(queries, zip(*found, strict=True), strict=True)
    }


def comparisons(
    ranked: Mapping[str, Mapping[str, Sequence[str]]], qrels: Mapping[str, Mapping[str, int]], settings: Row
) -> Row:
    """Compare backends, measure by measure.

    Args:
        ranked: backend → query id → passage ids, best first.
        qrels: query id → passage id → grade; each with a relevant passage.
        settings: the section `retrieval_report`.
    """
    scores = {
        backend: {query: measures(ranking[query], qrels[query], settings["cutoffs"]) for query in qrels}
        for backend, ranking in ranked.items()
    }
    first = next(iter(scores))
    return {
        measure: compare(
            measure,
            first,
            {
                backend: {query: Measurement(group_of(query, settings), row[measure]) for query, row in rows.items()}
                for backend, rows in scores.items()
            },
            higher_is_better=True,
            resamples=settings["resamples"],
            seed=settings["seed"],
        )
        for measure in next(iter(scores[first].values()))
    }


def group_of(query: str, settings: Mapping[str, Any]) -> str:
    """Return the group of a query: of a conversation's turns, the conversation."""
    mark = settings["group_before"]
    return query.partition(mark)[0] if mark else query


def judged_queries(path: Path, qrels: Mapping[str, Mapping[str, int]], settings: Row) -> tuple[dict[str, str], Row]:
    """Read queries, and keep those that can be scored.

    Raises:
        FinetrailError: none of them has a relevant passage.
    """
    queries = read_queries(path, settings["remove"])
    kept = {name: text for name, text in queries.items() if any(grade > 0 for grade in qrels.get(name, {}).values())}
    if not kept:
        raise FinetrailError("no query has a relevant passage", where=str(path), hint="Compare its ids with the qrels")
    return kept, {"queries": len(queries), "without_relevant_passage": len(queries) - len(kept)}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the report."""
    settings = step.settings["retrieval_report"]
    folders = {kind: folders_of(getattr(args, kind)) for kind in ("words", "vectors", "encoder")}
    names = list(dict.fromkeys(part for backend in settings["backends"] for part in backend.split("+")))
    opened = {name: open_named(name, step.settings, folders, args.threads) for name in names}
    qrels = read_qrels(args.qrels)
    report: Row = {"backends": settings["backends"], "depth": DEPTH, "rests_on": "human relevance judgements"}
    forms: dict[str, Row] = {}
    form_of = {path: form for form, path in settings["queries"].items()}
    for path in args.queries:
        if (form := form_of.get(path.as_posix())) is None:
            raise FinetrailError("is no file of queries of the settings", where=str(path), hint="Look at queries")
        queries, counts = judged_queries(path, qrels, settings)
        ranked = {
            backend: rankings([opened[part] for part in backend.split("+")], queries)
            for backend in step.progress(f"backends, {form}", len(settings["backends"])).over(settings["backends"])
        }
        judged = {name: qrels[name] for name in queries}
        forms[form] = {**counts, "comparisons": comparisons(ranked, judged, settings)}
    step.file(args.out).write_text(render_json(report | {"forms": forms}), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--qrels", "judgements: query-id, corpus-id, score, with tabs between them")
    add_input(parser, "--queries", "the files of queries that the settings name", nargs="+")
    add_input(parser, "--words", "manifests of the shards of the index of words", nargs="*", required=False)
    add_input(parser, "--vectors", "manifests of the shards of the index of vectors", nargs="*", required=False)
    add_input(parser, "--encoder", "manifest of the bi-encoder, if it was fetched", nargs="*", required=False)
    parser.add_argument("--threads", type=int, default=1, help="threads that search")
    add_output(parser, "--out", "the report, as JSON")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
