"""Whether a call store is as it was written: every record, every index, and who wins where answers differ."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.found_call import FoundCall
from finetrail.calls.index import SUFFIX as INDEX_SUFFIX
from finetrail.calls.index import Columns, Entry, MergedIndex, columns_of, is_outdated, read_index
from finetrail.calls.ownership import Ownership, read_ownership
from finetrail.calls.rivals import CHOICE_SUFFIX, chosen
from finetrail.calls.segment import SUFFIX, UNUSABLE, decode, disproof, scan

OF_THE_STORE = {SUFFIX, INDEX_SUFFIX, CHOICE_SUFFIX}


@dataclass
class StoreReport:
    """What `verify_folder` found.

    `torn` names segments whose writer was killed (harmless), `damaged` whatever is not as it was written, `foreign`
    segments that were brought from elsewhere, `strangers` files that are none of a store's, `conflicts` keys with
    several answers: the one that is used, then the others.
    """

    segments: int = 0
    calls: int = 0
    torn: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def verify_folder(folder: Path) -> StoreReport:
    """Read every record and recompute its check sum, its key and its answer's hash."""
    report = StoreReport()
    owner = read_ownership(folder)
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    parts: list[tuple[int, Columns]] = []
    for number, path in enumerate(paths):
        report.segments += 1
        report.foreign += [] if owner.owns(path) else [path.name]
        parts.append((number, _verified(path, report)))
    report.strangers += sorted(path.name for path in folder.iterdir() if path.suffix not in OF_THE_STORE)
    report.conflicts += _conflicts(folder, paths, MergedIndex(parts), owner)
    return report


def _verified(path: Path, report: StoreReport) -> Columns:
    """Check a segment and its index, and return the places of its whole records."""
    found = []
    with path.open("rb") as stream:
        for item in scan(path):
            where = f"{path.name}: byte {item.offset}"
            if item.torn:
                report.torn.append(where)
                continue
            if item.key is None:
                report.damaged.append(f"{where}: the check sum does not fit")
                continue
            stream.seek(item.offset)
            try:
                wrong = disproof(decode(stream.read(item.length)))
            except ValueError as error:
                wrong = f"is no record: {error}"
            if wrong is not None:
                report.damaged.append(f"{where}: it {wrong}")
                continue
            found.append(Entry.of(item.key, item.offset, item.length))
            report.calls += 1
    _verify_index(path, found, report)
    return columns_of(found, 0)


def _verify_index(path: Path, found: list[Entry], report: StoreReport) -> None:
    indexed = read_index(path)
    if indexed is None and path.with_suffix(INDEX_SUFFIX).exists() and not is_outdated(path):
        report.damaged.append(f"{path.name}: it is shorter than its index says, or its index is broken")
    if indexed is not None:
        entries = [Entry(*e) for e in zip(*(c.tolist() for c in indexed[:3]), strict=True)]
        covered = [entry for entry in found if entry.offset + entry.length <= indexed.covered]
        if entries != sorted(covered):
            report.damaged.append(f"{path.name}: its index does not fit it; delete the {INDEX_SUFFIX} file")


def _conflicts(folder: Path, paths: list[Path], index: MergedIndex, owner: Ownership) -> Iterator[str]:
    """Describe the keys with several answers, in the order in which readers prefer them."""
    import numpy as np

    prefixes, counts = np.unique(index.prefixes, return_counts=True)
    for prefix in prefixes[counts > 1].tolist():
        by_key: dict[str, dict[str, FoundCall]] = {}
        for number, offset, length in index.find(f"{prefix:016x}"):
            found = _read(paths[number], offset, length, owner)
            answers = by_key.setdefault(found.call.key, {})
            same = answers.get(found.call.answer_sha256, found)
            answers[found.call.answer_sha256] = min(same, found, key=FoundCall.rank)
        for key, answers in by_key.items():
            if len(answers) > 1:
                used, *others = sorted(answers.values(), key=partial(FoundCall.rank, choice=chosen(folder, key)))
                yield _described(key, used, others)


def _read(path: Path, offset: int, length: int, owner: Ownership) -> FoundCall:
    with path.open("rb") as stream:
        stream.seek(offset)
        return FoundCall(decode(stream.read(length)), owner.owns(path), f"{path.name} byte {offset}")


def _described(key: str, used: FoundCall, others: list[FoundCall]) -> str:
    def place(one: FoundCall) -> str:
        notes = ["of no use"] if UNUSABLE in one.call.answer else []
        notes += [] if one.is_own else ["from elsewhere"]
        return f"{one.where}{' (' + ', '.join(notes) + ')' if notes else ''}"

    row = Cleaner().message(used.call.paid.get("row"))
    return f"key {key[:12]}, row {row}: used is {place(used)}; beside it {', '.join(map(place, others))}"
