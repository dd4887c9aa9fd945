"""List every artifact of a recipe with its hash, rule, parameters and inputs, taken from the meta files.

Each file is hashed again: an artifact that no longer is what its meta file says is an error, by name. An input that
no listed step made is marked as original.
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
    entries = [entry for meta in step.progress("steps", len(args.metas)).over(args.metas) for entry in describe(meta)]
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
    add_input(parser, "--metas", "the meta files of the recipe", nargs="+")
    add_output(parser, "--out", "files.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
