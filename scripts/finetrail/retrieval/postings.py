"""An inverted index: how often each word occurs in which passage. BM25 and TF-IDF weigh the same counts.

It is built a shard at a time, and read memory-mapped; no text is kept. Words and passages stand in sorted order, so
that an index does not depend on the order of its corpus, and the places of passages sort as their ids do.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from finetrail.retrieval.search_index import Passage, passage_text
from finetrail.retrieval.search_words import words
from finetrail.retrieval.texts import Texts
from finetrail.rows.artifacts import MANIFEST_NAME, read_json

if TYPE_CHECKING:
    import numpy as np

    Ints = np.ndarray[Any, np.dtype[np.integer[Any]]]

ARRAYS = ("starts", "passages", "counts", "lengths")


class Postings(NamedTuple):
    """The counts of one shard.

    Attributes:
        ids: passage ids, sorted.
        words: all words, sorted.
        starts: int64 [words + 1]: where the entries of each word begin.
        passages: int32 [entries]: place of the passage, rising within a word.
        counts: int32 [entries]: how often the word is in it.
        lengths: int32 [passages]: words of each passage.
    """

    ids: Texts
    words: Texts
    starts: "Ints"
    passages: "Ints"
    counts: "Ints"
    lengths: "Ints"

    def entries(self, word: int) -> slice:
        """Return where the entries of a word stand."""
        return slice(int(self.starts[word]), int(self.starts[word + 1]))

    def save(self, folder: Path) -> None:
        """Write the files that `open_postings` reads."""
        import numpy as np

        self.ids.save(folder, "ids")
        self.words.save(folder, "words")
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))


def open_postings(folder: Path) -> Postings:
    """Map the files of a shard.

    Raises:
        FinetrailError: the folder has no manifest: it was not made to its end.
    """
    import numpy as np

    read_json(folder / MANIFEST_NAME)
    arrays = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    return Postings(Texts.open(folder, "ids"), Texts.open(folder, "words"), *arrays)


def count_words(passages: Iterable[Passage]) -> Postings:
    """Count the words of title and text of a stream of passages; of their texts one is held at a time."""
    import numpy as np
    from scipy.sparse import csr_matrix

    ids: list[str] = []
    known: dict[str, int] = {}
    columns, counts, ends, lengths = array("i"), array("i"), array("q", [0]), array("i")
    for passage in passages:
        ids.append(passage["id"])
        found = Counter(words(passage_text(passage)))
        columns.extend([known.setdefault(word, len(known)) for word in found])
        counts.extend(found.values())
        ends.append(len(columns))
        lengths.append(found.total())
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    vocabulary = sorted(known)
    place = np.empty(len(known), dtype=np.int32)
    place[[known[word] for word in vocabulary]] = np.arange(len(known), dtype=np.int32)
    rows = csr_matrix(
        (_numbers(counts), place[_numbers(columns)], np.frombuffer(ends, dtype=np.int64)),
        shape=(len(ids), len(known)),
    )
    table = rows[order].tocsc() if len(ids) else rows.tocsc()
    table.sort_indices()
    names, vocabulary_texts = Texts.of([ids[number] for number in order]), Texts.of(vocabulary)
    sizes = _numbers(lengths)[order]
    return Postings(names, vocabulary_texts, table.indptr.astype(np.int64), table.indices, table.data, sizes)


def _numbers(values: "array[int]") -> "Ints":
    import numpy as np

    return np.frombuffer(values, dtype=np.int32) if len(values) else np.zeros(0, dtype=np.int32)


class Corpus:
    """The shards of a corpus, and what holds of all of them together.

    Attributes:
        shards: the counts of each; a shard may be empty.
        passages: number of passages.
        mean_length: words a passage.
    """

    def __init__(self, shards: Sequence[Postings]) -> None:
        self.shards = shards
        self.passages = sum(len(shard.ids) for shard in shards)
        total = sum(int(shard.lengths.sum(dtype="int64")) for shard in shards)
        self.mean_length = total / self.passages if self.passages else 0.0

    def frequencies(self, shard: Postings) -> "Ints":
        """Return in how many passages of the whole corpus each word of a shard occurs, int64 [words]."""
        import numpy as np

        if len(self.shards) == 1:
            return np.diff(shard.starts)
        known = {word: place for place, word in enumerate(shard.words)}
        total = np.zeros(len(known), dtype=np.int64)
        for other in self.shards:
            sizes = np.diff(other.starts)
            shared = [(known[word], number) for number, word in enumerate(other.words) if word in known]
            if shared:
                places, numbers = np.array(shared).T
                total[places] += sizes[numbers]
        return total
