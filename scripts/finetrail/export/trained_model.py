"""What the trained model itself says to a prompt, in fp32: what an exported file is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.detect_layout import template_text
from finetrail.chat.messages import Message
from finetrail.models.control_tokens import control_tokens
from finetrail.models.masks import prompt_ids, split_ids
from finetrail.models.model_folder import load_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

_WHERE = "a conversation of the parity gate"
Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Span:
    """Tokens after a prefix: token ``targets[i]`` follows ``ids[: start + i]``.

    ``log_probs``: float32 [len(targets), vocabulary], the whole distribution at each place.
    """

    ids: list[int]
    start: int
    log_probs: "NDArray[np.float32]"

    @property
    def targets(self) -> list[int]:
        """The tokens after the prefix."""
        return self.ids[self.start :]


@dataclass(frozen=True)
class Expected:
    """What a conversation should give: prompt, greedy continuation, and the given answer if it has one.

    ``control_texts``: how many control tokens stand in its messages; ``prompt_ids`` has them as plain text.
    """

    messages: Messages
    prompt: str
    prompt_ids: list[int]
    greedy: Span
    answer: Span | None
    control_texts: int


def split_answer(conversation: Messages) -> tuple[Messages, str | None]:
    """Take the last message away where it is the assistant's."""
    if conversation and conversation[-1]["role"] == "assistant":
        return conversation[:-1], conversation[-1]["content"]
    return conversation, None


def encoded_ids(conversation: Messages, tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], list[int]]:
    """Return the ids of a conversation's prompt and of its answer, which has none where it has no answer.

    Raises:
        UnfitRow: see `finetrail.models.masks.prompt_ids`.
    """
    shown = _messages(conversation)
    if split_answer(conversation)[1] is None:
        return prompt_ids(shown, tokenizer, where=_WHERE), []
    return split_ids(shown, tokenizer, _WHERE)


def _messages(conversation: Messages) -> list[Message]:
    return [Message(role=message["role"], content=message["content"]) for message in conversation]


def expect(
    model_dir: Path,
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Sequence[Messages],
    length: int,
) -> list[Expected]:
    """Run the trained model over conversations: greedy for ``length`` tokens, and over each answer's first.

    The model is loaded in fp32 with eager attention, and dropped at the end.
    """
    import torch
    from transformers import AutoModelForCausalLM

    eager = {"dtype": torch.float32, "attn_implementation": "eager"}
    model = load_weights(AutoModelForCausalLM, model_dir, **eager).eval()
    found = []
    with torch.inference_mode():
        for conversation in conversations:
            messages, answer = split_answer(conversation)
            ids, target = encoded_ids(conversation, tokenizer)
            answered = None if answer is None else _span(model, ids, target[:length])
            greedy = _span(model, ids, _greedy(model, ids, length))
            texts = control_tokens(tokenizer).count(_messages(messages))
            found.append(Expected(messages, template_text(tokenizer, messages), ids, greedy, answered, texts))
    return found


def _greedy(model: Any, ids: list[int], length: int) -> list[int]:
    """Choose the most probable token ``length`` times; generation_config's penalties do not count."""
    import torch

    chosen: list[int] = []
    output = model(input_ids=torch.tensor([ids]), use_cache=True)
    for _ in range(length):
        chosen.append(int(output.logits[0, -1].argmax()))
        output = model(input_ids=torch.tensor([chosen[-1:]]), past_key_values=output.past_key_values, use_cache=True)
    return chosen


def _span(model: Any, prompt: list[int], targets: list[int]) -> Span:
    import torch

    ids = prompt + targets
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return Span(ids, len(prompt), torch.log_softmax(logits.float(), dim=-1).numpy())
