"""Choose which judged answer versions become training examples, and which questions become refusals.

Everything that is not chosen is returned with its reason: versions in = kept + dropped, and
records in = answered + refused + dropped.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, sha256_text
from finetrail.text.equal import normalise

Keep = Literal["all", "best"]

NOT_CORRECT = "judged not correct"
BROKEN = "cut at its greatest length, before its first sentence was whole"
REPEATED = "the same answer to the same record"
REPEATED_ELSEWHERE = "the same answer to the same question of another record"
NOT_BEST = "another version of the record was kept"
REFUSED = "the question became a refusal"
REFUSED_ELSEWHERE = "the same question of another record became the refusal"
NO_VERSION = "the record has no judged version"
NO_CORRECT = "no version is correct and the refusals are full"
ALL_ELSEWHERE = "every correct answer is kept for another record"


class Drop(NamedTuple):
    """Something that was not kept; `winner` is the id of what was kept in its place, if anything was."""

    id: str
    reason: str
    winner: str | None = None


@dataclass
class Selection:
    """What becomes of versions and records; all ids are in the order of the input."""

    kept: list[str] = field(default_factory=list)
    """Ids of the versions that become examples."""
    refused: list[str] = field(default_factory=list)
    """Ids of the records that become refusals."""
    dropped_versions: list[Drop] = field(default_factory=list)
    dropped_records: list[Drop] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Count what came out; together with what went in, nothing is unaccounted for."""
        return {
            "kept": len(self.kept),
            "refused": len(self.refused),
            "dropped_versions": len(self.dropped_versions),
            "dropped_records": len(self.dropped_records),
        }


class _Version(NamedTuple):
    """One correct version, reduced to what choosing needs (texts are not held)."""

    id: str
    order: int
    answer: str


@dataclass
class _Judged:
    """What was read; `tried` are the records that a model gave an answer to, `context` holds digests."""

    context: dict[str, str]
    correct: dict[str, list[_Version]]
    place: dict[str, int] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    drops: dict[str, Drop] = field(default_factory=dict)

    def unknown(self) -> list[str]:
        """Return the records that a model answered, and whose question it never answered correctly."""
        known = {self.context[r] for r, versions in self.correct.items() if any(v.order >= 0 for v in versions)}
        return [record for record in self.correct if record in self.tried and self.context[record] not in known]

    def why_dropped(self, record: str, refused: set[str]) -> str:
        """Say why a record became neither an example nor a refusal; `refused` are contexts."""
        if self.context[record] in refused:
            return REFUSED_ELSEWHERE
        if self.correct[record]:
            return ALL_ELSEWHERE
        return NO_CORRECT if record in self.tried else NO_VERSION

    def settle_winners(self, kept: set[str]) -> None:
        """Let each drop name what was kept in the end, where its winner lost to yet another version."""
        for name, drop in self.drops.items():
            winner = drop.winner
            while winner is not None and winner not in kept:
                winner = self.drops[winner].winner
            self.drops[name] = drop._replace(winner=winner)


def select_versions(
    judged: Iterable[Row], contexts: Mapping[str, str], *, keep: Keep, refusal_share: float, seed: int
) -> Selection:
    """Choose examples from judged answer versions.

    Equal answers (after `normalise`) to one record count once, and so do equal answers to different records
    with an equal context. With ``keep="best"`` one correct answer a record stays: the one that most versions
    agree on, then the earliest. Questions that no version answers correctly, whichever record they came from,
    become one refusal each, in the order of a hash, until refusals are `refusal_share` of all examples.
    A version with a number below 0 is the record's own answer: it may become an example, but does not show
    that the model knows. It prevents no refusal, and a refusal takes its place.

    Args:
        judged: rows with ``id``, ``record_id``, ``version``, ``answer`` and ``verdict.correct``.
        contexts: every record of the training split → all that its answer depends on (question, history, image).
        keep: ``all`` distinct correct versions, or the ``best`` one.
        refusal_share: largest share of refusals among the examples, from 0 to below 1.
        seed: another seed refuses other records.

    Raises:
        FinetrailError: a version of no record in `contexts`, an id that occurs twice, or a wrong share.
    """
    if not 0 <= refusal_share < 1:
        raise FinetrailError(f"the refusal share must be from 0 to below 1, found {refusal_share}")
    read = _read(judged, contexts)
    chosen = _choose(read, keep)
    refused = _refuse(read, [record for record, _ in chosen], refusal_share, seed)
    silenced = {read.context[record] for record in refused}
    for record, versions in read.correct.items():
        if read.context[record] in silenced:
            read.drops.update((version.id, Drop(version.id, REFUSED)) for version in versions)
    kept = {version: record for record, version in chosen if read.context[record] not in silenced}
    read.settle_winners(set(kept))
    done = refused | set(kept.values())
    return Selection(
        kept=sorted(kept, key=read.place.__getitem__),
        refused=[record for record in contexts if record in refused],
        dropped_versions=sorted(read.drops.values(), key=lambda drop: read.place[drop.id]),
        dropped_records=[Drop(r, read.why_dropped(r, silenced)) for r in contexts if r not in done],
    )


def _read(judged: Iterable[Row], contexts: Mapping[str, str]) -> _Judged:
    digests = {record_id: sha256_text(normalise(context)) for record_id, context in contexts.items()}
    read = _Judged(digests, {record_id: [] for record_id in contexts})
    for row in judged:
        if row["id"] in read.place:
            raise FinetrailError("the id of the version occurs twice", where=row["id"])
        if row["record_id"] not in contexts:
            raise FinetrailError(f"its record {row['record_id']} is not to be trained on", where=row["id"])
        read.place[row["id"]] = len(read.place)
        if row["version"] >= 0:
            read.tried.add(row["record_id"])
        if row.get("cut") == "broken":
            read.drops[row["id"]] = Drop(row["id"], BROKEN)
        elif row["verdict"]["correct"]:
            version = _Version(row["id"], row["version"], sha256_text(normalise(row["answer"])))
            read.correct[row["record_id"]].append(version)
        else:
            read.drops[row["id"]] = Drop(row["id"], NOT_CORRECT)
    return read


def _choose(read: _Judged, keep: Keep) -> list[tuple[str, str]]:
    """Return (record id, version id) of what is kept, and add every other correct version to the drops."""
    drops = read.drops
    kept: list[tuple[str, str]] = []
    winners: dict[tuple[str, str], str] = {}
    for record_id, versions in read.correct.items():
        new: list[_Version] = []
        for version in _distinct(versions, drops):
            winner = winners.setdefault((read.context[record_id], version.answer), version.id)
            if winner == version.id:
                new.append(version)
            else:
                drops[version.id] = Drop(version.id, REPEATED_ELSEWHERE, winner)
        for version in new[1:] if keep == "best" else []:
            drops[version.id] = Drop(version.id, NOT_BEST, new[0].id)
        kept += [(record_id, version.id) for version in (new[:1] if keep == "best" else new)]
    return kept


def _distinct(versions: Iterable[_Version], drops: dict[str, Drop]) -> list[_Version]:
    """Return one version an answer, those first that most versions agree on, and drop the repetitions."""
    same: dict[str, list[_Version]] = defaultdict(list)
    for version in sorted(versions, key=lambda version: (version.order, version.id)):
        same[version.answer].append(version)
    for winner, *others in same.values():
        drops.update((version.id, Drop(version.id, REPEATED, winner.id)) for version in others)
    votes = Counter({answer: len(members) for answer, members in same.items()})
    return [same[answer][0] for answer, _ in votes.most_common()]


def _refuse(read: _Judged, answered: list[str], share: float, seed: int) -> set[str]:
    """Return the records to refuse: the first by hash, one a context, while they keep to their share.

    `answered` holds the record of each chosen version; those of a refused context are chosen no more.
    """
    exact = Fraction(str(share))
    own = Counter(read.context[record] for record in answered)
    answers = len(answered)
    refused: dict[str, str] = {}
    for record in sorted(read.unknown(), key=lambda record: (sha256_text(f"{seed}:{record}"), record)):
        context = read.context[record]
        if context in refused:
            continue
        answers -= own[context]
        if len(refused) + 1 > exact * (answers + len(refused) + 1):
            break
        refused[context] = record
    return set(refused.values())
