"""A tiny base model: a tokenizer and a small transformer, pre-trained on made-up lookups.

So that tuning shows something real without any download: the base knows the recipe's words a little, and has
never seen a real pair of question and answer.
"""

import logging
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetrail.errors import FinetrailError
from finetrail.models.control_tokens import plain_ids
from finetrail.models.masks import prompt_ids
from finetrail.rows.records import derive_seed
from finetrail.tiny.induction import lay_induction_circuit
from finetrail.tiny.lookup_task import Difficulty, Wordstock, difficulty_at, made_up_lookup, wordstock
from finetrail.tiny.tiny_mllama import random_mllama, save_image_processor, tie_head_once
from finetrail.tiny.tiny_settings import Architecture, TinyBaseSettings
from finetrail.tiny.tiny_tokenizer import train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Progress = Callable[[int, int], None]
_Pair = tuple[list[int], list[int]]

_IGNORED = -100
_WARMUP_SHARE = 0.05
_FINAL_SHARE = 0.1
_DRAWN_AT_ONCE = 256
_ROPE_THETA: dict[Architecture, float] = {
    "llama": 5e5,
    "mistral": 1e6,
    "qwen2": 1e6,
    "qwen3": 1e6,
    "mllama": 5e5,
}  # as published

logger = logging.getLogger(__name__)


def build_tiny_base(
    architecture: Architecture,
    texts: Sequence[str],
    *,
    settings: TinyBaseSettings,
    system: str,
    seed: int,
    out_dir: Path,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train tokenizer and model on texts and save both to out_dir, in the layout of the transformers library.

    The same texts, settings and seed give the same bytes for the same number of threads.

    Args:
        architecture: which published architecture the small model has.
        texts: train text of the recipe only: nothing of a dev or test row.
        settings: sizes and steps.
        system: the recipe's system prompt, which some lookups show.
        seed: of the weights and of the made-up lookups.
        out_dir: an existing, empty folder.
        progress: called with (steps done, steps in all).

    Returns:
        ``parameters``, ``tokens`` (seen in pre-training) and ``loss`` (mean over the last twentieth, nats).

    Raises:
        FinetrailError: the texts hold no words.
    """
    import torch

    stock = wordstock(texts)
    if not stock.words:
        raise FinetrailError("there is no text to train a tiny base on", hint="Check that the train split has rows")
    tokenizer = train_tokenizer(architecture, texts, vocabulary_size=settings.vocabulary_size, context=settings.context)
    torch.manual_seed(seed)
    model = new_model(architecture, tokenizer, settings)
    figures = _pretrain(model, tokenizer, stock, settings, system, seed, progress)
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    if architecture == "mllama":
        save_image_processor(out_dir)
    return {"parameters": float(model.num_parameters()), **figures}


def new_model(
    architecture: Architecture, tokenizer: "PreTrainedTokenizerFast", settings: TinyBaseSettings
) -> "PreTrainedModel":
    """Initialise the small model in fp32, able to copy from the start; depends on torch's global seed."""
    model = _random_model(architecture, tokenizer, settings)
    lay_induction_circuit(model)
    if architecture == "mllama":
        tie_head_once(model)
    return model


def _random_model(
    architecture: Architecture, tokenizer: "PreTrainedTokenizerFast", settings: TinyBaseSettings
) -> "PreTrainedModel":
    import torch
    import transformers

    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": settings.hidden_size,
        "intermediate_size": settings.intermediate_size,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.key_value_heads,
        "head_dim": settings.hidden_size // settings.heads,
        "max_position_embeddings": settings.context,
        "tie_word_embeddings": True,
        # The published 0.02 is for wide models: here it would keep logits so small that copying is learned late.
        "initializer_range": settings.hidden_size**-0.5,
        "rope_parameters": {"rope_type": "default", "rope_theta": _ROPE_THETA[architecture]},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "dtype": torch.float32,
    }
    if architecture == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    if architecture == "mistral":
        return transformers.MistralForCausalLM(transformers.MistralConfig(sliding_window=None, **shape))
    if architecture == "qwen2":
        del shape["head_dim"]  # Qwen2 derives it
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape))
    if architecture == "mllama":
        return random_mllama(shape)
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape))


def _pretrain(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    stock: Wordstock,
    settings: TinyBaseSettings,
    system: str,
    seed: int,
    progress: Progress | None,
) -> dict[str, float]:
    """Run the fixed number of steps: AdamW, cosine; the answers' tokens carry loss."""
    import torch

    batches = _Batches(tokenizer, stock, settings, system, seed)
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    losses: list[float] = []
    model.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
        inputs, labels = batches.next(step / settings.steps)
        loss = model(input_ids=inputs, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if progress is not None:
            progress(step + 1, settings.steps)
        if (step + 1) % max(1, settings.steps // 10) == 0:
            logger.info("pre-training step %d of %d, loss %.3f", step + 1, settings.steps, losses[-1])
    model.eval()
    tail = losses[-max(1, settings.steps // 20) :]
    return {"tokens": float(batches.tokens), "loss": sum(tail) / len(tail)}


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a tenth, as a share of the peak."""
    warmup = max(1, round(steps * _WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return _FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


class _Batches:
    """Batches of lookups of like length; only the answers carry loss."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerFast", stock: Wordstock, settings: TinyBaseSettings, system: str, seed: int
    ) -> None:
        self.tokens = 0
        self._tokenizer = tokenizer
        self._stock = stock
        self._settings = settings
        self._system = system
        self._rng = random.Random(derive_seed("tiny base", seed))
        self._waiting: list[list[_Pair]] = []

    def next(self, done: float) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Make the batch after a share of the steps: input ids and labels, both [rows, tokens]."""
        import torch

        if not self._waiting:
            self._waiting = self._draw(difficulty_at(done))
        batch = self._waiting.pop()
        width = max(len(prompt) + len(answer) for prompt, answer in batch)
        pad = self._tokenizer.pad_token_id
        inputs = [[*p, *a, *[pad] * (width - len(p) - len(a))] for p, a in batch]
        labels = [[*[_IGNORED] * len(p), *a, *[_IGNORED] * (width - len(p) - len(a))] for p, a in batch]
        self.tokens += width * len(batch)
        return torch.tensor(inputs), torch.tensor(labels)

    def _draw(self, difficulty: Difficulty) -> list[list[_Pair]]:
        """Make a stock of lookups and cut it into batches of step_tokens, padding included."""
        pairs = sorted((self._pair(difficulty) for _ in range(_DRAWN_AT_ONCE)), key=lambda pair: len(pair[0] + pair[1]))
        batches: list[list[_Pair]] = [[]]
        for pair in pairs:
            width = len(pair[0]) + len(pair[1])
            if batches[-1] and width * (len(batches[-1]) + 1) > self._settings.step_tokens:
                batches.append([])
            batches[-1].append(pair)
        self._rng.shuffle(batches)
        return batches

    def _pair(self, difficulty: Difficulty) -> _Pair:
        messages, answer = made_up_lookup(self._stock, difficulty, self._system, self._rng)
        prompt = prompt_ids(messages, self._tokenizer, where="a made-up lookup")
        target = plain_ids(self._tokenizer, answer, where="a made-up lookup")
        room = self._settings.context - len(target) - 1
        return prompt[-room:], [*target, self._tokenizer.eos_token_id]
