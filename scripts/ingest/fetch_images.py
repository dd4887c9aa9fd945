"""Fetch the images that original records name by address or hold themselves, check them, and keep them by content.

Nothing of a stranger's is trusted: http and https only, no address of the inner network, bounded time, bytes and
pixels, and an image must decode. What cannot be had is listed with its reason; ingest decides about its record.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetrail.config.current import current_run, operation_key
from finetrail.config.job_memory import processes_within
from finetrail.isolated import Workers
from finetrail.rows.records import Row, read_jsonl, sha256_text
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.vision.check_image import BadImage, check_within, image_bounds
from finetrail.vision.row_images import fetched_folder
from finetrail.web.fetch import PageLimits
from finetrail.web.image_downloads import ImageGetter, ImageStore, embedded_bytes, writable
from ingest.readers.images import EMBEDDED

SETTINGS = ("source.fetch", "source.images")
ENVIRONMENT = "data"

PASSED_ON = ("timeout_s", "max_redirects", "max_concurrency", "allow_private")


class Wanted:
    """The images of the original records, each once: addresses, images within records, and local files."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self.seen: set[str] = set()

    def each(self, kind: str) -> Iterator[str]:
        """Yield the images of one kind: ``url``, ``embedded`` or ``path``."""
        for path in self._files:
            for line in read_jsonl(path):
                for field in ("image", "image_url"):
                    value = line.row.get(field)
                    if isinstance(value, str) and value and kind_of(field, value) == kind and self._is_new(value):
                        yield value

    def _is_new(self, value: str) -> bool:
        name = sha256_text(value)
        is_new = name not in self.seen
        self.seen.add(name)
        return is_new


def kind_of(field: str, value: str) -> str:
    """Tell an image within a record, an address and a local file apart."""
    if value.startswith(EMBEDDED):
        return "embedded"
    return "url" if field == "image_url" else "path"


def embedded_images(texts: Iterator[str], store: ImageStore, settings: Row) -> Iterator[Row]:
    """Keep the images that records hold."""
    for text in texts:
        name = {"name": f"embedded:{sha256_text(text)}"}
        try:
            yield name | store.keep(embedded_bytes(text, settings["max_bytes"]))
        except BadImage as error:
            yield name | {"reason": str(error)}


def bad_local_images(names: Iterator[str], folder: Path | None, store: ImageStore, settings: Row) -> Iterator[Row]:
    """Yield the local images that cannot be used; the reader names those that are missing."""
    for name in names:
        path = Path(folder or ".", name)
        try:
            if not path.is_file():
                continue
            if path.stat().st_size > settings["max_bytes"]:
                raise BadImage(f"it is larger than {settings['max_bytes']:,} bytes")
            store.check(path.read_bytes())
        except (BadImage, OSError, ValueError) as error:  # a path may hold what no path can
            yield {"name": f"path:{writable(name)}", "reason": writable(str(error))}


def outcomes(step: Step, args: argparse.Namespace, getter: ImageGetter, store: ImageStore) -> Iterator[Row]:
    """Yield what became of each image that is not simply a good local file."""
    settings: dict[str, Any] = step.settings["source"]["fetch"]
    wanted = Wanted(args.files)
    folder = step.settings["source"]["images"]
    for url, found in step.progress("images").over(getter.get(wanted.each("url"))):
        yield {"name": f"url:{writable(url)}"} | found
    yield from embedded_images(wanted.each("embedded"), store, settings)
    yield from bad_local_images(wanted.each("path"), Path(folder) if folder else None, store, settings)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the images that are there, and those that failed."""
    settings: dict[str, Any] = step.settings["source"]["fetch"]
    operation = {name: operation_key(step.recipe, f"source.fetch.{name}") for name in PASSED_ON}
    bounds = image_bounds(settings["max_pixels"], operation["timeout_s"])
    count = processes_within(step.rule, bounds.memory_bytes, args.processes)
    out, failed = step.writer(args.out, may_be_empty=True), step.writer(args.failed, may_be_empty=True)
    with Workers(count, check_within, bounds, (BadImage,)) as checkers:
        store = ImageStore(fetched_folder(), checkers, settings["max_pixels"])
        getter = ImageGetter(
            store,
            PageLimits(max_bytes=settings["max_bytes"], **operation),
            max_retries=operation_key(step.recipe, "source.fetch.max_retries"),
            refresh=operation_key(step.recipe, "source.fetch.refresh"),
            offline=current_run()["llm"]["mode"] == "replay",
        )
        for row in outcomes(step, args, getter, store):
            if reason := row.get("reason"):
                failed.write({"name": row["name"], "reason": reason})
            else:
                out.write({name: row[name] for name in ("name", "path", "sha256", "width", "height", "changed")})
    step.facts["images"] = {"kept": out.count, "failed": failed.count, "asked_for": getter.asked}
    step.count(rows_in=out.count + failed.count, kept=out.count, dropped={"could not be had": failed.count})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--files", "the original files", nargs="+")
    parser.add_argument("--processes", type=int, default=1, help="processes that check images, as far as memory allows")
    add_output(parser, "--out", "images.jsonl")
    add_output(parser, "--failed", "images.failed.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
