"""Compare what llama.cpp makes of a GGUF file with what the trained model said."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.detect_layout import first_difference
from finetrail.errors import FinetrailError
from finetrail.export.llama_runtime import LlamaRuntime
from finetrail.export.trained_model import Expected, Span
from finetrail.models.chat_tokens import chat_tokens
from finetrail.rows.records import sha256_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

# Below it, a probability is lost in float32, and llama.cpp writes its smallest number.
FLOOR = -80.0
_CONTEXT_STEP = 256


def compare_file(
    path: Path,
    expected: Sequence[Expected],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    threads: int,
    tie: float,
) -> dict[str, Any]:
    """Run every conversation through llama.cpp and compare.

    Args:
        path: the GGUF file.
        expected: what the trained model says.
        tokenizer: the trained model's.
        threads: llama.cpp's CPU threads.
        tie: where the trained model prefers a token by at most twice this (nats), greedy choices may part.

    Returns:
        ``token_ids_equal``, ``end_token_equal``, ``greedy_equal``, ``max_log_prob_difference``, ``mean_kl``
        (both in nats), ``sha256``, ``runtime_parses_control_tokens``, and ``conversations`` with the same for each.
        Where a conversation's messages hold control tokens, a runtime that parses them has other ids: such a one is
        compared as ids, and its ``token_ids_equal`` is null.

    Raises:
        FinetrailError: llama.cpp cannot load the file.
    """
    context = context_for(len(span.ids) for one in expected for span in _spans(one))
    with LlamaRuntime(path, context=context, threads=threads) as runtime:
        rows = [{"index": number, **_compare(runtime, one, tokenizer, tie)} for number, one in enumerate(expected)]
        end_token_equal = runtime.end_token() == (tokenizer.eos_token or "")
        parses = chat_tokens(tokenizer).end in runtime.tokenize(_as_data(tokenizer))
    return {
        "token_ids_equal": _together(row["token_ids_equal"] for row in rows),
        "runtime_parses_control_tokens": parses,
        "end_token_equal": end_token_equal,
        "greedy_equal": all(row["greedy_equal"] for row in rows),
        "max_log_prob_difference": max(row["max_log_prob_difference"] for row in rows),
        "mean_kl": sum(row["mean_kl"] * row["tokens"] for row in rows) / sum(row["tokens"] for row in rows),
        "sha256": sha256_file(path),
        "conversations": rows,
    }


def context_for(lengths: Iterable[int]) -> int:
    """Return the context that llama.cpp needs for sequences of these lengths and one token more."""
    return -(-(max(lengths) + 1) // _CONTEXT_STEP) * _CONTEXT_STEP


def divergence(wanted: "NDArray[np.float32]", found: "NDArray[np.float32]") -> float:
    """Return the Kullback-Leibler divergence of log-probabilities over a vocabulary from wanted ones, in nats."""
    import numpy as np

    sure = np.maximum(wanted.astype(np.float64), FLOOR)
    other = np.maximum(found.astype(np.float64), FLOOR)
    return max(float(np.sum(np.exp(sure) * (sure - other))), 0.0)


def _spans(one: Expected) -> list[Span]:
    return [one.greedy] if one.answer is None else [one.greedy, one.answer]


def _compare(runtime: LlamaRuntime, one: Expected, tokenizer: "PreTrainedTokenizerBase", tie: float) -> dict[str, Any]:
    difference = None if one.control_texts else _prompt_difference(runtime, one, tokenizer)
    differences, divergences = [], []
    for span in _spans(one):
        for place in range(len(span.targets)):
            gap, distance = _distance(runtime, span, place)
            differences.append(gap)
            divergences.append(distance)
    return {
        "prompt_tokens": len(one.prompt_ids),
        "tokens": len(differences),
        "control_tokens_in_messages": one.control_texts,
        "token_ids_equal": None if one.control_texts else difference is None,
        "difference": difference,
        "greedy_equal": _greedy_equal(runtime, one, tie),
        "max_log_prob_difference": max(differences),
        "mean_kl": sum(divergences) / len(divergences),
    }


def _together(found: Iterable[bool | None]) -> bool | None:
    """Return whether all are equal; None where one was not compared and none differs."""
    known = list(found)
    return False if False in known else None if None in known else True


def _as_data(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a text that a message might hold: the end of a turn, in words."""
    return f"He wrote {tokenizer.convert_ids_to_tokens(chat_tokens(tokenizer).end)} there."


def _prompt_difference(runtime: LlamaRuntime, one: Expected, tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Say how llama.cpp's prompt differs from the trained model's; None where the token ids are equal.

    Two ways lead to a prompt: the file's own chat template (llama.cpp), and a template that writes no BOS
    because the tokenizer adds it (Ollama).
    """
    bos = tokenizer.bos_token or ""
    wanted = one.prompt.removeprefix(bos)
    try:
        prompt = runtime.apply_template(one.messages)
    except FinetrailError as error:  # a template that llama.cpp refuses is a finding, too
        return str(error)
    # llama.cpp takes a BOS that its tokenizer will add out of the text.
    if prompt.removeprefix(bos) != wanted:
        return first_difference("the chat template", wanted, "llama.cpp", prompt.removeprefix(bos))
    for way, text in (("llama.cpp", prompt), ("llama.cpp, given no BOS,", wanted)):
        ids = runtime.tokenize(text)
        if ids != one.prompt_ids:
            return _ids_difference(one.prompt_ids, way, ids)
    return None


def _ids_difference(wanted: list[int], way: str, found: list[int]) -> str:
    place = next(
        (number for number, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]),
        min(len(wanted), len(found)),
    )
    shown = slice(place, place + 8)
    return f"at token {place} the tokenizer has {wanted[shown]} and {way} {found[shown]}"


def _greedy_equal(runtime: LlamaRuntime, one: Expected, tie: float) -> bool:
    """Compare greedy tokens up to llama.cpp's end; a choice between near-equals may part them."""
    targets = one.greedy.targets
    tokens, ended = runtime.greedy(one.prompt_ids, len(targets))
    for place, (mine, theirs) in enumerate(zip(targets, tokens, strict=False)):
        if mine != theirs:
            log_probs = one.greedy.log_probs[place]
            return bool(log_probs[mine] - log_probs[theirs] <= 2 * tie)
    return len(tokens) == len(targets) or ended


def _distance(runtime: LlamaRuntime, span: Span, place: int) -> tuple[float, float]:
    """Difference of the target's log-probability, and divergence of the distributions, both in nats."""
    import numpy as np

    wanted = span.log_probs[place]
    found = runtime.log_probs(span.ids[: span.start + place], len(wanted))
    target = span.targets[place]
    gap = np.maximum(wanted[target], FLOOR).astype(np.float64) - np.maximum(found[target], FLOOR)
    return abs(float(gap)), divergence(wanted, found)
