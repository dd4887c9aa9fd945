import random
from pathlib import Path

import numpy as np
import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.bi_encoder import Encoder
from finetrail.retrieval.model_place import ModelPlace
from finetrail.retrieval.search_index import Hit
from finetrail.retrieval.vectors import VectorIndex, build_vectors
from finetrail.rows.artifacts import check_manifest
from tests.unit.retrieval.tiny_encoder import WORDS, save_tiny_encoder

pytestmark = pytest.mark.heavy

QUERIES = ["red fox", "the old house by the river", "", "nothing known"]


def passage(name: str, text: str) -> dict[str, str]:
    return {"id": name, "title": "", "text": text, "url": ""}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(ModelPlace(path=str(save_tiny_encoder(tmp_path_factory.mktemp("encoder")))))


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, str]]:
    rng = random.Random(3)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 12))) for _ in range(300)]
    texts[10:60] = ["red fox"] * 50  # more ties than are asked for
    names = [f"p{number:03}" for number in range(300)]
    rng.shuffle(names)
    return [passage(name, text) for name, text in zip(names, texts, strict=True)]


@pytest.fixture(scope="module")
def index(encoder: Encoder, corpus: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    return VectorIndex.build(corpus, encoder, tmp_path_factory.mktemp("vectors") / "index")


def test_hits_are_those_of_all_inner_products_with_ties_by_id(
    encoder: Encoder, corpus: list[dict[str, str]], index: VectorIndex
) -> None:
    queries, passages = encoder.queries(QUERIES), encoder.passages([p["text"] for p in corpus])
    assert np.linalg.norm(passages, axis=1) == pytest.approx(1, abs=1e-5)
    for hits, row in zip(index.search(QUERIES, 20), queries @ passages.T, strict=True):
        expected = [Hit(p["id"], round(float(score), 4)) for p, score in zip(corpus, row, strict=True)]
        expected.sort(key=lambda hit: (-hit.score, hit.passage_id))
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected[:20]], abs=2e-4)
    (tied,) = index.search(["red fox"], 20)
    same = sorted(p["id"] for p in corpus if p["text"] == "red fox")
    assert [hit.passage_id for hit in tied] == same[:20]


def test_shards_find_what_one_index_finds(
    encoder: Encoder, corpus: list[dict[str, str]], index: VectorIndex, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("a", "b", "none")]
    parts = [corpus[:100], corpus[100:], []]
    for folder, part in zip(folders, parts, strict=True):
        folder.mkdir()
        build_vectors(part, encoder, folder)
        (folder / "manifest.json").write_text("{}")
    assert list(VectorIndex.open(folders, encoder).search(QUERIES, 30)) == list(index.search(QUERIES, 30))


def test_the_same_corpus_gives_the_same_folder(encoder: Encoder, corpus: list[dict[str, str]], tmp_path: Path) -> None:
    for name, rows in (("a", corpus), ("b", corpus)):
        VectorIndex.build(rows, encoder, tmp_path / name)
    manifests = [check_manifest(tmp_path / name, tmp_path / name / "manifest.json") for name in ("a", "b")]
    assert manifests[0] == manifests[1]
    assert manifests[0]["passages"] == 300


def test_a_long_passage_takes_little(encoder: Encoder, tmp_path: Path) -> None:
    index = VectorIndex.build([passage("long", "fox " * 1_250_000), passage("a", "cat")], encoder, tmp_path / "i")
    assert {hit.passage_id for hit in next(index.search(["fox"], 2))} == {"long", "a"}


def test_what_cannot_be_opened_is_named(encoder: Encoder, index: VectorIndex, tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="no passage"):
        VectorIndex.build([], encoder, tmp_path / "empty")
    with pytest.raises(FinetrailError, match="cannot be read"):
        VectorIndex.open([tmp_path / "gone"], encoder)
    with pytest.raises(FinetrailError, match="holds no config"):
        VectorIndex.build([passage("a", "fox")], Encoder(ModelPlace(path=str(tmp_path))), tmp_path / "x")
    wider = Encoder(ModelPlace(path=str(save_tiny_encoder(tmp_path / "wider", width=48))))
    with pytest.raises(FinetrailError, match="vectors of 32 numbers, and the model makes 48"):
        list(VectorIndex.open(index._folders, wider).search(["fox"], 3))
