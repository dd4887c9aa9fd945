"""What the trained model itself says to a prompt, in fp32: what an exported file is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.chat_layout import ChatLayout
from finetrail.chat.detect_layout import template_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

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
    """What a conversation should give: prompt, greedy continuation, and the given answer if it has one."""

    messages: Messages
    prompt: str
    prompt_ids: list[int]
    greedy: Span
    answer: Span | None


def split_answer(conversation: Messages) -> tuple[Messages, str | None]:
    """Take the last message away where it is the assistant's."""
    if conversation and conversation[-1]["role"] == "assistant":
        return conversation[:-1], conversation[-1]["content"]
    return conversation, None


def expect(
    model_dir: Path,
    tokenizer: "PreTrainedTokenizerBase",
    layout: ChatLayout,
    conversations: Sequence[Messages],
    length: int,
) -> list[Expected]:
    """Run the trained model over conversations: greedy for ``length`` tokens, and over each answer's first.

    The model is loaded in fp32 with eager attention, and dropped at the end.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        str(model_dir), dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    model.eval()
    found = []
    with torch.inference_mode():
        for conversation in conversations:
            messages, answer = split_answer(conversation)
            prompt = template_text(tokenizer, messages)
            ids = _ids(tokenizer, prompt)
            answered = None
            if answer is not None:
                text = layout.answer_lead + answer + layout.assistant[1]
                answered = _span(model, ids, _answer_ids(tokenizer, prompt, text)[:length])
            greedy = _span(model, ids, _greedy(model, ids, length))
            found.append(Expected(messages, prompt, ids, greedy, answered))
    return found


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Tokenize text that already holds its control tokens."""
    return [int(number) for number in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _answer_ids(tokenizer: "PreTrainedTokenizerBase", prompt: str, text: str) -> list[int]:
    """Tokens of an answer in its place: every layout's prompt ends where tokens part."""
    return _ids(tokenizer, prompt + text)[len(_ids(tokenizer, prompt)) :]


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
