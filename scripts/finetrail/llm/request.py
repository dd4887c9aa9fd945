"""What is asked of a language model and what comes back; a request's key names its answer for ever."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from finetrail.calls.money import Usage
from finetrail.calls.segment import UNUSABLE, StoredCall
from finetrail.llm.structured import NotAsAsked, parse_answer, read_kept
from finetrail.rows.records import canonical_json, derive_seed
from finetrail.vision.data_url import ImageLimits, data_url
from finetrail.vision.image import Image

KEY_FORMAT = 1


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: its role, its text, and the images that stand before the text."""

    role: str
    content: str
    images: tuple[Image, ...] = ()

    def for_key(self) -> dict[str, Any]:
        """Render the message as it enters the key and the store: images by hash."""
        return self._render([{"type": "image", "sha256": image.sha256} for image in self.images])

    def for_wire(self, limits: ImageLimits) -> dict[str, Any]:
        """Render the message as the server reads it: images as data URLs."""
        urls = [data_url(image, limits) for image in self.images]
        return self._render([{"type": "image_url", "image_url": {"url": url}} for url in urls])

    def _render(self, images: list[dict[str, Any]]) -> dict[str, Any]:
        if not images:
            return {"role": self.role, "content": self.content}
        return {"role": self.role, "content": [*images, {"type": "text", "text": self.content}]}


@dataclass(frozen=True)
class Sampling:
    """How the answer is drawn; what is None is left to the server and not sent."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def settings(self) -> dict[str, float | int]:
        """Return the settings that are given."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """One question to a model.

    Args:
        row_id: the row that needs the answer; for messages and totals, not part of the key.
        phase: the phase that asks; for messages and totals, not part of the key.
        messages: the conversation so far.
        endpoint: the name of the endpoint; where a model is served is not part of the key.
        model: the model's id, as the server knows it.
        sampling: temperature and the like. The seed on the wire is derived from it and `sample`.
        schema: JSON Schema of the answer; None for free text.
        schema_name: the schema's name, which the server is told.
        sample: which of several answers to the same question.
        revision: the model's revision, where it has one.
        logprobs: None for none; else log-probabilities come with the answer, of each token and of so many others
            that stood beside it.
        extra_body: fields added to the HTTP request as they are; one that is None is left out of it.
        facts: what else decides the answer (dtype, chat template, code of the offline teacher ...);
            the engine adds what the endpoint knows (`Engine.bind`).
        siblings: requests for further answers to this question that the same call may bring; not part of the key.
        heard: what the model has said to it, stored and not of the asked form, where only the repair is still to be
            asked for; not part of the key.
    """

    row_id: str
    phase: str
    messages: tuple[Message, ...]
    endpoint: str
    model: str
    sampling: Sampling = Sampling()
    schema: Mapping[str, Any] | None = None
    schema_name: str | None = None
    sample: int = 0
    revision: str | None = None
    logprobs: int | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    siblings: "tuple[ChatRequest, ...]" = ()
    heard: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.schema is None) != (self.schema_name is None):
            raise ValueError("a schema and its name come together")

    @property
    def canonical(self) -> dict[str, Any]:
        """Everything that decides the answer and nothing else; the store keeps it beside the answer."""
        schema = None if self.schema is None else {"name": self.schema_name, "schema": self.schema}
        logprobs = {} if self.logprobs is None else {"logprobs": self.logprobs}
        return {
            "format": KEY_FORMAT,
            "model": self.model,
            "revision": self.revision,
            "messages": [message.for_key() for message in self.messages],
            "sampling": self.sampling.settings(),
            "schema": schema,
            "sample": self.sample,
            "extra_body": dict(self.extra_body),
            "facts": dict(self.facts),
            **logprobs,
        }

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical request, in hexadecimal.

        Raises:
            UnicodeEncodeError: a message holds half of a surrogate pair, which is no text.
        """
        return hashlib.sha256(canonical_json(self.canonical).encode("utf-8")).hexdigest()

    def asks_the_same(self, other: "ChatRequest") -> bool:
        """Say whether another request differs in its sample only."""
        return self.endpoint == other.endpoint and self.canonical | {"sample": 0} == other.canonical | {"sample": 0}

    def for_wire(self, limits: ImageLimits) -> dict[str, Any]:
        """Render the body of the HTTP request, in the protocol of OpenAI's chat completions.

        Raises:
            FinetrailError: an image cannot be sent.
            ImageTooLarge: an image exceeds a limit.
        """
        body: dict[str, Any] = {"model": self.model, "messages": [m.for_wire(limits) for m in self.messages]}
        body |= self.sampling.settings()
        if self.logprobs is not None:
            body["logprobs"] = True
            if self.logprobs:
                body["top_logprobs"] = self.logprobs
        if self.sampling.seed is not None and self.sample:
            body["seed"] = derive_seed(self.sampling.seed, self.sample)
        if self.siblings:
            body["n"] = 1 + len(self.siblings)
        if self.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": self.schema_name, "schema": self.schema, "strict": True},
            }
        return {name: value for name, value in {**body, **self.extra_body}.items() if value is not None}


@dataclass(frozen=True)
class ChatAnswer:
    """The answer to a request; `parsed` is the value of its JSON where a schema was asked for.

    Rows may carry everything but `from_store`, which depends on what had been paid before. `logprobs` has an entry a
    token, as the server gives it, where the request asked for them. `usage` is None where the server did not say it.
    `enclosed`: the JSON stood in a fence, in prose or behind reasoning.
    """

    row_id: str
    key: str
    answer_sha256: str
    text: str
    parsed: Any
    finish_reason: str
    model: str
    fingerprint: str | None
    usage: Usage | None
    from_store: bool
    logprobs: Sequence[Mapping[str, Any]] | None = None
    enclosed: bool = False

    @classmethod
    def of(cls, call: StoredCall, request: ChatRequest, *, from_store: bool) -> "ChatAnswer":
        """Turn a stored call into the answer to a request.

        Raises:
            NotAsAsked: its text is not of the form that was asked for.
            LookupError, TypeError, AttributeError: it is no answer of a model.
        """
        said, schema = call.answer, request.schema
        if not isinstance(said["text"], str):
            raise TypeError("its text is none")
        if UNUSABLE in said and schema is None:
            raise NotAsAsked(said[UNUSABLE])
        parsed = (parse_answer if UNUSABLE in said else read_kept)(said["text"], schema)
        return cls(
            row_id=request.row_id,
            key=call.key,
            answer_sha256=call.answer_sha256,
            text=said["text"],
            parsed=parsed.value,
            finish_reason=said["finish_reason"],
            model=said["model"],
            fingerprint=said["fingerprint"],
            usage=Usage.stored(said["usage"]),
            from_store=from_store,
            logprobs=said.get("logprobs"),
            enclosed=parsed.enclosed,
        )


@dataclass(frozen=True)
class CallFailure:
    """A request that got no usable answer: the row goes into quarantine with this error.

    `attempts` counts the HTTP requests that were made for it. `unasked`: the budget allowed no call, and nothing is
    wrong with the row.
    """

    row_id: str
    key: str
    error: str
    attempts: int
    unasked: bool = False
