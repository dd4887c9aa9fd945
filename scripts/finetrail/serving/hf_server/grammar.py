"""Holding an answer to its JSON Schema, with llguidance: the engine behind vLLM's `guidance`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetrail.serving.hf_server.protocol import Refusal

if TYPE_CHECKING:
    import torch


class Grammars:
    """Compiles schemas for one tokenizer.

    Args:
        tokenizer: a fast tokenizer of the transformers library.
        width: how many logits the model gives (at least the tokenizer's size).
    """

    def __init__(self, tokenizer: Any, width: int) -> None:
        from llguidance.hf import from_tokenizer

        self._tokens = from_tokenizer(tokenizer, n_vocab=width)
        self._width = width

    def matcher(self, schema: Mapping[str, Any]) -> "Matcher":
        """Begin an answer.

        Raises:
            Refusal: the schema uses something that cannot be enforced.
        """
        from llguidance import LLMatcher

        options = {"x-guidance": {"whitespace_flexible": False}}
        grammar = LLMatcher.grammar_from_json_schema(json.dumps({**schema, **options}))
        if problem := LLMatcher.validate_grammar(grammar, self._tokens):
            raise Refusal(400, f"Invalid schema for response_format: {problem}", "invalid_json_schema")
        return Matcher(LLMatcher(self._tokens, grammar), self._width)


class Matcher:
    """One answer's way through its grammar."""

    def __init__(self, inner: Any, width: int) -> None:
        self._inner = inner
        self._width = width

    def hold(self, logits: "torch.Tensor") -> "torch.Tensor":
        """Set what may not follow to minus infinity.

        Args:
            logits: of one answer, shape (vocabulary,).
        """
        import numpy as np
        import torch

        bits = np.unpackbits(np.frombuffer(self._inner.compute_bitmask(), np.uint8), bitorder="little")
        allowed = torch.from_numpy(bits[: self._width].astype(bool)).to(logits.device)
        return logits.masked_fill(~allowed, float("-inf"))

    def take(self, token: int) -> None:
        """Go on with a token."""
        self._inner.consume_token(token)

    def restart(self) -> None:
        """Go back to the beginning."""
        self._inner.reset()
