"""How fast and in how much memory passages are found and reranked, beside others in the same run.

Search: `index_words` and the backends of recall on made-up passages of real sentences, beside bm25s compiled by numba,
plain scikit-learn and tantivy. Rerank: the ranker of `rerank_passages` on the bundled passages, beside the published
way, which fits a model for every pair.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval_data import bundled, questions, write
from seed_rerank import Pair, batched, per_pair

from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.rerank import ChunkRanker
from finetrail.text.chunks import chunk_spans
from folds import CORES, measured

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "retrieval.json"
TANTIVY = HERE / "peers" / ".venv" / "tantivy" / "bin" / "python"
K = 30
CHUNK_WORDS = 120
REPEATS = 5


def search(count: int, contestants: Sequence[str]) -> dict[str, Any]:
    """Index and search made-up passages; every contestant has a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "passages.jsonl", count)
        (folder / "queries.json").write_text(json.dumps(questions() * REPEATS))
        command = [sys.executable, str(ROOT / "scripts/recall/index_words.py"), "--passages", "passages.jsonl"]
        command += ["--manifest", "index/manifest.json", "--meta", "index.meta.json"]
        figures: dict[str, Any] = {"passages": count, "queries": len(questions()) * REPEATS, "top": K}
        figures["index_words"] = measured(command, folder)
        print(f"index_words, {count} passages: {figures['index_words']}", flush=True)
        for contestant in contestants:
            figures[contestant] = contest(contestant, folder)
            print(f"{contestant}, {count} passages: {figures[contestant]}", flush=True)
    return figures


def contest(contestant: str, folder: Path) -> dict[str, Any]:
    """Run one contestant, and return its times with its greatest memory."""
    python = str(TANTIVY) if contestant == "tantivy" else sys.executable
    if not Path(python).exists():
        return {"not_run": "its environment is not installed (make bench-peers)"}
    worker = [python, str(HERE / "retrieval_worker.py"), contestant, str(folder), str(K), str(CORES)]
    out = folder / "out.json"
    figures = measured(["sh", "-c", 'exec "$@" > out.json', "sh", *worker], folder)
    times: dict[str, Any] = json.loads(out.read_text())
    return times | figures


def candidate_pairs() -> tuple[list[str], list[list[str]], list[Pair]]:
    """Return queries, the ids of their best 30 passages, and all pairs of a query with a passage's chunks."""
    rows = bundled()
    texts = {
        row["id"]: [f"{row['title']} {row['text'][start:end]}" for start, end in chunk_spans(row["text"], CHUNK_WORDS)]
        for row in rows
    }
    queries = questions()
    found = [[hit.passage_id for hit in hits] for hits in BM25Index.build(rows, k1=0.9, b=0.4).search(queries, K)]
    pairs = [(query, texts[name]) for query, names in zip(queries, found, strict=True) for name in names]
    return queries, found, pairs


def rerank(shown: int) -> dict[str, Any]:
    """Rerank the bundled queries' best 30 passages, ours and the published way, each by the time of one core."""
    queries, found, pairs = candidate_pairs()
    marks = [time.process_time()]
    ranker = ChunkRanker(bundled(), max_words=CHUNK_WORDS)
    marks.append(time.process_time())
    for _ in range(REPEATS):
        ranked = list(ranker.rank(queries, found, keep=K))
    marks.append(time.process_time())
    slow = per_pair(pairs[:shown])
    marks.append(time.process_time())
    quick = batched(pairs)
    marks.append(time.process_time())
    fit, ours, theirs, batch = (after - before for before, after in itertools.pairwise(marks))
    rate, peer_rate = REPEATS * len(pairs) / ours, shown / theirs
    spans = {row["id"]: chunk_spans(row["text"], CHUNK_WORDS) for row in bundled()}
    best = [
        spans[name].index((chunk.start, chunk.end))
        for names, chunks in zip(found, ranked, strict=True)
        for by_id in [{chunk.passage_id: chunk for chunk in chunks}]
        for name in names
        for chunk in [by_id[name]]
    ]
    several = [place for place, (_, chunks) in enumerate(pairs) if len(chunks) > 1]
    return {
        "pairs": len(pairs),
        "pairs_with_several_chunks": len(several),
        "fit_cpu_s": round(fit, 2),
        "pairs_per_cpu_s": round(rate),
        "per_pair_pairs_per_cpu_s": round(peer_rate),
        "times_faster": round(rate / peer_rate),
        "batched_per_pair_weights_pairs_per_cpu_s": round(len(pairs) / batch),
        "batched_equals_per_pair": round(sum(a == b for a, b in zip(slow, quick, strict=False)) / shown, 5),
        "same_best_chunk_as_per_pair_weights": round(sum(best[p] == quick[p] for p in several) / len(several), 4),
    }


def main() -> None:
    """Run the bench and write its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000, help="passages that all contestants search (100,000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="passages that we search; 0 for none (1,000,000)")
    parser.add_argument("--pairs", type=int, default=4_000, help="pairs for the published way of reranking (4,000)")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": {"cores_used": CORES}}
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["rerank"] = rerank(options.pairs)
    print(f"rerank: {results['rerank']}", flush=True)
    every = ["ours bm25", "ours tfidf", "bm25s numba", "scikit-learn", "tantivy"]
    results["search"] = search(options.passages, every)
    results["large"] = search(options.large, ["ours bm25"]) if options.large else kept.get("large")
    results["machine"]["load_at_the_end"] = [round(value, 2) for value in os.getloadavg()]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
