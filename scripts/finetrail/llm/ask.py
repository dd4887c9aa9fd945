"""How a step asks a model about its rows: one engine a job, answers in the order of the rows, failures set aside."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetrail.calls.money import Price, Worth
from finetrail.calls.paying_step import Patience, check_budget, check_quarantine, patience_of, run_budget, share_of
from finetrail.calls.store import CallStore
from finetrail.config.current import current_run, operation_key, results_folder
from finetrail.errors import FinetrailError
from finetrail.llm.ask_progress import Asking
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.plan import plan_rows
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message, Sampling
from finetrail.llm.schemas import ResponseSchema
from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row
from finetrail.serving.offline import teacher
from finetrail.serving.own_server import OwnServer
from finetrail.step.journal import shared_run_folder
from finetrail.step.step import Step

LOGGER = logging.getLogger(__name__)
# Rows whose answers are awaited, each with the prices of its calls.
_Waiting = deque[tuple[Row, list[Price | None]]]


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
        schema: ResponseSchema | None,
        *,
        sample: int = 0,
        seed: int | None = None,
    ) -> ChatRequest:
        """Make a request.

        Args:
            row_id: the row that needs the answer.
            phase: the rule that asks.
            messages: the filled-in prompt.
            schema: what the answer must look like; None for free text.
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
            schema=schema and schema.schema,
            schema_name=schema and schema.name,
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
        step.programs.append(teacher.PROGRAM)  # it runs beside us, where no import shows it
    return Model(endpoint, settings)


def endpoint_of(name: str, entry: dict[str, Any]) -> Endpoint:
    """Make an endpoint from its entry in the run's configuration."""
    prices = {
        model: Price(price["input"], price["output"], price.get("cached"))
        for model, price in entry["prices"].items()
        if price["input"] is not None and price["output"] is not None
    }
    serve = OwnServer.of(entry["serve"]) if "serve" in entry else None
    return Endpoint(name=name, **entry | {"prices": prices, "serve": serve})


def _compared_with_run(step: Step, totals: dict[str, Any]) -> dict[str, Any]:
    """Add, and report, the models that answered the run's earlier jobs as another version."""
    if shared_run_folder() is None or step.planning:
        return totals
    records = [read_json(path) for path in step.journal.folder.glob("*.json")]
    answered: dict[str, set[tuple[str, str | None]]] = {}
    for entry in (*totals["models"], *(one for record in records for one in record.get("llm", {}).get("models", []))):
        answered.setdefault(entry["asked"], set()).add((entry["answered"], entry["fingerprint"]))
    ours = {entry["asked"] for entry in totals["models"]}
    changed = sorted(asked for asked in ours if len(answered[asked]) > 1)
    for asked in set(changed) - set(totals["models_that_changed"]):
        LOGGER.warning("%s answered other jobs of this run as another version (their records name it)", asked)
    return totals | {"models_that_changed": changed}


@contextmanager
def open_engine(step: Step) -> Iterator[Engine]:
    """Open the call store and an engine for a step; what was paid and spared goes into the meta file."""
    settings = current_run()["llm"]
    share = share_of(step)
    bounds = {"max_wait_s": settings["max_wait_s"]}
    endpoints = [endpoint_of(name, entry | bounds).shared(share) for name, entry in settings["endpoints"].items()]
    again, budget = settings["ask_again"], run_budget(settings)
    with CallStore(results_folder() / "calls") as store:
        engine = Engine(endpoints, store, mode=settings["mode"], budget=budget, ask_again=again)
        try:
            with engine:
                yield engine
        finally:  # once it is closed: what was under way until then is paid, too
            step.facts["llm"] = step.facts.get("llm", {}) | _compared_with_run(step, engine.totals)
            step.journal.facts["llm"] = step.facts["llm"]  # a failed attempt's record says what it paid, too


def ask_rows(
    step: Step,
    engine: Engine,
    rows: Iterable[Row],
    requests_of: Callable[[Row], Sequence[ChatRequest]],
) -> Iterator[tuple[Row, list[ChatAnswer]]]:
    """Ask about each row and yield it with its answers, in the order of the rows.

    A row with a failed call goes into quarantine with the error; the balance of the step is recorded at the end. Rows
    that the budget no longer allows are passed over, so that all that is paid is used, and counted.

    Raises:
        FinetrailError: the budget of the run is spent; more rows failed than ``llm.max_quarantined_share`` allows.
    """
    if step.planning:
        plan_rows(step, engine, rows, requests_of)
        return
    waiting: _Waiting = deque()
    worth = Worth()
    total = quarantined = left = 0
    progress = Asking(engine, lambda: step.pulse.latest, step.pulse.ended)
    step.pulse.watch(progress, leads=True)
    patience = patience_of(step, progress.most)
    engine.on_failure = patience.fail

    def requests() -> Iterator[ChatRequest]:
        for row in rows:
            asked = requests_of(row)
            progress.asked += 1
            waiting.append((row, [engine.price_of(request) for request in asked]))
            yield from asked
        progress.all_asked = True

    with _telling_failures(step, waiting, patience):
        for row, prices, results in _group(engine.run(requests()), waiting):
            total += 1
            progress.advance()
            failures = [result for result in results if isinstance(result, CallFailure)]
            if any(failure.unasked for failure in failures):
                left += 1
                continue
            if failures:
                quarantined += step.quarantine([{"id": row["id"], "error": failures[0].error, "row": row}])
                continue
            answers = [result for result in results if isinstance(result, ChatAnswer)]
            worth.add([answer.usage for answer in answers], prices)
            yield row, answers
    progress.close()
    step.facts["llm"] = {"answers": worth.as_dict()}
    check_budget(engine.budget, total, left)
    check_quarantine(step, total, quarantined, patience.first)


@contextmanager
def _telling_failures(step: Step, waiting: _Waiting, patience: Patience) -> Iterator[None]:
    """Where the step is stopped early, set the failed rows aside that it had not come to."""
    try:
        yield
    except FinetrailError:
        failed = [(row, patience.errors[row["id"]]) for row, _ in waiting if row["id"] in patience.errors]
        step.quarantine({"id": row["id"], "error": error, "row": row} for row, error in failed)
        raise


def _group(
    results: Iterator[ChatAnswer | CallFailure], waiting: _Waiting
) -> Iterator[tuple[Row, list[Price | None], list[ChatAnswer | CallFailure]]]:
    """Give each row its share of the stream of results; rows without a request pass in their place."""
    for result in results:
        while not waiting[0][1]:
            yield *waiting.popleft(), []
        row, prices = waiting[0]
        gathered = [result]
        while len(gathered) < len(prices):
            gathered.append(next(results))
        waiting.popleft()
        yield row, prices, gathered
    while waiting:
        yield *waiting.popleft(), []
