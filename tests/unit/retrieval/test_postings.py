"""One table of counts for BM25 and TF-IDF: shards, compiled search, scikit-learn, ties, and the bytes on disk."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval import bm25
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.postings import Corpus, Postings, count_words, open_postings
from finetrail.retrieval.search_index import SearchIndex
from finetrail.retrieval.tfidf import TfidfIndex
from finetrail.rows.artifacts import write_manifest

Rows = list[dict[str, Any]]
INDEXES: dict[str, Callable[[Corpus], SearchIndex]] = {
    "bm25": lambda corpus: BM25Index(corpus, k1=0.9, b=0.4),
    "tfidf": TfidfIndex,
}


def passage(name: str, text: str) -> dict[str, str]:
    return {"id": name, "title": "", "text": text, "url": ""}


def saved(passages: Rows, folder: Path) -> Postings:
    folder.mkdir()
    count_words(passages).save(folder)
    write_manifest(folder, folder / "manifest.json", {})
    return open_postings(folder)


@pytest.fixture(scope="module")
def whole(corpus: Rows) -> Corpus:
    return Corpus([count_words(corpus)])


@pytest.fixture(scope="module")
def sharded(corpus: Rows, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("shards")
    parts = [corpus[:100], [], corpus[100:130], corpus[130:]]
    return Corpus([saved(part, folder / str(number)) for number, part in enumerate(parts)])


@pytest.mark.parametrize("name", INDEXES)
def test_shards_find_what_one_index_finds(
    whole: Corpus, sharded: Corpus, queries: dict[str, dict[str, str]], name: str
) -> None:
    asked = [*queries["lastturn"].values(), "", "zzzz qqqq"]
    found = list(INDEXES[name](sharded).search(asked, 30))
    assert found == list(INDEXES[name](whole).search(asked, 30))
    assert found[-2:] == [[], []]


@pytest.mark.heavy  # numba compiles for ten seconds
def test_the_compiled_search_finds_what_numpy_finds(
    sharded: Corpus, queries: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["", *queries["lastturn"].values(), "zzzz"]
    plain = list(INDEXES["bm25"](sharded).search(asked, 20))
    monkeypatch.setattr(bm25, "WORTH_COMPILING", 0)
    assert list(INDEXES["bm25"](sharded).search(asked, 20)) == plain


def test_tfidf_is_that_of_scikit_learn(corpus: Rows, whole: Corpus, queries: dict[str, dict[str, str]]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    asked = list(queries["rewrite"].values())
    model = TfidfVectorizer(token_pattern=r"(?u)\w+", sublinear_tf=True)
    table = model.fit_transform([f"{p['title']} {p['text']}" for p in corpus])
    similar = (model.transform(asked) @ table.T).toarray()
    place = {p["id"]: number for number, p in enumerate(corpus)}
    for hits, row in zip(TfidfIndex(whole).search(asked, 30), similar, strict=True):
        assert [hit.score for hit in hits] == pytest.approx([row[place[hit.passage_id]] for hit in hits], abs=2e-5)
        assert [hit.score for hit in hits] == pytest.approx(sorted(row, reverse=True)[: len(hits)], abs=2e-5)


@pytest.mark.parametrize(
    ("name", "worth_compiling"),
    [("bm25", 1e9), ("tfidf", 1e9), pytest.param("bm25", 0, marks=pytest.mark.heavy, id="bm25 compiled")],
)
def test_more_ties_than_an_engine_is_asked_for_go_by_id(
    name: str, worth_compiling: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bm25, "WORTH_COMPILING", worth_compiling)
    names = [f"p{number:03d}" for number in range(300)]
    random.Random(0).shuffle(names)
    rows = [passage(name, "same words here") for name in names] + [passage("z", "words and others")]
    (hits,) = INDEXES[name](Corpus([count_words(rows)])).search(["words"], 10)
    assert [hit.passage_id for hit in hits] == sorted(names)[:10]


def test_the_order_of_the_corpus_changes_no_byte(corpus: Rows, tmp_path: Path) -> None:
    saved(corpus, tmp_path / "a")
    saved(random.Random(1).sample(corpus, len(corpus)), tmp_path / "b")
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1]
    assert len(files[0]) == 9


def test_counts_are_those_of_the_texts() -> None:
    counted = count_words([passage("b", "red red fox"), passage("a", "Fox é!"), passage("c", "")])
    assert (list(counted.ids), list(counted.words)) == (["a", "b", "c"], ["fox", "red", "é"])
    assert counted.lengths.tolist() == [2, 3, 0]
    held = {word: counted.entries(place) for place, word in enumerate(counted.words)}
    assert {word: counted.passages[part].tolist() for word, part in held.items()} == {
        "fox": [0, 1],
        "red": [1],
        "é": [0],
    }
    assert counted.counts[held["red"]].tolist() == [2]


def test_one_line_of_megabytes_is_one_passage() -> None:
    rows = [passage("line", "fox " * 1_300_000), passage("run", "x" * 5_000_000), passage("a", "red fox")]
    counted = count_words(rows)
    assert counted.lengths.tolist() == [2, 1_300_000, 1]
    for make in INDEXES.values():
        assert {hit.passage_id for hit in next(make(Corpus([counted])).search(["fox"], 5))} == {"line", "a"}


@pytest.mark.parametrize("name", INDEXES)
def test_no_word_and_an_unfinished_index_are_errors(name: str, tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="holds no word"):
        INDEXES[name](Corpus([count_words([passage("a", "...")])]))
    with pytest.raises(FinetrailError, match="cannot be read"):
        open_postings(tmp_path)


def test_a_shard_is_read_from_its_file(sharded: Corpus) -> None:
    assert all(isinstance(shard.counts, np.memmap) for shard in sharded.shards)
