"""How a step asks a model about its rows: one engine a job, answers in the order of the rows, failures set aside."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetrail.config.current import current_run, operation_key, results_folder
from finetrail.errors import FinetrailError
from finetrail.llm import offline
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.money import Price
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message, Sampling
from finetrail.llm.schemas import ResponseSchema
from finetrail.llm.store import CallStore
from finetrail.records import Row
from finetrail.step import Step


@dataclass(frozen=True)
class Model:
    """A model reference of the config: what decides its answers, and the endpoint that serves it."""

    endpoint: str
    settings: dict[str, Any]

    def request(
        self,
        row_id: str,
        phase: str,
        messages: Sequence[Message],
        schema: ResponseSchema,
        *,
        sample: int = 0,
        seed: int | None = None,
    ) -> ChatRequest:
        """Make a request.

        Args:
            row_id: the row that needs the answer.
            phase: the rule that asks.
            messages: the filled-in prompt.
            schema: what the answer must look like.
            sample: which of several answers to one question.
            seed: the row's seed; None where temperature 0 needs none.
        """
        settings = self.settings
        return ChatRequest(
            row_id=row_id,
            phase=phase,
            messages=tuple(messages),
            endpoint=self.endpoint,
            model=settings["model"],
            revision=settings["revision"],
            sampling=Sampling(settings["temperature"], settings["top_p"], settings["max_tokens"], seed),
            schema=schema.schema,
            schema_name=schema.name,
            sample=sample,
            logprobs=settings["logprobs"],
            extra_body=settings["extra_body"],
        )


def model_at(step: Step, dotted: str) -> Model:
    """Return the model that a key of the recipe refers to, such as ``synthesize.judge``."""
    settings: Any = step.settings
    for name in dotted.split("."):
        settings = settings[name]
    endpoint: str = operation_key(step.recipe, f"{dotted}.endpoint")
    if current_run()["llm"]["endpoints"][endpoint]["kind"] == "offline":
        step.programs.append(offline.PROGRAM)  # it runs beside us, where no import shows it
    return Model(endpoint, settings)


def endpoint_of(name: str, entry: dict[str, Any]) -> Endpoint:
    """Make an endpoint from its entry in the run's configuration."""
    given = {key: value for key, value in entry.items() if key != "prices"}
    return Endpoint(name=name, **given)


@contextmanager
def open_engine(step: Step) -> Iterator[Engine]:
    """Open the call store and an engine for a step; what was paid and spared goes into the meta file."""
    settings = current_run()["llm"]
    endpoints = [endpoint_of(name, entry) for name, entry in settings["endpoints"].items()]
    prices = {
        model: Price(price["input"], price["output"])
        for entry in settings["endpoints"].values()
        for model, price in entry["prices"].items()
    }
    with (
        CallStore(results_folder() / "calls") as store,
        Engine(endpoints, store, mode=settings["mode"], prices=prices) as engine,
    ):
        try:
            yield engine
        finally:
            step.facts["llm"] = engine.totals


def ask_rows(
    step: Step,
    engine: Engine,
    rows: Iterable[Row],
    requests_of: Callable[[Row], Sequence[ChatRequest]],
) -> Iterator[tuple[Row, list[ChatAnswer]]]:
    """Ask about each row and yield it with its answers, in the order of the rows.

    A row with a failed call goes into quarantine with the error; the balance of the step is recorded at the end.

    Raises:
        FinetrailError: more rows failed than ``llm.max_quarantined_share`` allows.
    """
    waiting: deque[tuple[Row, int]] = deque()
    total = quarantined = 0
    first_error = ""

    def requests() -> Iterator[ChatRequest]:
        for row in rows:
            asked = requests_of(row)
            waiting.append((row, len(asked)))
            yield from asked

    for row, results in _group(engine.run(requests()), waiting):
        total += 1
        failures = [result for result in results if isinstance(result, CallFailure)]
        if failures:
            quarantined += step.quarantine([{"id": row["id"], "error": failures[0].error, "row": row}])
            first_error = first_error or f"{row['id']}: {failures[0].error}"
            continue
        yield row, [result for result in results if isinstance(result, ChatAnswer)]
    _check_quarantine(step, total, quarantined, first_error)


def _group(
    results: Iterator[ChatAnswer | CallFailure], waiting: deque[tuple[Row, int]]
) -> Iterator[tuple[Row, list[ChatAnswer | CallFailure]]]:
    """Give each row its share of the stream of results; rows without a request pass in their place."""
    for result in results:
        while waiting[0][1] == 0:
            yield waiting.popleft()[0], []
        row, count = waiting[0]
        gathered = [result]
        while len(gathered) < count:
            gathered.append(next(results))
        waiting.popleft()
        yield row, gathered
    while waiting:
        yield waiting.popleft()[0], []


def _check_quarantine(step: Step, total: int, quarantined: int, first_error: str) -> None:
    step.count(rows_in=total, kept=total - quarantined, quarantined=quarantined)
    bound = current_run()["llm"]["max_quarantined_share"]
    if quarantined > bound * total:
        raise FinetrailError(
            f"{quarantined} of {total} rows could not be processed, more than the share of {bound:g} that "
            f"llm.max_quarantined_share allows; the first: {first_error}",
            where=str(step.journal.quarantine_path),
            hint="The rows and their errors are in that file; what was paid is kept, so that another run asks only "
            "for the rest",
        )
