"""Write the data card of a fold: what its files hold, for people who decide whether to train on them."""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row, read_rows, sha256_text
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.text.markdown_cell import cell

SETTINGS = ("description", "source.licence", "source.citation")

FILES = ("train", "eval", "test")
EXAMPLES = 2
MOST_SHOWN = 600
MOST_SOURCES = 15
PERCENTS = (0, 5, 50, 95, 100)
LINE_STARTS = re.compile(r"^", re.M)


class Sheet:
    """What a file of the fold holds: words of prompts and answers, sources, kinds, scores, and a few examples."""

    def __init__(self) -> None:
        self.lengths: dict[str, list[int]] = {"prompt": [], "answer": []}
        self.kinds: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self.scores: dict[str, list[float]] = {}
        self._examples: list[tuple[str, Row]] = []

    def add(self, row: Row) -> None:
        """Count a row."""
        *prompt, answer = row["messages"]
        self.lengths["prompt"].append(sum(len(message["content"].split()) for message in prompt))
        self.lengths["answer"].append(len(answer["content"].split()))
        self.kinds[row["kind"]] += 1
        self.records[row["record_id"]] += 1
        for name, value in row.get("scores", {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.scores.setdefault(name, []).append(float(value))
        self._examples = sorted([*self._examples, (sha256_text(row["id"]), row)], key=lambda pair: pair[0])[:EXAMPLES]

    @property
    def examples(self) -> list[Row]:
        """A few rows, chosen by a hash of their ids."""
        return [row for _, row in self._examples]


def read_sheet(path: Path) -> Sheet:
    """Go through a file of the fold."""
    sheet = Sheet()
    for row in read_rows(path):
        sheet.add(row)
    return sheet


def read_sources(path: Path) -> dict[str, str]:
    """Return record id → the document or file that it comes from."""
    return {row["id"]: source_of(row) for row in read_rows(path)}


def source_of(row: Row) -> str:
    """Return the document or, where there is none, the file that a record comes from."""
    document = row.get("group_keys", {}).get("document")
    return str(document or row.get("origin", {}).get("file") or "unknown")


def percentiles(values: Sequence[float]) -> list[str]:
    """Return minimum, 5 %, median, 95 % and maximum (nearest rank)."""
    ordered = sorted(values)
    return [f"{ordered[round(percent / 100 * (len(ordered) - 1))]:g}" for percent in PERCENTS] if ordered else []


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Render a Markdown table; cells are data, so that nothing in them is markup."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def quoted(text: str) -> str:
    """Show a text as an indented block, in which nothing is markup; a long one is cut."""
    shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} … ({len(text)} characters)"
    visible = "".join(sign if sign.isprintable() or sign == "\n" else f"\\u{ord(sign):04x}" for sign in shown)
    return LINE_STARTS.sub("    ", visible)


def lengths_table(sheets: Mapping[str, Sheet]) -> str:
    """Show how long prompts and answers are."""
    rows = [
        [name, part, *percentiles(values)] for name, sheet in sheets.items() for part, values in sheet.lengths.items()
    ]
    return table(["file", "words of", "least", "5 %", "median", "95 %", "most"], [row for row in rows if len(row) > 2])


def scores_table(sheets: Mapping[str, Sheet]) -> str:
    """Show how the rows were scored; a note where they were not."""
    rows: list[list[object]] = []
    for name, sheet in sheets.items():
        for score, values in sorted(sheet.scores.items()):
            rows.append([name, score, len(values), f"{sum(values) / len(values):.2f}", *percentiles(values)])
    head = ["file", "score", "rows", "mean", "least", "5 %", "median", "95 %", "most"]
    return table(head, rows) if rows else "The rows carry no scores."


def sources_table(sheets: Mapping[str, Sheet], sources: Mapping[str, str]) -> str:
    """Show how many rows of each file come from each source, the largest sources first."""
    counts: dict[str, Counter[str]] = {}
    for name, sheet in sheets.items():
        for record, number in sheet.records.items():
            counts.setdefault(sources.get(record, "unknown"), Counter())[name] += number
    ordered = sorted(counts, key=lambda source: (-counts[source].total(), source))
    rows = [[source, *(counts[source][name] for name in sheets)] for source in ordered[:MOST_SOURCES]]
    left = ordered[MOST_SOURCES:]
    if left:
        rows.append([f"{len(left)} more", *(sum(counts[source][name] for source in left) for name in sheets)])
    return table(["source", *sheets], rows)


def examples_text(sheets: Mapping[str, Sheet]) -> str:
    """Show a few rows of each file."""
    parts: list[str] = []
    for name, sheet in sheets.items():
        for row in sheet.examples:
            parts.append(f"### {name}: {cell(row['id'])}")
            parts += [f"{message['role']}:\n\n{quoted(message['content'])}" for message in row["messages"]]
    return "\n\n".join(parts)


def separation_text(report: Row) -> str:
    """Say what the report proves, and what was left out."""
    proof, contamination = report["proof"], report["contamination"]
    held_out = contamination["held_out"]
    lines = [
        f"- {proof['groups']} groups; records that straddle splits: {proof['straddling']}; "
        f"withheld: {proof['withheld']}",
        f"- train rows that share {contamination['run_words']} words in a row with held-out texts: "
        f"{contamination['train_rows_sharing_a_run']}, left out: {contamination['dropped']}",
        f"- held-out texts of which half or more lies in train, by {held_out['covered_by_words']} words in a row: "
        f"{held_out['covered_by_half']} of {held_out['rows']}",
    ]
    if report["duplicates"] is not None:
        lines.append("- left out as " + ", ".join(f"{name}: {count}" for name, count in report["duplicates"].items()))
    return "\n".join(lines)


def card(fold: str, settings: Mapping[str, Any], sheets: Mapping[str, Sheet], report: Row, sources: Row) -> str:
    """Render the card."""
    terms = [f"Licence of the original records: {cell(settings['source']['licence'])}."]
    if citation := settings["source"]["citation"]:
        terms.append(f"Cite: {cell(citation)}.")
    counts = [
        [name, sheet.kinds.total(), len(sheet.records), report[name]["groups"], _kinds(sheet.kinds)]
        for name, sheet in sheets.items()
    ]
    parts = [
        f"# Data card of fold {fold}",
        cell(settings["description"]),
        " ".join(terms),
        "## Counts",
        table(["file", "rows", "records", "groups", "kinds"], counts),
        "## Lengths",
        lengths_table(sheets),
        "## Sources",
        sources_table(sheets, sources),
        "## Scores",
        scores_table(sheets),
        "## Separation",
        separation_text(report),
        "## Examples",
        examples_text(sheets),
    ]
    return "\n\n".join(parts) + "\n"


def _kinds(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the card."""
    sheets = {name: read_sheet(getattr(args, name)) for name in FILES}
    rows = sum(sheet.kinds.total() for sheet in sheets.values())
    text = card(args.fold, step.settings, sheets, read_json(args.report), read_sources(args.records))
    step.file(args.out).write_text(text, encoding="utf-8")
    step.count(rows_in=rows, kept=rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--fold", default="fold0", help="name of the fold")
    add_input(parser, "--train", "train.jsonl of the fold")
    add_input(parser, "--eval", "eval.jsonl of the fold")
    add_input(parser, "--test", "test.jsonl of the fold")
    add_input(parser, "--report", "report.json of the fold")
    add_input(parser, "--records", "records.jsonl, for the sources")
    add_output(parser, "--out", "card.md")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
