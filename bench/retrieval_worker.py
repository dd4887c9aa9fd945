"""One contestant of the retrieval bench, in a process of its own: prints its times as one JSON object.

``ours`` opens an index that `index_words` made; the others read the passages and build theirs.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Search = Callable[[Sequence[str]], int]


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Stream the passages."""
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def ours(folder: Path, k: int, threads: int, backend: str) -> Search:
    """Open our index."""
    from finetrail.retrieval.backends import open_backend

    settings = {"recall": {"backend": backend, "k1": 0.9, "b": 0.4}}
    (index,) = open_backend(settings, {"words": [folder / "index"]}, threads)
    return lambda queries: sum(len(hits) for hits in index.search(queries, k))


def scikit_learn(folder: Path, k: int, threads: int) -> Search:
    """TF-IDF as it is written in a notebook: one sparse product a query, then a sort."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(token_pattern=r"(?u)\w+", sublinear_tf=True)
    table = model.fit_transform(row["text"] for row in rows(folder / "passages.jsonl"))

    def search(queries: Sequence[str]) -> int:
        found = 0
        for query in queries:
            scores = (table @ model.transform([query]).T).toarray().ravel()
            found += len(np.argsort(-scores)[:k])
        return found

    return search


def bm25s_numba(folder: Path, k: int, threads: int) -> Search:
    """BM25 of bm25s as its documentation has it, compiled by numba; the same words as ours."""
    import re

    import bm25s

    word = re.compile(r"\w+")
    held = list(rows(folder / "passages.jsonl"))
    index = bm25s.BM25(k1=0.9, b=0.4, method="lucene", backend="numba")
    index.index([word.findall(row["text"].lower()) for row in held], show_progress=False)
    ids = [row["id"] for row in held]

    def search(queries: Sequence[str]) -> int:
        asked = [[one for one in word.findall(query.lower()) if one in index.vocab_dict] for query in queries]
        found, scores = index.retrieve([one for one in asked if one], k=k, n_threads=threads, show_progress=False)
        return sum(len([ids[place] for place in line[kept > 0]]) for line, kept in zip(found, scores, strict=True))

    return search


def tantivy(folder: Path, k: int, threads: int) -> Search:
    """BM25 of tantivy (k1 1.2, b .75, which it fixes), searched by several threads."""
    import re

    import tantivy as engine

    builder = engine.SchemaBuilder()
    builder.add_text_field("text", stored=False)
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    index = engine.Index(builder.build())
    writer = index.writer(heap_size=500_000_000, num_threads=threads)
    for row in rows(folder / "passages.jsonl"):
        writer.add_document(engine.Document(text=row["text"], id=row["id"]))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def one(query: str) -> int:
        parsed = index.parse_query(" ".join(re.findall(r"\w+", query.lower())), ["text"])
        return len([searcher.doc(place)["id"][0] for _, place in searcher.search(parsed, k).hits])

    def search(queries: Sequence[str]) -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(one, queries))

    return search


def main() -> None:
    """Open or build, warm up, and search."""
    name, folder, k, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    queries = json.loads((folder / "queries.json").read_text())
    started = time.perf_counter()
    if name.startswith("ours"):
        search = ours(folder, k, threads, name.removeprefix("ours "))
    else:
        search = {"scikit-learn": scikit_learn, "bm25s numba": bm25s_numba, "tantivy": tantivy}[name](
            folder, k, threads
        )
    built = time.perf_counter()
    queries = queries[:200] if name == "scikit-learn" else queries  # it is slow
    search(queries)  # what is compiled or read on first use
    ready, cpu = time.perf_counter(), time.process_time()
    found = search(queries)
    done, cpu = time.perf_counter(), time.process_time() - cpu
    times: dict[str, Any] = {"open_or_build_s": round(built - started, 1), "first_search_s": round(ready - built, 1)}
    times |= {"queries_per_s": round(len(queries) / (done - ready)), "queries_per_cpu_s": round(len(queries) / cpu)}
    print(json.dumps(times | {"hits": found}))


if __name__ == "__main__":
    main()
