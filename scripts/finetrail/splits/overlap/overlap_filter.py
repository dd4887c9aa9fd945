"""What a fold's train file leaves out: near-duplicates of earlier examples, and what overlaps with held-out texts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import tee
from typing import Any

from finetrail.chat.student_tasks import task_of
from finetrail.rows.records import Row
from finetrail.splits.overlap.contamination import COVERED, LONG, SHORT, HeldOut, Text
from finetrail.splits.overlap.near_duplicates import NearTexts
from finetrail.splits.overlap.row_text import row_text
from finetrail.step.step import RowWriter

SHOWN = 20
DUPLICATE, NEAR_DUPLICATE, CONTAMINATED = "duplicate", "near_duplicate", "contaminated"


class Screen:
    """Lets examples through, and lists those that it does not, each with its reason.

    Args:
        settings: of the section `folds`.
        held_out: the texts that training must not have seen.
        dropped: where the others are listed.
    """

    def __init__(self, settings: Mapping[str, Any], held_out: HeldOut, dropped: RowWriter) -> None:
        self._alike: Mapping[str, Any] | None = settings["duplicates"]
        self._drops: bool = settings["contamination"] == "drop"
        self._held_out = held_out
        self._dropped = dropped
        self._hits: list[Row] = []
        self._hit_rows = 0
        self.reasons: Counter[str] = Counter()

    def passed(self, examples: Callable[[], Iterable[Row]]) -> Iterator[Row]:
        """Yield the examples that are to be trained on, in their order.

        Args:
            examples: gives them all, each time that it is called.
        """
        yield from self._clean(self._distinct(examples))

    def _drop(self, row: Row, reason: str, **why: object) -> None:
        self.reasons[reason] += 1
        record = row.get("record_id", row["id"])
        self._dropped.write({"id": row["id"], "record_id": record, "reason": reason, **why})

    def _distinct(self, examples: Callable[[], Iterable[Row]]) -> Iterator[Row]:
        """Keep the first of near-duplicates of one task and image; each loser names the kept example it is like."""
        if self._alike is None:
            yield from examples()
            return
        near = NearTexts.of(map(row_text, examples()), self._alike)
        winners: list[str | None] = []
        places: list[tuple[str | None, str | None]] = []
        for place, row in enumerate(examples()):
            places.append((task_of(row), (row.get("image") or {}).get("sha256")))
            others = (other for other in near.earlier(place) if places[other] == places[place])
            matches = (near.match(place, other) for other in others if winners[other] is not None)
            match = next((found for found in matches if found), None)
            winners.append(None if match else row["id"])
            if match is None:
                yield row
            else:
                reason = DUPLICATE if near.text(place) == near.text(match.place) else NEAR_DUPLICATE
                self._drop(row, reason, winner=winners[match.place], jaccard=round(match.similarity, 6))

    def _clean(self, rows: Iterable[Row]) -> Iterator[Row]:
        rows, again = tee(rows)
        hits = self._held_out.hits(Text(row["id"], row_text(row)) for row in again)
        for row, hit in zip(rows, hits, strict=True):
            if hit is not None:
                self._hit_rows += 1
                found = {"held_out": hit.other, "run": hit.run}
                if len(self._hits) < SHOWN:
                    self._hits.append({"id": row["id"], **found})
                if self._drops:
                    self._drop(row, CONTAMINATED, **found)
                    continue
            yield row

    def report(self) -> Row:
        """Return what was found; the coverage is by the examples before contaminated ones were left out."""
        covered = self._held_out.covered()
        half = [name for name, share in covered.items() if share >= COVERED]
        return {
            "duplicates": {name: self.reasons[name] for name in (DUPLICATE, NEAR_DUPLICATE)} if self._alike else None,
            "contamination": {
                "train_rows_sharing_a_run": self._hit_rows,
                "run_words": LONG,
                "dropped": self.reasons[CONTAMINATED],
                "first": self._hits,
                "held_out": {
                    "rows": len(self._held_out.names),
                    f"shorter_than_{LONG}_words": self._held_out.short[LONG],
                    "covered_by_half": len(half),
                    "covered_by_words": SHORT,
                    "by_source": dict(sorted(Counter(name.partition(":")[0] for name in half).items())),
                    "first": {name: covered[name] for name in sorted(half, key=lambda n: (-covered[n], n))[:SHOWN]},
                },
            },
        }
