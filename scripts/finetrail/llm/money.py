"""Tokens and prices: what a run has called for, what it was spared, and what it cost."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from finetrail.llm.request import Usage


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    prompt: float
    completion: float

    def of(self, usage: Usage) -> float:
        """Return the price in US dollars."""
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / 1e6


@dataclass
class Tally:
    """Counts of one phase.

    `calls_made` counts answers that were paid for, `attempts` HTTP requests, `from_store` requests that were
    answered without a call, `unpriced_calls` those of a model that the price table does not name.
    """

    calls_made: int = 0
    from_store: int = 0
    failures: int = 0
    attempts: int = 0
    rate_limited: int = 0
    repairs: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unpriced_calls: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, US dollars rounded to a millionth."""
        return vars(self) | {"usd": round(self.usd, 6)}


@dataclass
class Ledger:
    """Tallies by phase, and which models answered; safe to write from several threads."""

    prices: Mapping[str, Price] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, Tally] = {}
        self._servers: dict[tuple[str, str, str], int] = {}

    def count(self, phase: str, name: str) -> None:
        """Add one to a counter of `Tally`."""
        with self._lock:
            tally = self._phases.setdefault(phase, Tally())
            setattr(tally, name, getattr(tally, name) + 1)

    def pay(
        self,
        phase: str,
        asked: str,
        answered: str,
        fingerprint: str | None,
        usage: Usage,
        *,
        free: bool,
    ) -> None:
        """Record one answer of a model (as asked for, as it names itself); our own servers are free."""
        price = Price(0.0, 0.0) if free else self.prices.get(asked)
        with self._lock:
            tally = self._phases.setdefault(phase, Tally())
            tally.calls_made += 1
            tally.prompt_tokens += usage.prompt_tokens
            tally.completion_tokens += usage.completion_tokens
            tally.usd += price.of(usage) if price else 0.0
            tally.unpriced_calls += price is None
            server = (asked, answered, fingerprint or "")
            self._servers[server] = self._servers.get(server, 0) + 1

    def totals(self) -> dict[str, Any]:
        """Return the sums over all phases, the phases, and the models that answered."""
        with self._lock:
            total = Tally()
            for tally in self._phases.values():
                for item in fields(Tally):
                    setattr(total, item.name, getattr(total, item.name) + getattr(tally, item.name))
            servers = [
                {"asked": asked, "answered": answered, "fingerprint": fingerprint or None, "calls": calls}
                for (asked, answered, fingerprint), calls in sorted(self._servers.items())
            ]
            phases = {name: tally.as_dict() for name, tally in sorted(self._phases.items())}
            return total.as_dict() | {"phases": phases, "models": servers}
