"""Choosing each next token of a batch: every answer with its own seed, grammar, temperature and log-probabilities."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetrail.serving.hf_server.grammar import Matcher

if TYPE_CHECKING:
    import torch

GREEDY_BELOW = 1e-5


@dataclass
class Draw:
    """One answer that is being written; its random numbers come from a generator of its own."""

    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    logprobs: int | None
    matcher: Matcher | None
    tokens: list[int] = field(default_factory=list)
    shown: list[tuple[int, float, list[tuple[int, float]]]] = field(default_factory=list)
    finish_reason: str = ""
    _generator: Any = None

    def restart(self) -> None:
        """Begin anew, as if nothing had been written."""
        self.tokens.clear()
        self.shown.clear()
        self.finish_reason = ""
        self._generator = None
        if self.matcher:
            self.matcher.restart()

    def next(self, logits: "torch.Tensor", ends: frozenset[int]) -> int:
        """Choose the next token, given the model's logits (vocabulary,) in float32.

        Log-probabilities are those of the model within the grammar, before temperature and `top_p`, as vLLM's are.
        """
        import torch

        held = self.matcher.hold(logits) if self.matcher else logits
        sure = torch.log_softmax(held, dim=-1)
        token = int(torch.argmax(sure)) if self.temperature < GREEDY_BELOW else self._drawn(sure)
        if token in ends:
            self.finish_reason = "stop"
            return token
        self.tokens.append(token)
        if self.logprobs is not None:
            values, ids = torch.topk(sure, self.logprobs)
            self.shown.append((token, float(sure[token]), list(zip(ids.tolist(), values.tolist(), strict=True))))
        if self.matcher:
            self.matcher.take(token)
        if len(self.tokens) >= self.max_tokens:
            self.finish_reason = "length"
        return token

    def _drawn(self, sure: "torch.Tensor") -> int:
        """Draw by inverting the distribution function over the tokens, the likeliest first.

        Nucleus sampling: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751.
        """
        import torch

        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self.seed)
        weights, ids = torch.sort(torch.softmax(sure.double() / self.temperature, dim=-1), descending=True, stable=True)
        reached = torch.cumsum(weights, dim=-1)
        kept = max(1, int((reached - weights < self.top_p).sum()))
        point = torch.rand((), generator=self._generator, dtype=torch.float64).item() * float(reached[kept - 1])
        place = min(int(torch.searchsorted(reached[:kept].cpu(), point, right=True)), kept - 1)
        return int(ids[place])


class Chooser:
    """A logits processor that chooses by itself: it leaves one token possible, which greedy search then takes.

    So the library's `generate` does the rest (caches, positions, images) for every architecture that it knows.
    """

    def __init__(self, draws: list[Draw], ends: frozenset[int], padding: int) -> None:
        self.draws, self.ends, self.padding = draws, ends, padding

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Return scores of the same shape (batch, vocabulary) in which one token a row is not minus infinity."""
        import torch

        chosen = torch.full_like(scores, float("-inf"))
        for row, draw in enumerate(self.draws):
            token = self.padding if draw.finish_reason else draw.next(scores[row].float(), self.ends)
            chosen[row, token] = 0.0
        return chosen

    def ended(self, input_ids: "torch.Tensor", scores: Any, **_: Any) -> "torch.Tensor":
        """Say which rows are finished, as a stopping criterion."""
        import torch

        return torch.tensor([bool(draw.finish_reason) for draw in self.draws], device=input_ids.device)
