"""What a step would ask: its requests, made and looked up by the code that makes the calls, and not sent."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from finetrail.calls.money import Usage
from finetrail.calls.segment import StoredCall
from finetrail.llm.engine import Engine
from finetrail.llm.request import ChatRequest
from finetrail.rows.records import Row
from finetrail.step.step import Step

CHARACTERS_A_TOKEN = 4
ENOUGH_CALLS = 200


@dataclass
class Sample:
    """Stored calls of one phase and model, from which the others' tokens are estimated."""

    calls: int = 0
    characters: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, call: StoredCall) -> None:
        """Add a stored call; one whose tokens are not known says nothing."""
        if call.answer["usage"] is None:
            return
        usage = Usage(**call.answer["usage"])
        self.calls += 1
        self.characters += characters_of(call.request["messages"])
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens

    def estimate(self, calls: int, characters: int) -> Usage:
        """Estimate the tokens of calls whose prompts have so many characters together."""
        prompt = self.prompt_tokens * characters / max(self.characters, 1)
        return Usage(round(prompt), round(self.completion_tokens * calls / self.calls))


def characters_of(messages: Iterable[dict[str, Any]]) -> int:
    """Count the characters of a conversation as the store keeps it; images have none."""
    contents = (message["content"] for message in messages)
    parts = (content if isinstance(content, list) else [{"text": content}] for content in contents)
    return sum(len(part.get("text", "")) for group in parts for part in group)


@dataclass
class CallPlan:
    """Counts the requests of a step: `missing` are the keys that would be sent, once each, however many `repeats`."""

    rows: int = 0
    calls: int = 0
    in_store: int = 0
    repeats: int = 0
    characters: int = 0
    images: int = 0
    first: ChatRequest | None = None

    def __post_init__(self) -> None:
        self.missing: set[str] = set()
        self.sample = Sample()

    def add(self, request: ChatRequest, key: str, stored: StoredCall | None) -> None:
        """Count a request and what the store has for it."""
        self.calls += 1
        self.first = self.first or request
        if stored is not None:
            self.in_store += 1
            if self.sample.calls < ENOUGH_CALLS:
                self.sample.add(stored)
            return
        if key in self.missing:
            self.repeats += 1
            return
        self.missing.add(key)
        self.characters += characters_of(request.canonical["messages"])
        self.images += sum(len(message.images) for message in request.messages)

    def estimate(self, engine: Engine) -> tuple[Usage, str]:
        """Estimate the tokens of the missing calls, and say from what."""
        if not self.missing or self.first is None:
            return Usage(), "nothing to ask"
        if not self.sample.calls:
            for call in engine.calls_of(self.first.phase, self.first.model, ENOUGH_CALLS):
                self.sample.add(call)
        if self.sample.calls:
            return self.sample.estimate(len(self.missing), self.characters), f"{self.sample.calls} stored calls"
        basis = f"characters/{CHARACTERS_A_TOKEN}" + (", without images" if self.images else "")
        prompt = round(self.characters / CHARACTERS_A_TOKEN)
        longest = self.first.sampling.max_tokens
        return Usage(prompt, (longest or 0) * len(self.missing)), f"{basis}, and max_tokens"


def plan_rows(
    step: Step, engine: Engine, rows: Iterable[Row], requests_of: Callable[[Row], Sequence[ChatRequest]]
) -> None:
    """Make a step's requests, look each up, and keep the counts and the estimate in its facts."""
    plan = CallPlan()
    for row in rows:
        plan.rows += 1
        for request in requests_of(row):
            request = engine.bind(request)
            try:
                plan.add(request, request.key, engine.stored(request))
            except UnicodeEncodeError:
                plan.calls += 1  # the run sets this row aside without a call
    usage, basis = plan.estimate(engine)
    price = engine.price_of(plan.first) if plan.first else None
    known = price is not None or not plan.missing
    step.facts["plan"] = {
        "rows": plan.rows,
        "calls": plan.calls,
        "in_store": plan.in_store,
        "repeats": plan.repeats,
        "to_make": len(plan.missing),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "usd": (price.of(usage) if price else 0.0) if known else None,
        "basis": basis,
        "model": plan.first.model if plan.first else None,
    }
    step.count(rows_in=0, kept=0)
