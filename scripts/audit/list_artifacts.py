"""List every artifact of a recipe with its hash, rule, parameters and inputs, taken from the meta files.

The step begins with the meta files that it is given, and follows their inputs back to the originals. It hashes each
file again: an artifact that no longer is what its meta file says is an error, by name. An input from outside the
recipe's folder that no listed step made is marked as original.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import MANIFEST_NAME, check_manifest, read_json, render_json
from finetrail.rows.records import sha256_file
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("description", "source.licence", "source.citation")

AGAIN = "Remove the file and run the workflow again"


def check_output(output: dict[str, Any], meta: Path) -> list[dict[str, Any]]:
    """Compare an output with its description; for a manifest also the files that it lists.

    Returns:
        The files that stand behind a manifest, with hashes.

    Raises:
        FinetrailError: a file is missing or has other bytes.
    """
    path = Path(output["path"])
    if not path.is_file():
        raise FinetrailError(f"is described in {meta} and not on disk", where=str(path), hint=AGAIN)
    if sha256_file(path) != output["sha256"]:
        raise FinetrailError(f"is not what {meta} describes", where=str(path), hint=AGAIN)
    if path.name != MANIFEST_NAME:
        return []
    files: list[dict[str, Any]] = check_manifest(path.parent, path)["files"]
    return [entry | {"path": (path.parent / entry["path"]).as_posix()} for entry in files]


class Makers:
    """The meta files of a recipe by the files that they describe.

    Args:
        given: those of the jobs that the workflow knows; they come first.
        folder: the recipe's; its other meta files, of earlier settings too, stand in for what none of these describes.
    """

    def __init__(self, given: Sequence[Path], folder: Path) -> None:
        self._folder = folder
        self._metas: dict[str, list[tuple[str, Path]]] = {}
        others = sorted({*folder.rglob("*.meta.json")} - {*given})
        for meta in (*given, *others):
            for output in _outputs(meta, must_be_read=meta in given):
                self._metas.setdefault(output["path"], []).append((output["sha256"], meta))

    def of(self, item: dict[str, Any], reader: Path) -> Path | None:
        """Return the meta file of the step that made an input; None of an original.

        Raises:
            FinetrailError: the file lies in the recipe's folder, and no meta file says how these bytes were made.
        """
        made = self._metas.get(item["path"], [])
        fitting = [meta for digest, meta in made if digest == item["sha256"]] or [meta for _, meta in made]
        if fitting:
            return fitting[0]
        if Path(item["path"]).is_relative_to(self._folder):
            cause = f"was read by the step of {reader}, and no meta file says how it was made"
            raise FinetrailError(cause, where=item["path"], hint=AGAIN)
        return None


def _outputs(meta: Path, *, must_be_read: bool) -> list[dict[str, Any]]:
    """Return what a meta file describes; nothing of a torn or foreign one that no job of the workflow wrote."""
    try:
        outputs: list[dict[str, Any]] = read_json(meta)["outputs"]
    except (FinetrailError, KeyError, TypeError):
        if must_be_read:
            raise
        return []
    return outputs


def walk(metas: Sequence[Path], folder: Path) -> list[Path]:
    """Return the given meta files, and those of all steps whose files they were made of, in order of their paths.

    Args:
        metas: where to begin.
        folder: the recipe's, which holds the others.

    Raises:
        FinetrailError: a meta file is missing.
    """
    makers, waiting, found = Makers(metas, folder), [*metas], set(metas)
    while waiting:
        meta = waiting.pop()
        makers_of_inputs = {maker for item in read_json(meta)["inputs"] if (maker := makers.of(item, meta))}
        waiting += makers_of_inputs - found
        found |= makers_of_inputs
    return sorted(found)


def describe(meta: Path) -> list[dict[str, Any]]:
    """Return one entry an artifact of a step."""
    record = read_json(meta)
    shared = {
        "rule": record["rule"],
        "parameters": record["parameters"],
        "inputs": record["inputs"],
        "counts": record["counts"],
        "git": record["git"],
        "tools": record["tools"],
        "made_at": record["ended"],
        "meta": meta.as_posix(),
    }
    entries = []
    for output in record["outputs"]:
        files = check_output(output, meta)
        entries.append(output | shared | ({"files": files} if files else {}))
    return entries


def mark_origins(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say of each input which rule made it, and whether its bytes are still those of the listed artifact.

    Raises:
        FinetrailError: a step read other bytes than the artifact now has.
    """
    made = {entry["path"]: entry for entry in entries}
    for entry in entries:
        marked = []
        for item in entry["inputs"]:
            maker = made.get(item["path"])
            if maker and maker["sha256"] != item["sha256"]:
                raise FinetrailError(
                    f"{entry['rule']} read other bytes than the file now has", where=item["path"], hint=AGAIN
                )
            marked.append(item | {"made_by": maker["rule"] if maker else None, "original": maker is None})
        entry["inputs"] = marked
    return entries


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the list."""
    metas = walk(args.metas, args.out.parent.parent)
    entries = [entry for meta in step.progress("steps", len(metas)).over(metas) for entry in describe(meta)]
    listed = mark_origins(sorted(entries, key=lambda entry: str(entry["path"])))
    originals = {item["path"]: item["sha256"] for entry in listed for item in entry["inputs"] if item["original"]}
    content = {
        "recipe": step.recipe,
        "description": step.settings["description"],
        "source": step.settings["source"],
        "originals": [{"path": path, "sha256": digest} for path, digest in sorted(originals.items())],
        "artifacts": listed,
    }
    step.file(args.out).write_text(render_json(content), encoding="utf-8")
    step.count(rows_in=len(listed), kept=len(listed))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--metas", "meta files to begin with; those of all that led to them are found", nargs="+")
    add_output(parser, "--out", "files.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
