"""Put the shards of a step that asks a model together: one file, and one meta file as if one job had written it."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.calls.money import sum_totals
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import describe_file, read_json
from finetrail.rows.records import read_rows
from finetrail.rows.shards import Shard, merge_rows
from finetrail.step.step import Step

META_SUFFIX = ".meta.json"
AGAIN = "Remove the folder of the shards and run again: what was paid is kept"
# What a meta file holds besides what the job's record has from its start, and what the step itself says.
WRITTEN_AT_THE_END = {"inputs", "outputs", "counts", "llm", "shard", "tools", "progress"}
# What the merged meta file says of the job that wrote a shard.
KEPT = ("shard", "run", "host", "slurm_job", "started", "ended", "git", "tools", "outputs", "counts")


def merge_shards(step: Step, args: argparse.Namespace, key: str) -> None:
    """Write the rows of all shards in the order of the step's input, and the sums of what their meta files say.

    Args:
        step: the step, with the same arguments as its shards.
        args: its arguments; `shards` holds the shards' files and their meta files.
        key: what names, in a row that the step wrote, the input row that it was made of.

    Raises:
        FinetrailError: a shard is missing, was made of another input or with other settings, is not what its meta file
            says, or holds a row that is not in its place.
    """
    metas = read_metas([path for path in args.shards if path.name.endswith(META_SUFFIX)])
    inputs = [describe_file(path) for path in step.input_paths() if path.is_file()]
    for meta in metas.values():
        _check_origin(meta, step.journal.facts["parameters"], inputs)
    parts = {index: _checked_rows(meta) for index, meta in metas.items()}
    out = step.writer(args.out)
    for row in step.progress("rows").over(merge_rows(read_rows(args.rows), parts, key)):
        out.write(row)
    _count(step, [meta["counts"] for meta in metas.values()])
    step.facts |= _sums(step, list(metas.values()))
    step.facts["llm"] = sum_totals([meta["llm"] for meta in metas.values()])
    step.facts["shards"] = [{name: meta[name] for name in KEPT} for meta in metas.values()]


def read_metas(paths: Sequence[Path]) -> dict[int, dict[str, Any]]:
    """Read the meta files of all shards of a step, by the number of the shard.

    Raises:
        FinetrailError: one of them is missing.
    """
    metas: dict[int, dict[str, Any]] = {}
    for path in paths:
        meta = read_json(path)
        metas[Shard.parse(meta["shard"]).index] = meta | {"path": path}
    counts = {Shard.parse(meta["shard"]).count for meta in metas.values()}
    missing = sorted(set(range(1, max(counts, default=1) + 1)) - metas.keys())
    if missing or len(counts) > 1:
        among = ", ".join(str(path) for path in paths) or "no files"
        which = f"{missing[0]} of {max(counts, default=1)}" if missing else "of one count of shards"
        raise FinetrailError(f"the shard {which} is not among these", where=among, hint=AGAIN)
    return dict(sorted(metas.items()))


def _check_origin(meta: Mapping[str, Any], parameters: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> None:
    """Check that a shard was made as this job would make it, of the files that are there now."""
    for name in sorted(parameters.keys() | meta["parameters"].keys()):
        if meta["parameters"].get(name) != parameters.get(name):
            raise FinetrailError(f"this shard was made with another {name}", where=str(meta["path"]), hint=AGAIN)
    for entry in inputs:
        if entry not in meta["inputs"]:
            cause = f"this shard was made when {entry['path']} held other bytes"
            raise FinetrailError(cause, where=str(meta["path"]), hint=AGAIN)


def _checked_rows(meta: Mapping[str, Any]) -> Path:
    """Return the file of a shard's rows if it is what its meta file says."""
    (output,) = meta["outputs"]
    path = Path(output["path"])
    if not path.is_file() or describe_file(path)["sha256"] != output["sha256"]:
        cause = f"is not what {meta['path']} describes ({output['rows']} rows)"
        raise FinetrailError(cause, where=str(path), hint=AGAIN)
    return path


def _count(step: Step, counts: Sequence[Mapping[str, Any]]) -> None:
    dropped: Counter[str] = Counter()
    for one in counts:
        dropped.update(one["dropped"])
    sums = {name: sum(one[name] for one in counts) for name in ("in", "kept", "quarantined")}
    step.count(rows_in=sums["in"], kept=sums["kept"], dropped=dropped, quarantined=sums["quarantined"])


def _sums(step: Step, metas: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Sum what the step itself counted in each shard.

    Raises:
        FinetrailError: it wrote something that has no sum.
    """
    known = {*step.journal.facts, *WRITTEN_AT_THE_END, "path"}
    sums: dict[str, dict[str, int]] = {}
    for meta in metas:
        for name in meta.keys() - known:
            if not isinstance(meta[name], Mapping) or not all(isinstance(value, int) for value in meta[name].values()):
                hint = "This is a bug in the step: what it says of a shard must be counts"
                raise FinetrailError(f"{name} cannot be summed over shards", where=str(meta["path"]), hint=hint)
            sum_so_far = sums.setdefault(name, {})
            for item, value in meta[name].items():
                sum_so_far[item] = sum_so_far.get(item, 0) + value
    return dict(sorted(sums.items()))
