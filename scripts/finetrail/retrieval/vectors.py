"""Dense retrieval: passages and queries as vectors, compared by their inner product, on the faiss library.

The search is exact. Passages stand in the order of their ids, so that ties go by id.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.retrieval.bi_encoder import Encoder
from finetrail.retrieval.search_index import Hit, Passage, in_batches, passage_text
from finetrail.retrieval.texts import Texts
from finetrail.retrieval.top_k import MORE, best_hits, is_settled, merge_hits
from finetrail.rows.artifacts import MANIFEST_NAME, read_json, write_manifest

if TYPE_CHECKING:
    import numpy as np

SCORE_DIGITS = 4
"""Digits of a cosine that another CPU's arithmetic, or another batch, leaves alone."""
BLOCK = 1024
"""Passages or queries that are encoded, and searched for, together."""
FILE = "vectors.faiss"


def build_vectors(passages: Iterable[Passage], encoder: Encoder, folder: Path) -> int:
    """Encode passages, title and text, and write ids and vectors into a folder.

    Args:
        passages: streamed; of their texts one block is held at a time.
        encoder: the model.
        folder: an existing folder.

    Returns:
        the number of passages; a corpus that is empty (a shard may be) leaves a folder that finds nothing.
    """
    import faiss
    import numpy as np

    ids: list[str] = []
    blocks: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    for block in in_batches(passages, BLOCK):
        ids += [passage["id"] for passage in block]
        blocks.append(encoder.passages([passage_text(passage) for passage in block]))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    Texts.of([ids[place] for place in order]).save(folder, "ids")
    vectors = np.concatenate(blocks) if blocks else np.zeros((0, 1), dtype=np.float32)
    index = faiss.IndexFlatIP(vectors.shape[1])
    for places in in_batches(order, BLOCK):
        index.add(vectors[list(places)])
    faiss.write_index(index, str(folder / FILE))
    return len(ids)


class VectorIndex:
    """One or several folders of vectors, opened with memory-mapped reading; `SearchIndex` says how it is asked."""

    source = "dense"

    def __init__(self, folders: Sequence[Path], encoder: Encoder) -> None:
        self._folders = folders
        self._encoder = encoder

    @classmethod
    def build(cls, passages: Iterable[Passage], encoder: Encoder, folder: Path) -> "VectorIndex":
        """Build an index in a folder of its own, with its manifest, and open it.

        Raises:
            FinetrailError: there is no passage, or the model cannot be loaded.
        """
        folder.mkdir(parents=True, exist_ok=True)
        count = build_vectors(passages, encoder, folder)
        if not count:
            raise FinetrailError("there is no passage to search for")
        write_manifest(
            folder, folder / MANIFEST_NAME, {"kind": "vectors", "passages": count, "model": encoder.place.fingerprint}
        )
        return cls.open([folder], encoder)

    @classmethod
    def open(cls, folders: Sequence[Path], encoder: Encoder) -> "VectorIndex":
        """Open the shards of an index.

        Raises:
            FinetrailError: a folder has no manifest: it was not made to its end.
        """
        for folder in folders:
            read_json(folder / MANIFEST_NAME)
        return cls(folders, encoder)

    def search(self, queries: Sequence[str], k: int) -> Iterator[list[Hit]]:
        """Yield the best `k` passages a query, best first, ties by passage id; the score is the cosine.

        Raises:
            FinetrailError: the vectors were made by a model of another width.
        """
        if not queries:
            return
        vectors = self._encoder.queries(queries)
        yield from (
            merge_hits(found, k) for found in zip(*(self._search(f, vectors, k) for f in self._folders), strict=True)
        )

    def _search(self, folder: Path, queries: "np.ndarray[Any, np.dtype[np.float32]]", k: int) -> list[list[Hit]]:
        import faiss

        index = faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC)
        if not index.ntotal:
            return [[] for _ in queries]
        if index.d != queries.shape[1]:
            raise FinetrailError(
                f"holds vectors of {index.d} numbers, and the model makes {queries.shape[1]}",
                where=str(folder), hint="Build the index with the model that encodes the queries",
            )  # fmt: skip
        ids = Texts.open(folder, "ids")
        found: list[list[Hit]] = []
        for start in range(0, len(queries), BLOCK):
            found += _best(index, ids, queries[start : start + BLOCK], k)
        return found


def _best(index: Any, ids: Texts, queries: "np.ndarray[Any, np.dtype[np.float32]]", k: int) -> list[list[Hit]]:
    """Search for a block of queries; where ties may reach beyond what was found, for more."""
    asked = min(k + MORE, index.ntotal)
    scores, places = index.search(queries, asked)
    hits = []
    for row in range(len(queries)):
        mine, where, wanted = scores[row], places[row], asked
        while wanted < index.ntotal and not is_settled(mine, k, wanted, SCORE_DIGITS):
            wanted = min(4 * wanted, index.ntotal)
            mine, where = (part[0] for part in index.search(queries[row : row + 1], wanted))
        hits.append(best_hits(ids, where, mine, k, SCORE_DIGITS))
    return hits
