"""The clients that ``bench/llm.py`` compares, each run in a process of its own: ``llm_clients.py NAME URL CALLS``.

Each asks the same questions, prints one JSON line (answers, processor seconds, what went wrong, for how long it stood
still) and ends.
"""

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from standstill import Standstill

if TYPE_CHECKING:
    from openai import AsyncOpenAI

AT_ONCE = 64
BOUND = 256
TIMEOUT_S = 1.0
PASSAGE = "The lighthouse was built in 1874 and has been automatic since 1987. " * 12
SYSTEM = "Answer from the passage. Be brief."


def question(number: int) -> str:
    """Return what row `number` asks."""
    return f"row-{number:07}: {PASSAGE}When was it built?"


def messages(number: int) -> list[Any]:
    """Return the conversation of row `number`, as a server reads it."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(number)}]


def engine(url: str, calls: int) -> dict[str, Any]:
    """Ask through the engine, with a store; the limit is not told to it."""
    import aiohttp  # noqa: F401  (now, not with the first call)

    from finetrail.calls.store import CallStore
    from finetrail.llm.endpoints import Endpoint
    from finetrail.llm.engine import Engine
    from finetrail.llm.request import CallFailure, ChatRequest, Message, Sampling

    def requests() -> Iterator[ChatRequest]:
        for number in range(calls):
            conversation = (Message("system", SYSTEM), Message("user", question(number)))
            yield ChatRequest(f"row-{number}", "bench", conversation, "bench", "m", sampling=Sampling(0.0, seed=1))

    endpoint = Endpoint("bench", "openai", url, timeout_s=TIMEOUT_S, max_concurrency=BOUND)
    good = 0
    given_up: Counter[str] = Counter()
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        with CallStore(Path(folder)) as store, Engine([endpoint], store) as running:
            for number, outcome in enumerate(running.run(requests())):
                text = getattr(outcome, "text", "")
                good += text == f"answer to row-{number:07}"
                digest.update(text.encode())
                given_up.update([outcome.error] if isinstance(outcome, CallFailure) else [])
            totals = running.totals
        with CallStore(Path(folder)) as store:
            kept = store.stats().keys
    counted = {name: totals[name] for name in ("attempts", "rate_limited", "failures")}
    found = {"answers": good, "stored": kept, "outputs_sha256": digest.hexdigest(), "given_up": dict(given_up)}
    return found | counted


def bare(url: str, calls: int) -> dict[str, Any]:
    """Ask with the openai client as it comes, each row once: no retry, no store, no check."""
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=TIMEOUT_S)
    return asyncio.run(_ask_once(client, calls))


def bare_aiohttp(url: str, calls: int) -> dict[str, Any]:
    """Ask as `bare` does, over a faster transport."""
    import openai

    client = openai.AsyncOpenAI(
        base_url=url, api_key="none", max_retries=0, timeout=TIMEOUT_S, http_client=openai.DefaultAioHttpClient()
    )
    return asyncio.run(_ask_once(client, calls))


async def _ask_once(client: "AsyncOpenAI", calls: int) -> dict[str, Any]:
    import openai

    numbers = iter(range(calls))
    good = 0
    given_up: Counter[str] = Counter()

    async def worker() -> None:
        nonlocal good
        for number in numbers:
            try:
                reply = await client.chat.completions.create(
                    model="m", messages=messages(number), temperature=0.0, seed=1
                )
            except openai.OpenAIError as error:
                given_up.update([_why(error)])
            else:
                good += bool(reply.choices[0].message.content)

    async with client:
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return {"answers": good, "given_up": dict(given_up)}


def _why(error: BaseException) -> str:
    """Say why a call brought no answer: the kind of the error, and its status."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} {status}" if status else type(error).__name__


def plain_loop(url: str, calls: int) -> dict[str, Any]:
    """Ask as users write it: the openai client, a semaphore of the right size, tenacity."""
    import openai
    from tenacity import retry, stop_after_attempt, wait_random_exponential

    given_up: Counter[str] = Counter()

    async def run() -> int:
        semaphore = asyncio.Semaphore(AT_ONCE)
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=TIMEOUT_S)

        @retry(wait=wait_random_exponential(min=1, max=60), stop=stop_after_attempt(6), reraise=True)
        async def ask(number: int) -> str | None:
            reply = await client.chat.completions.create(model="m", messages=messages(number), temperature=0.0, seed=1)
            return reply.choices[0].message.content

        async def guarded(number: int) -> str | None:
            async with semaphore:
                try:
                    return await ask(number)
                except openai.OpenAIError as error:
                    given_up.update([_why(error)])
                    return None

        async with client:
            return sum(map(bool, await asyncio.gather(*(guarded(number) for number in range(calls)))))

    return {"answers": asyncio.run(run()), "given_up": dict(given_up)}


def curator(url: str, calls: int) -> dict[str, Any]:
    """Ask through Bespoke Curator, told the limit; it fetches a tokenizer from the network first."""
    os.environ |= {"CURATOR_DISABLE_CACHE": "1", "CURATOR_DISABLE_RICH_DISPLAY": "1", "TELEMETRY_ENABLED": "0"}
    from bespokelabs import curator as field  # an environment of its own

    with tempfile.TemporaryDirectory() as folder:
        os.environ["CURATOR_CACHE_DIR"] = folder
        settings = {
            "base_url": url,
            "api_key": "none",
            "max_concurrent_requests": AT_ONCE,
            "max_requests_per_minute": 10**7,
            "max_tokens_per_minute": 10**9,
            "request_timeout": 1,
            "require_all_responses": False,
        }
        model = field.LLM(model_name="m", backend="openai", backend_params=settings)
        if not calls:
            return {}
        reply = model([messages(number) for number in range(calls)])
        return {"answers": len(reply.dataset)}


def data_designer(url: str, calls: int) -> dict[str, Any]:
    """Ask through NeMo Data Designer, told the limit."""
    os.environ["NEMO_TELEMETRY_ENABLED"] = "false"
    import data_designer.config as dd  # an environment of its own
    import pandas as pd
    from data_designer.interface import DataDesigner

    parameters = dd.ChatCompletionInferenceParams(
        max_parallel_requests=AT_ONCE, timeout=int(TIMEOUT_S), temperature=0.0
    )
    model = dd.ModelConfig(
        alias="m", model="m", provider="bench", inference_parameters=parameters, skip_health_check=True
    )
    provider = dd.ModelProvider(name="bench", endpoint=url, provider_type="openai", api_key="none")
    plan = dd.DataDesignerConfigBuilder(model_configs=[model])
    rows = pd.DataFrame({"question": [question(number) for number in range(max(calls, 1))]})
    plan.with_seed_dataset(dd.DataFrameSeedSource(df=rows))
    plan.add_column(dd.LLMTextColumnConfig(name="a", model_alias="m", prompt="{{ question }}", system_prompt=SYSTEM))
    with tempfile.TemporaryDirectory() as folder:
        designer = DataDesigner(folder, model_providers=[provider])
        designer.set_run_config(dd.RunConfig(disable_early_shutdown=True, display_tui=False))
        if not calls:
            return {}
        return {"answers": len(designer.create(plan, num_records=calls).load_dataset())}


CLIENTS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "engine": engine,
    "bare": bare,
    "bare_aiohttp": bare_aiohttp,
    "plain_loop": plain_loop,
    "curator": curator,
    "data_designer": data_designer,
}


def main(name: str, url: str, calls: int) -> None:
    """Run one client and print what it counted and the processor seconds that it took."""
    CLIENTS[name](url, 0)  # imports are not what is measured
    standstill = Standstill()
    began, wall = time.process_time(), time.monotonic()
    counted = CLIENTS[name](url, calls)
    spent = {"cpu_s": time.process_time() - began, "wall_s": time.monotonic() - wall}
    spent["stood_still_s"] = round(standstill.longest_s, 3)
    print(json.dumps(counted | spent))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
