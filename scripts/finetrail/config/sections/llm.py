"""Sections about language models: endpoints, prices, and references to a model."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from finetrail.config.sections.fields import Count, Name, Section, Share, Text, operation, result
from finetrail.config.sections.hosts import IN_THE_CLEAR, is_in_the_clear
from finetrail.config.sections.serve import Serve

OFFLINE_PREFIX = "offline-"

VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]*$")]


def _without_query(url: str) -> str:
    if "?" in url:
        raise ValueError("no `?` may stand in it: a key would land in logs. Name its variable in `api_key_env`")
    return url


Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$"), AfterValidator(_without_query)]
Money = Annotated[float, Field(ge=0)]


# `prompt_cache_key` and `stop_token` are settings, not secrets.
_SECRET = re.compile(
    r"^(x[-_])?((api|access|auth|bearer|client|subscription|secret)[-_]?(key|token|secret)|authorization|password)$",
    re.I,
)
_SECRET_VALUE = re.compile(r"^(Bearer\s+\S+|(sk|pk|key)-[\w-]{16,})$")


def named_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield all named fields of nested values."""
    if isinstance(value, list):
        for item in value:
            yield from named_fields(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name, item
            yield from named_fields(item)


def _without_secrets(body: dict[str, Any]) -> dict[str, Any]:
    for name, value in named_fields(body):
        if _SECRET.match(name) or (isinstance(value, str) and _SECRET_VALUE.match(value)):
            raise ValueError(f"`{name}` looks like a key, which would be stored. Name its variable in `api_key_env`")
    return body


def shards_key() -> Any:
    """Declare the key that shares the rows of a phase that asks a model out among several jobs."""
    return operation(
        1,
        "jobs that share the rows of each step of this phase that asks a model; another number makes those steps again "
        "from the call store: no call, same bytes",
        ge=1,
    )


ALLOW_HTTP = "a key may be sent over http, where whoever stands on the way can read it"


def check_key_is_hidden(base_url: str | None, api_key_env: str | None, *, allow_http: bool) -> None:
    """Refuse to send a key over http to a server that is not on this machine or at a literal private address.

    Raises:
        ValueError: it would be.
    """
    if base_url and api_key_env and not allow_http and is_in_the_clear(base_url):
        raise ValueError(f"`base_url` is {base_url}, and `api_key_env` names a key: {IN_THE_CLEAR}")


class ModelReference(Section):
    """A language model behind an endpoint, and how it is sampled."""

    endpoint: Name = operation(..., "name of an endpoint under `llm.endpoints`")
    model: Text = result(..., "model id, as the endpoint calls it")
    revision: Text | None = result(None, "revision of the model, where the server has one; part of every call's key")
    temperature: float = result(0.0, "sampling temperature", ge=0, le=2)
    top_p: Share = result(1.0, "nucleus sampling: share of probability kept")
    max_tokens: Count = result(512, "longest reply, in tokens")
    logprobs: int | None = result(
        None,
        "log-probabilities stored with each answer: of its tokens (0), and of so many others at each place",
        ge=0,
        le=20,
    )
    extra_body: Annotated[dict[str, Any], AfterValidator(_without_secrets)] = result(
        {}, "further fields of every request, as the server documents them; null leaves a field out"
    )

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": ("revision",)}


class Sourced(Section):
    """A price, with the page that states it."""

    source: Text | None = operation(None, "page that states the price; none: nobody has said where it comes from")
    read_on: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = operation(
        None, "day on which that page was read, as YYYY-MM-DD"
    )


class Price(Sourced):
    """What a model costs."""

    input: Money | None = operation(None, "USD per million input tokens; none where no source states it")
    output: Money | None = operation(None, "USD per million output tokens; none where no source states it")
    cached: Money | None = operation(
        None, "USD per million input tokens that the server had cached; where nothing is said, as `input`"
    )


class Endpoint(Section):
    """A server that speaks the OpenAI protocol."""

    kind: Literal["openai", "offline", "vllm", "transformers"] = operation(
        ...,
        "`openai`: any server of that protocol; `offline`: the rule-based teacher, started where needed; `vllm` and "
        "`transformers`: a server of ours for the model that is asked, started by the job on its own node",
    )
    base_url: Url | None = operation(None, "address, ending in /v1; compulsory for `openai`")
    api_key_env: VariableName | None = operation(None, "environment variable that holds the key; none for no key")
    timeout_s: float = operation(120.0, "seconds to wait for one reply", gt=0)
    max_concurrency: Count = operation(8, "most calls under way at once")
    max_retries: int = operation(5, "further tries of a call that failed for a passing cause", ge=0)
    max_image_bytes: Count = operation(
        20_000_000, "largest image file that is sent; a row with a larger one is set aside"
    )
    max_image_pixels: Count = operation(64_000_000, "largest image that is sent, as width times height")
    supports_n: bool = operation(
        False, "the server knows `n`: several versions of an answer are asked for with one call"
    )
    requests_per_minute: Count | None = operation(None, "ceiling of requests a minute, all models together")
    tokens_per_minute: Count | None = operation(None, "ceiling of tokens a minute, of prompts and answers together")
    prices: dict[Text, Price] = operation({}, "prices by model id; what other models cost is unknown")
    allow_http: bool = operation(False, ALLOW_HTTP)
    serve: Serve = operation(Serve(), "how a server of kind `vllm` or `transformers` is started")

    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {"kind": ("base_url", "api_key_env", "prices", "serve")}

    @property
    def is_own_server(self) -> bool:
        """The job starts a model's server on its own node."""
        return self.kind in ("vllm", "transformers")

    @property
    def gpus(self) -> int:
        """GPUs that a job needs to ask this endpoint."""
        return self.serve.tensor_parallel if self.is_own_server and self.serve.device == "gpu" else 0

    def unused_keys(self) -> tuple[str, ...]:
        """What is started nowhere has no `serve`."""
        return () if self.is_own_server else ("serve",)

    @model_validator(mode="after")
    def _check_address(self) -> "Endpoint":
        if self.kind == "openai" and self.base_url is None:
            raise ValueError("an endpoint of kind openai needs a `base_url`")
        if self.kind == "offline" and (self.base_url or self.api_key_env):
            raise ValueError("the offline teacher has neither `base_url` nor `api_key_env`")
        if self.is_own_server and (self.base_url or self.api_key_env or self.prices):
            raise ValueError(
                f"`{self.kind}` starts a server of its own, with neither `base_url`, `api_key_env` nor `prices`; a "
                "server that runs already is of kind `openai`"
            )
        check_key_is_hidden(self.base_url, self.api_key_env, allow_http=self.allow_http)
        if not self.is_own_server and "serve" in self.model_fields_set:
            raise ValueError("`serve` belongs to the kinds `vllm` and `transformers`")
        if self.kind == "transformers":
            self.serve.check_for_transformers()
        return self


class Llm(Section):
    """Language model endpoints and the budget."""

    mode: Literal["live", "replay"] = operation(
        "live", "`replay` uses no network: a call that is not stored is an error"
    )
    run_on: Literal["compute", "submit"] = operation(
        "compute",
        "where steps run that need the internet: `compute` as jobs of a cluster, `submit` where Snakemake runs, for "
        "sites whose compute nodes have no internet; steps that start a server on a GPU are always jobs",
    )
    max_quarantined_share: Share = operation(0.05, "a step fails when more of its rows could not be processed")
    budget_usd: Money | None = operation(
        None, "most USD that one run pays; it then stops, keeps all answers and, run again, pays only the rest"
    )
    budget_calls: int | None = operation(
        None, "most replies that one run asks for, whatever they cost; it stops as for `budget_usd`", ge=0
    )
    max_wait_s: float = operation(
        600.0,
        "longest wait, in seconds, for a server or a search service that refuses everything; the step then ends with "
        "the server's own words",
        gt=0,
    )
    ask_again: bool = operation(
        False, "replies that were paid for and are stored as of no use are asked for, and paid, once more"
    )
    endpoints: dict[Name, Endpoint] = operation({}, "servers by name")
