"""Score predictions in the official format of HotpotQA; stands alone.

    python scripts/evaluate/score_hotpotqa.py --predictions pred.json --gold hotpot_dev_distractor_v1.json \\
        --out scores.json

The prediction file is {"answer": {id: text}, "sp": {id: [[title, sentence number], ...]}}; the gold file is the
official JSON list, or the same rows as JSON Lines. A question without a prediction adds 0.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.metrics.hop_score import Scored, average, check_gold, check_prediction, score_question
from finetrail.rows.artifacts import read_json, write_json
from finetrail.rows.json_array import read_objects
from finetrail.rows.problems import Problems
from finetrail.rows.records import Row

HINT = "A gold row has `_id`, `answer` and `supporting_facts`; the official test set has none of the last two"


def gold_rows(path: Path) -> Iterator[Row]:
    """Stream the gold rows.

    Raises:
        FinetrailError: after the last row, if any is bad or there is none; it lists them all (20 in full).
    """
    problems = Problems("gold rows")
    for line in read_objects(path, problems):
        if causes := check_gold(line.row):
            problems.add(line.where, "; ".join(causes))
        else:
            yield line.row
    problems.raise_any(HINT)


def score(prediction: Any, predictions: Path, gold: Path) -> dict[str, Any]:
    """Return the twelve official figures, those of each type and level, and what had no prediction.

    Raises:
        FinetrailError: one of the files cannot be scored.
    """
    answers, facts = check_prediction(prediction, str(predictions))
    scored: list[Scored] = []
    kinds: dict[tuple[str, str], list[Scored]] = {}
    missing: dict[str, list[str]] = {"answer": [], "sp": []}
    known: set[str] = set()
    for row in gold_rows(gold):
        one = score_question(row, answers, facts)
        scored.append(one)
        known.add(row["_id"])
        for key in ("type", "level"):
            if isinstance(row.get(key), str):
                kinds.setdefault((f"by_{key}", row[key]), []).append(one)
        for part, table in (("answer", answers), ("sp", facts)):
            if row["_id"] not in table:
                missing[part].append(row["_id"])
    return {
        "questions": len(scored),
        "metrics": average(scored),
        **grouped(kinds),
        "missing": missing,
        "predicted_and_not_asked": sorted((answers.keys() | facts.keys()) - known),
    }


def grouped(kinds: Mapping[tuple[str, str], list[Scored]]) -> dict[str, Any]:
    """Return the figures of each type and each level."""
    table: dict[str, Any] = {}
    for (key, value), scored in sorted(kinds.items()):
        table.setdefault(key, {})[value] = {"questions": len(scored)} | average(scored)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path, required=True, help="predictions in the official format")
    parser.add_argument("--gold", type=Path, required=True, help="the official rows, a JSON list or JSON Lines")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the scores")
    args = parser.parse_args(argv)
    try:
        scores = score(read_json(args.predictions), args.predictions, args.gold)
        write_json(args.out, scores)
    except (FinetrailError, OSError) as error:
        print(f"score_hotpotqa: {error}", file=sys.stderr)
        return 1
    for name, value in scores["metrics"].items():
        print(f"{name:14}{value:.6f}")
    for part, names in scores["missing"].items():
        if names:
            print(f"{len(names)} of {scores['questions']} questions have no `{part}` and add 0: {names[0]}, ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
