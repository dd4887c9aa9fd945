"""How like the texts of a model are to their references, and to those of other cases."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetrail.metrics.answer_overlap import token_f1
from finetrail.metrics.rouge import rouge
from finetrail.metrics.similarity import embed
from finetrail.rows.records import Row


def likenesses(rows: Sequence[Row], embedding: Mapping[str, Any] | None) -> list[Row]:
    """Return of each row how like its text is to its own reference, and the mean likeness to those of other cases.

    An answer that a model could not be asked for is not like its reference at all.
    """
    vectors = embed([row["answer"] for row in rows] + [row["reference"] for row in rows], embedding)
    own, wanted = vectors[: len(rows)], vectors[len(rows) :]
    every = own @ wanted.T
    found = []
    shared = rouge([(row["answer"], row["reference"]) for row in rows])
    for place, (row, grams) in enumerate(zip(rows, shared, strict=True)):
        others = [n for n, other in enumerate(rows) if other["group"] != row["group"] and other["kind"] == row["kind"]]
        mismatched = sum(float(every[place, number]) for number in others) / len(others) if others else None
        found.append(
            {
                "matched": 0.0 if "set_aside" in row and not row["answer"] else round(float(every[place, place]), 6),
                "mismatched": None if mismatched is None else round(mismatched, 6),
                "token_f1": round(token_f1(row["answer"], row["reference"]), 6),
                **grams,
                **{f"judged_{name}": score for name, score in row.get("judged", {}).items()},
            }
        )
    return found
