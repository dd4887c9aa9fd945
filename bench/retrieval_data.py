"""The passages and queries of the retrieval bench: real sentences of the bundled corpus, and its real queries."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from finetrail.retrieval.judgements import read_queries
from finetrail.text.chunks import sentence_spans

DATA = Path(__file__).parents[1] / "data" / "crag_mm"
FORMS = ("rewrite", "lastturn")
SENTENCES = 5


def bundled() -> list[dict[str, str]]:
    """Return the bundled passages."""
    lines = (DATA / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{"id": row["_id"], "title": row.get("title") or "", "text": row["text"], "url": ""} for row in rows]


def questions() -> list[str]:
    """Return the bundled queries, 402 of them."""
    return [text for form in FORMS for text in read_queries(DATA / f"queries_{form}.jsonl", ["|user|:"]).values()]


def passages(count: int) -> Iterator[dict[str, str]]:
    """Make passages of five sentences each, drawn from all, every tenth word exchanged for a rare one.

    The words are drawn from 200,000 made-up ones by Zipf's law, so that the vocabulary grows as that of real text does.
    """
    rng = random.Random(7)
    sentences = [
        row["text"][start:end].split()
        for row in bundled()
        for start, end in sentence_spans(row["text"], 0, len(row["text"]))
    ]
    for number in range(count):
        drawn = [word for words in rng.choices(sentences, k=SENTENCES) for word in words]
        for place in range(0, len(drawn), 10):
            drawn[place] = f"w{int(200_000 ** rng.random()):x}"
        yield {"id": f"p{number:07}", "title": "", "text": " ".join(drawn), "url": ""}


def write(path: Path, count: int) -> None:
    """Write the passages to a file."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in passages(count))
