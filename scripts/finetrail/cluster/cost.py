"""What a job will take, from the records of earlier ones: hours of GPUs before they are spent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

from finetrail.rows.artifacts import read_json

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Expected:
    """How long a job is expected to take, and why.

    Attributes:
        seconds: wall time; None where nothing like it has run.
        basis: what it was measured on.
    """

    seconds: float | None
    basis: str


class History:
    """The complete attempts that runs left under logs/; the latest one of each job counts."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        complete = [one for one in records if one["status"] == "complete" and one.get("outputs")]
        self._latest = {_name(one): one for one in sorted(complete, key=lambda one: str(one["ended"]))}

    @classmethod
    def read(cls, runs: Iterable[Path]) -> "History":
        """Read the records of runs."""
        return cls(read_json(path) for run in runs for path in sorted((run / "jobs").glob("*.json")))

    def expect(self, rule: str, recipe: str, outputs: Sequence[str]) -> Expected:
        """Say how long a job will take: as long as it took before, else as others of its rule took.

        Args:
            rule: its rule.
            recipe: its recipe.
            outputs: the files that it makes, which tell it from others of its rule.
        """
        same = next((self._latest[name] for name in outputs if name in self._latest), None)
        if same is not None:
            return Expected(seconds(same), f"this job on {same['ended'][:10]}{_rows(same)}")
        for words, others in (
            (f"of {recipe}", [one for one in self._latest.values() if (one["rule"], one["recipe"]) == (rule, recipe)]),
            ("of other recipes", [one for one in self._latest.values() if one["rule"] == rule]),
        ):
            if others:
                return Expected(mean(map(seconds, others)), f"mean of {len(others)} jobs {words}")
        return Expected(None, "nothing like it has run here: a pilot (`limit`) measures it")


def seconds(record: Mapping[str, Any]) -> float:
    """Return how long an attempt took."""
    started, ended = (datetime.strptime(record[name], "%Y-%m-%dT%H:%M:%SZ") for name in ("started", "ended"))
    return (ended - started).total_seconds()


def _name(record: Mapping[str, Any]) -> str:
    return str(record["outputs"][0]["path"])


def _rows(record: Mapping[str, Any]) -> str:
    rows = record.get("counts", {}).get("in")
    return f", {rows} rows" if rows else ""
