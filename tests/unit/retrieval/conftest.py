"""The bundled government passages, queries and relevance judgements."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from finetrail.retrieval.passages import read_passages

SCRIPTS = Path(__file__).parents[3] / "scripts"
FOLDER = Path(__file__).parents[3] / "data/crag_mm"


@pytest.fixture(scope="session")
def corpus() -> list[dict[str, Any]]:
    return list(read_passages([FOLDER / "corpus.jsonl"], []))


@pytest.fixture(scope="session")
def queries() -> dict[str, dict[str, str]]:
    """Form of the query (rewrite, lastturn) -> query id -> text."""
    return {name: read_queries(name) for name in ("rewrite", "lastturn")}


def read_queries(name: str) -> dict[str, str]:
    rows = map(json.loads, (FOLDER / f"queries_{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["_id"]: row["text"].replace("|user|:", " ") for row in rows}


@pytest.fixture(scope="session")
def relevance() -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = defaultdict(dict)
    with (FOLDER / "qrels/dev.tsv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            table[row["query-id"]][row["corpus-id"]] = int(row["score"])
    return table
