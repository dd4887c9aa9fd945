"""Named endpoints: where a model is asked, and with which patience."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from finetrail.calls.money import FREE, Price
from finetrail.calls.rate_limit import part_of
from finetrail.errors import FinetrailError
from finetrail.serving.command_lines import own_server
from finetrail.serving.offline.teacher import teacher_digest
from finetrail.serving.own_server import OwnServer
from finetrail.serving.server_process import ServerSpec, offline_teacher
from finetrail.vision.data_url import ImageLimits

Kind = Literal["openai", "offline", "vllm", "transformers"]


@dataclass(frozen=True)
class Endpoint:
    """One server, or the recipe for one of our own.

    Args:
        name: its name in the config.
        kind: `openai` for any server with that protocol; `offline` (the rule-based teacher), `vllm` and
            `transformers` for servers that the engine starts and stops itself.
        base_url: the address that ends in `/v1`; None for servers of our own.
        api_key_env: the environment variable that holds the key; None where the server wants none.
        timeout_s: seconds that one attempt may take, first byte to last.
        max_concurrency: the most calls that are under way at once (sent and not yet safely stored).
        max_retries: how often a failed attempt is repeated before the row is given up.
        max_image_bytes: the largest image file that is sent.
        max_image_pixels: the same in pixels.
        supports_n: it gives several answers to one question when asked with `n`.
        requests_per_minute: a ceiling for all its models together; None for none.
        tokens_per_minute: the same for tokens, of prompts and answers.
        prices: US dollars by model id.
        serve: how a `vllm` or `transformers` server is started; None for the other kinds.
    """

    name: str
    kind: Kind
    base_url: str | None = None
    api_key_env: str | None = None
    timeout_s: float = 120.0
    max_concurrency: int = 16
    max_retries: int = 5
    supports_n: bool = False
    max_image_bytes: int = ImageLimits().max_image_bytes
    max_image_pixels: int = ImageLimits().max_image_pixels
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    serve: OwnServer | None = None

    def __post_init__(self) -> None:
        where = f"endpoint {self.name!r}"
        if self.kind == "openai" and not (self.base_url or "").startswith(("http://", "https://")):
            raise FinetrailError(
                f"base_url must be an http or https address, found {self.base_url!r}",
                where=where,
                hint="Give the address that ends in /v1",
            )
        if self.max_concurrency < 1 or self.max_retries < 0 or self.timeout_s <= 0:
            raise FinetrailError("max_concurrency, max_retries and timeout_s must be positive", where=where)

    @property
    def image_limits(self) -> ImageLimits:
        """The largest image that is sent."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels)

    def shared(self, share: Fraction) -> "Endpoint":
        """Return the endpoint as one of the jobs that share it may use it; servers of our own are not shared.

        Ceilings are cut to whole numbers, and to no less than 1, so that the jobs together keep to the endpoint's.

        Args:
            share: what part of its ceilings the job has.
        """
        if self.kind != "openai" or share >= 1:
            return self

        return replace(
            self,
            max_concurrency=part_of(self.max_concurrency, share),
            requests_per_minute=self.requests_per_minute and part_of(self.requests_per_minute, share),
            tokens_per_minute=self.tokens_per_minute and part_of(self.tokens_per_minute, share),
        )

    def facts(self, model: str, revision: str | None) -> dict[str, Any]:
        """Return what the endpoint adds to the key of every request to a model.

        Raises:
            FinetrailError: a model's folder, which a server of our own would load, cannot be read.
        """
        if self.serve is not None:
            return self.serve.facts(model, revision)
        return {"offline_teacher": teacher_digest()} if self.kind == "offline" else {}

    def server_of(self, model: str, revision: str | None) -> ServerSpec | None:
        """Describe the server of our own that answers for a model; None where one runs already.

        Raises:
            FinetrailError: the model cannot be served here.
        """
        if self.serve is not None:
            return own_server(self.kind, self.serve, model, revision)
        return offline_teacher() if self.kind == "offline" else None

    def price_of(self, model: str) -> Price | None:
        """Return what a model costs here; servers of our own are free, and None is for a price that is not known."""
        return self.prices.get(model) if self.kind == "openai" else FREE

    def api_key(self, where: str | None = None) -> str:
        """Read the key from the environment.

        Args:
            where: who asks, for the message.

        Raises:
            FinetrailError: the variable is not set.
        """
        if self.api_key_env is None:
            return "none"
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise FinetrailError(
                f"the environment variable {self.api_key_env} is not set",
                where=where or f"endpoint {self.name!r}",
                hint=f"Run: export {self.api_key_env}=...  (keys are read from the environment only; the variable's "
                f"name stands in llm.endpoints.{self.name}.api_key_env), or choose the endpoint 'offline'",
            )
        return key
