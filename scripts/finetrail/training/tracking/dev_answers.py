"""Exact match and F1 of answers to dev rows, taken from the model as it is being trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetrail.chat.bundles import without_citations
from finetrail.metrics.answer_overlap import exact_match, token_f1
from finetrail.models.masks import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LONGER = 1.5  # an answer may be longer than the gold one by this factor, and by a few tokens
_MORE = 8


def score_answers(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", rows: "Dataset", count: int
) -> dict[str, float]:
    """Answer the first rows greedily and compare with what they should say, citations such as [1.2] aside.

    Nothing of the training changes: no random number is drawn, and the model is left in the mode that it was in.

    Args:
        model: on its device; a model of which each process holds a part cannot answer alone.
        tokenizer: of the model.
        rows: encoded dev rows, one row a sequence: ``input_ids`` and ``labels``.
        count: how many of them.

    Returns:
        ``eval_em`` and ``eval_f1``, means from 0 to 1; nothing where no row carries a target.
    """
    import torch

    pairs = []
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for row in rows.select(range(min(count, len(rows)))):
                if split := _split(row["input_ids"], row["labels"]):
                    prompt, target = split
                    said = (_answer(model, tokenizer, prompt, target), _text(tokenizer, target))
                    pairs.append((without_citations(said[0]), without_citations(said[1])))
    finally:
        model.train(was_training)
    if not pairs:
        return {}
    return {
        "eval_em": sum(exact_match(*pair) for pair in pairs) / len(pairs),
        "eval_f1": sum(token_f1(*pair) for pair in pairs) / len(pairs),
    }


def _split(ids: Sequence[int], labels: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """Part a row into what stands before its last target, and that target."""
    end = len(labels)
    while end and labels[end - 1] == IGNORED:
        end -= 1
    start = end
    while start and labels[start - 1] != IGNORED:
        start -= 1
    return (list(ids[:start]), list(ids[start:end])) if 0 < start < end else None


def _answer(model: Any, tokenizer: Any, prompt: list[int], target: list[int]) -> str:
    import torch

    ids = torch.tensor([prompt], device=model.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=round(_LONGER * len(target)) + _MORE,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=target[-1],  # rows end with the turn's last token
        use_cache=True,
    )
    return _text(tokenizer, made[0, len(prompt) :].tolist())


def _text(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
