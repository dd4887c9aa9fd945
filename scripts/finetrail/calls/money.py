"""Tokens and prices: what a job has called for, what it was spared, and what it cost."""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from finetrail.calls.budget import Budget

LOGGER = logging.getLogger(__name__)
# Versions of one model that a job tells apart; a server that names another one with each reply has no more of them.
MOST_VERSIONS = 100
OTHERS = "(others)"
LONGEST_QUOTE = 200


@dataclass(frozen=True)
class Usage:
    """Tokens that one answer cost; `cached_tokens` are those of the prompt that the server had cached."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @classmethod
    def stored(cls, said: Any) -> "Usage | None":
        """Read what a record of the store says; None where it says nothing.

        Raises:
            TypeError: it is no usage, so that the record is not one of ours.
        """
        if said is None:
            return None
        usage = cls(**said)
        if any(type(count) is not int or count < 0 for count in vars(usage).values()):
            raise TypeError(f"no whole numbers of tokens: {said!r}"[:LONGEST_QUOTE])
        return usage

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens; `cached` is for prompt tokens that the server had cached."""

    prompt: float
    completion: float
    cached: float | None = None

    def of(self, usage: Usage | None) -> float | None:
        """Return the price in US dollars; None where it is not known what was used, and that is not free."""
        if usage is None:
            return None if self.prompt or self.completion else 0.0
        cached = self.prompt if self.cached is None else self.cached
        fresh = usage.prompt_tokens - usage.cached_tokens
        return (fresh * self.prompt + usage.cached_tokens * cached + usage.completion_tokens * self.completion) / 1e6


FREE = Price(0.0, 0.0)


@dataclass
class Tally:
    """Counts of one phase.

    `calls_made` counts replies that were paid for, of which `unusable` were of no use and are stored as such;
    `enclosed` answers, paid or stored, that stood in a fence, in prose or behind reasoning; `attempts` HTTP requests,
    of which `rate_limited` were refused as too many (429 and its like) and `errors` failed otherwise; `from_store`
    requests that were answered without a call, `unasked` those that the budget no longer allowed, `unpriced_calls`
    those of a model that the price table does not name, or whose tokens the server did not say: `usd` is then unknown,
    and `as_dict` says None.
    """

    calls_made: int = 0
    from_store: int = 0
    failures: int = 0
    unasked: int = 0
    attempts: int = 0
    rate_limited: int = 0
    errors: int = 0
    repairs: int = 0
    unusable: int = 0
    enclosed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unpriced_calls: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, and US dollars and tokens a paid call; US dollars are rounded to a millionth."""
        usd = None if self.unpriced_calls else round(self.usd, 6)
        return vars(self) | {"usd": usd, "per_call": self._per_call()}

    def add(self, other: Mapping[str, Any]) -> None:
        """Add counts as `as_dict` gives them; the US dollars of unpriced calls stay unknown."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + (other[item.name] or 0))

    def _per_call(self) -> dict[str, float | None] | None:
        if not self.calls_made:
            return None
        return {
            "prompt_tokens": round(self.prompt_tokens / self.calls_made, 2),
            "completion_tokens": round(self.completion_tokens / self.calls_made, 2),
            "usd": None if self.unpriced_calls else round(self.usd / self.calls_made, 8),
        }


@dataclass
class Worth:
    """What the answers that a step's rows were made of are worth, whoever paid them and when, at the present prices."""

    rows: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = 0.0

    def add(self, usages: Sequence[Usage | None], prices: Sequence[Price | None]) -> None:
        """Add one row's answers; US dollars are unknown once one price or one usage is."""
        self.rows += 1
        for usage, price in zip(usages, prices, strict=True):
            self.calls += 1
            self.prompt_tokens += usage.prompt_tokens if usage else 0
            self.completion_tokens += usage.completion_tokens if usage else 0
            usd = None if price is None else price.of(usage)
            self.usd = None if usd is None or self.usd is None else self.usd + usd

    def add_sums(self, other: Mapping[str, Any]) -> None:
        """Add sums as `as_dict` gives them."""
        usd = None if self.usd is None or other["usd"] is None else self.usd + other["usd"]
        for item in fields(self):
            setattr(self, item.name, usd if item.name == "usd" else getattr(self, item.name) + other[item.name])

    def as_dict(self) -> dict[str, Any]:
        """Return the sums, and the means a row."""
        usd = None if self.usd is None else round(self.usd, 6)
        rows = max(self.rows, 1)
        per_row = {
            "calls": round(self.calls / rows, 2),
            "prompt_tokens": round(self.prompt_tokens / rows, 2),
            "completion_tokens": round(self.completion_tokens / rows, 2),
            "usd": None if self.usd is None else round(self.usd / rows, 8),
        }
        return vars(self) | {"usd": usd, "per_row": per_row}


class Ledger:
    """Tallies by phase, and which models answered; safe to write from several threads.

    Args:
        budget: what may be paid; None for no bound.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._phases: dict[str, Tally] = {}
        self._servers: dict[tuple[str, str, str], int] = {}
        self._versions: Counter[str] = Counter()

    def count(self, phase: str, name: str) -> None:
        """Add one to a counter of `Tally`."""
        with self._lock:
            tally = self._phases.setdefault(phase, Tally())
            setattr(tally, name, getattr(tally, name) + 1)

    def from_store(self, phase: str) -> int:
        """Return how many requests of a phase the store has answered."""
        with self._lock:
            return self._phases[phase].from_store if phase in self._phases else 0

    def pay(
        self,
        phase: str,
        asked: str,
        answered: str,
        fingerprint: str | None,
        usage: Usage | None,
        price: float | None,
        estimate: float = 0.0,
    ) -> None:
        """Record one reply of a model or a service, whether it is usable or not.

        Args:
            phase: the rule that asked.
            asked, answered, fingerprint: the model or service as asked for, and as it names itself.
            usage: what it took; None where that is not known.
            price: what it cost, in US dollars; None where that is not known.
            estimate: what the budget counts for a reply of unknown price, in US dollars.
        """
        server, usd = (asked, answered, fingerprint or ""), price or 0.0
        usage = usage or Usage()
        if self.budget is not None:
            self.budget.pay(estimate if price is None else usd)
        with self._lock:
            tally = self._phases.setdefault(phase, Tally())
            tally.calls_made += 1
            tally.prompt_tokens += usage.prompt_tokens
            tally.cached_tokens += usage.cached_tokens
            tally.completion_tokens += usage.completion_tokens
            tally.usd += usd
            tally.unpriced_calls += price is None
            is_new = server not in self._servers
            if is_new and self._versions[asked] >= MOST_VERSIONS:
                server, is_new = (asked, OTHERS, ""), False
            self._servers[server] = self._servers.get(server, 0) + 1
            self._versions[asked] += is_new
            is_second = is_new and self._versions[asked] == 2
            known = [one for one in self._servers if one[0] == asked] if is_second else []
        if known:
            LOGGER.warning(
                "%s answers as %s: the answers of this job are not all of one model (its meta file counts them)",
                asked,
                " and as ".join(f"{name} (fingerprint {mark or 'none'})" for _, name, mark in known),
            )

    def is_spent(self) -> bool:
        """Say whether the budget allows no further call."""
        return self.budget is not None and self.budget.is_spent()

    def totals(self) -> dict[str, Any]:
        """Return the sums over all phases, the phases, and the models that answered."""
        with self._lock:
            total = Tally()
            for tally in self._phases.values():
                total.add(vars(tally))
            models = _models_of(self._servers)
            phases = {name: tally.as_dict() for name, tally in sorted(self._phases.items())}
            changed = sorted(_changed(self._servers))
            return total.as_dict() | {"phases": phases, "models": models, "models_that_changed": changed}


def sum_totals(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum what several jobs say under `llm`, in the form in which one job says it.

    Args:
        jobs: `Ledger.totals` of each job, with `answers` where it came to its end.
    """
    total, worth = Tally(), Worth()
    phases: dict[str, Tally] = {}
    servers: Counter[tuple[str, str, str]] = Counter()
    for job in jobs:
        total.add(job)
        worth.add_sums(job["answers"])
        for name, tally in job["phases"].items():
            phases.setdefault(name, Tally()).add(tally)
        for one in job["models"]:
            servers[one["asked"], one["answered"], one["fingerprint"] or ""] += one["calls"]
    changed = _changed(servers).union(*(job["models_that_changed"] for job in jobs))
    return {
        **total.as_dict(),
        "phases": {name: tally.as_dict() for name, tally in sorted(phases.items())},
        "models": _models_of(servers),
        "models_that_changed": sorted(changed),
        "answers": worth.as_dict(),
    }


def _models_of(servers: Mapping[tuple[str, str, str], int]) -> list[dict[str, Any]]:
    return [
        {"asked": asked, "answered": answered, "fingerprint": fingerprint or None, "calls": calls}
        for (asked, answered, fingerprint), calls in sorted(servers.items())
    ]


def _changed(servers: Iterable[tuple[str, str, str]]) -> set[str]:
    """Return the models that answered as more than one version."""
    return {asked for asked, times in Counter(asked for asked, _, _ in servers).items() if times > 1}


def notes_of(totals: dict[str, Any]) -> tuple[str, ...]:
    """Render the calls, waits and money behind a loop, as `Ledger.totals` and ``in_flight`` give them."""
    usd = totals["usd"]
    notes = [
        f"{totals['in_flight']} in flight",
        f"{totals['rate_limited']} times 429",
        f"{totals['errors']} errors",
        "price unknown" if usd is None else f"{usd:.4f} USD",
        f"{totals['from_store']} from the store",
    ]
    return (*notes, f"{totals['failures']} given up") if totals["failures"] else tuple(notes)
