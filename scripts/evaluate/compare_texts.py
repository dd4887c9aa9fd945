"""Put what several models wrote about the same images side by side: a page, a table, and pictures of the scores."""

import argparse
import base64
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.metrics.likeness import likenesses
from finetrail.metrics.similarity import embedder_name
from finetrail.report.comparison_page import comparison_page
from finetrail.report.plots.series_picture import draw_distributions, draw_values
from finetrail.rows.records import read_rows
from finetrail.step.step import LOGGER, Step, add_input, add_output, run_step, step_parser
from finetrail.text.markdown_cell import cell
from finetrail.vision.image_size import TooManyPixels, describe_picture

SETTINGS = ("evaluate", "source.images")
ENVIRONMENT = "texts"


def data_url(path: Path) -> str:
    """Return an image as a data URL.

    Raises:
        FinetrailError: it cannot be read, or is of no kind that browsers show.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FinetrailError(f"the image cannot be read: {error.strerror}", where=str(path)) from error
    try:
        picture = describe_picture(content)
    except TooManyPixels as error:
        raise FinetrailError(f"the image is too large: {error}", where=str(path), hint="Make it smaller") from error
    if picture is None:
        raise FinetrailError("not a PNG, JPEG, GIF or WebP image", where=str(path), hint="Convert it")
    return f"data:{picture.kind};base64,{base64.b64encode(content).decode('ascii')}"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write page, table, scores and pictures."""
    settings: dict[str, Any] = step.settings["evaluate"]
    models = {path.parent.name: list(read_rows(path)) for path in args.predictions}
    first, *others = models.values()
    if any([row["id"] for row in rows] != [row["id"] for row in first] for rows in others):
        raise FinetrailError("the models wrote about different rows", hint="Make the predictions again")
    scores = {name: likenesses(rows, settings["embedding"]) for name, rows in models.items()}
    folder = Path(step.settings["source"]["images"])
    shown = [place for place, row in enumerate(first) if row["kind"] == "summary"] or list(range(len(first)))
    shown = shown[: settings["page_rows"]]
    rows = [
        {
            "image": data_url(folder / first[place]["image"]["path"]),
            "about": f"{first[place]['image']['path']}, named {first[place]['class']} by the classifier",
            "reference": first[place]["reference"],
            "answers": {
                f"{name} (cosine {scores[name][place]['matched']:.3f})": found[place]["answer"]
                for name, found in models.items()
            },
        }
        for place in shown
    ]
    notes = [
        f"{len(shown)} of {len(first)} rows, of records that no model was trained on.",
        f"Cosines are of embeddings by {embedder_name(settings['embedding'])}.",
    ]
    step.file(args.page).write_text(comparison_page(f"{step.recipe}: models side by side", notes, rows), "utf-8")
    head = ["image", "reference", *models]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for place in shown:
        texts = [
            first[place]["image"]["path"],
            first[place]["reference"],
            *(found[place]["answer"] for found in models.values()),
        ]
        lines.append("| " + " | ".join(cell(text) or "(nothing)" for text in texts) + " |")
    step.file(args.table).write_text("\n".join(lines) + "\n", encoding="utf-8")
    series = {name: [score["matched"] for score in found] for name, found in scores.items()}
    measure = "cosine with the reference"
    title = f"{step.recipe}: {measure}"
    draw_distributions(series, step.file(args.distribution), title=title, measure=measure, counted="rows")
    draw_values(series, step.file(args.per_sample), title=f"{title}, row by row", measure=measure)
    for place in shown[: settings["printed"]]:
        told = "\n".join(f"  {name}: {found[place]['answer']}" for name, found in models.items())
        LOGGER.info("%s\n  reference: %s\n%s", first[place]["id"], first[place]["reference"], told)
    step.count(rows_in=len(first), kept=len(first))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--predictions", "predictions of the models, in the order of the columns", nargs="+")
    add_output(parser, "--page", "index.html")
    add_output(parser, "--table", "table.md")
    add_output(parser, "--distribution", "distribution of the scores, as SVG")
    add_output(parser, "--per-sample", "score of every row, as SVG")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
