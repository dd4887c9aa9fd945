"""Named endpoints: where a model is asked, and with which patience."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from finetrail.calls.base_endpoint import BaseEndpoint
from finetrail.calls.money import FREE, Price
from finetrail.errors import FinetrailError
from finetrail.serving.command_lines import own_server
from finetrail.serving.offline.teacher import teacher_digest
from finetrail.serving.own_server import OwnServer
from finetrail.serving.server_process import ServerSpec, offline_teacher
from finetrail.vision.data_url import ImageLimits

Kind = Literal["openai", "offline", "vllm", "transformers"]


@dataclass(frozen=True)
class Endpoint(BaseEndpoint):
    """One server, or the recipe for one of our own.

    Args:
        kind: `openai` for any server with that protocol; `offline` (the rule-based teacher), `vllm` and
            `transformers` for servers that the engine starts and stops itself.
        base_url: the address that ends in `/v1`; None for servers of our own.
        max_image_bytes: the largest image file that is sent.
        max_image_pixels: the same in pixels.
        supports_n: it gives several answers to one question when asked with `n`.
        prices: US dollars by model id.
        serve: how a `vllm` or `transformers` server is started; None for the other kinds.
    """

    SECTION = "llm.endpoints"
    WITHOUT_KEY = ", or choose the endpoint 'offline'"

    kind: Kind
    base_url: str | None = None
    supports_n: bool = False
    max_image_bytes: int = ImageLimits().max_image_bytes
    max_image_pixels: int = ImageLimits().max_image_pixels
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
        """Return the endpoint as one of the jobs that share it may use it; servers of our own are not shared."""
        return super().shared(share) if self.kind == "openai" else self

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
