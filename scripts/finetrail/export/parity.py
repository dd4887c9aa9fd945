"""The parity gate: the same prompts through the trained model and through llama.cpp must give the same.

Compared are the prompt's token ids (template, tokenizer, BOS), the greedy continuation, and the
log-probabilities of the continuation and of the given answer. The file in F32 is held to rounding error; the
file that ships, where it is a quantized one, to a mean Kullback-Leibler divergence. The Modelfile's TEMPLATE
is held to the chat template.
"""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.chat_layout import ChatLayout, Role
from finetrail.chat.detect_layout import first_difference, template_text
from finetrail.errors import FinetrailError
from finetrail.export.go_template import go_version, render_go
from finetrail.export.output_differences import compare_file
from finetrail.export.trained_model import Messages, encoded_ids, expect, split_answer
from finetrail.models.base_model import BaseModel
from finetrail.models.control_tokens import SetAside

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_LIBRARIES = ("xllamacpp", "gguf", "torch", "transformers", "tokenizers")


def check_parity(
    model: BaseModel,
    gguf_path: Path,
    conversations: Sequence[Messages],
    *,
    generate: int = 32,
    max_difference: float = 1e-3,
    shipped_path: Path | None = None,
    max_shipped_kl: float = 0.05,
    go_template: str | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Hold a GGUF file against the model that it was made of.

    Args:
        model: the trained one (merged), with its tokenizer.
        gguf_path: the F32 file.
        conversations: messages each; where the last is the assistant's, its first tokens are compared, too.
        generate: tokens of each greedy continuation, and at most of each given answer.
        max_difference: bound on the difference of two log-probabilities, in nats.
        shipped_path: the quantized file that ships; None where the F32 file does.
        max_shipped_kl: bound on the shipped file's mean divergence from the trained model, in nats a token.
        go_template: the Modelfile's TEMPLATE; None for the layout's own.
        threads: llama.cpp's CPU threads.

    Returns:
        The content of ``parity.json``: ``verdict`` (``pass`` or ``fail``) with ``reasons``, ``layout``,
        ``token_ids_equal``, ``end_token_equal``, ``greedy_equal``, ``max_log_prob_difference``, ``mean_kl``
        (both in nats), ``sha256``, ``runtime_parses_control_tokens``, ``conversations``, ``template``,
        ``shipped``, ``settings``, ``versions``; ``set_aside``, where the model cannot be shown a conversation.
        A failed check is a verdict, not an exception.

    Raises:
        FinetrailError: nothing to compare, no known chat layout, or a file that llama.cpp cannot load.
    """
    if not conversations or generate < 1:
        raise FinetrailError("parity needs a conversation and at least one token", where="export.parity")
    tokenizer, layout = model.tokenizer, model.layout
    conversations, aside = _shown(conversations, tokenizer)
    template, reasons = check_template(layout, tokenizer, conversations, go_template)
    expected = expect(model.folder, tokenizer, conversations, generate)
    exact = compare_file(gguf_path, expected, tokenizer, threads=threads, tie=max_difference)
    reasons += _reasons(exact, "F32 file")
    worst = exact["max_log_prob_difference"]
    if not worst <= max_difference:
        reasons.append(f"F32 file: log-probabilities differ by up to {worst:.2g}, the bound is {max_difference:.2g}")
    if not exact["greedy_equal"]:
        reasons.append("F32 file: a greedy continuation differs")
    shipped = None
    if shipped_path is not None:
        shipped = compare_file(shipped_path, expected, tokenizer, threads=threads, tie=max_difference)
        reasons += _reasons(shipped, "shipped file")
        if not shipped["mean_kl"] <= max_shipped_kl:
            divergence = f"{shipped['mean_kl']:.2g} nats a token, the bound is {max_shipped_kl:.2g}"
            reasons.append(f"shipped file: it diverges from the trained model by {divergence}")
    verdict = "fail" if reasons else "pass"
    logger.info("parity of %s: %s, log-probabilities within %.2g", gguf_path, verdict, worst)
    return {
        "verdict": verdict,
        "reasons": reasons,
        "layout": layout.name,
        **exact,
        **aside,
        "template": template,
        "shipped": shipped,
        "settings": {
            "generate": generate,
            "max_difference": max_difference,
            "max_shipped_kl": max_shipped_kl,
            "dtype": "float32",
            "flash_attention": False,
            "kv_cache": "F32",
        },
        "versions": _versions(),
    }


def unverified_parity(
    model: BaseModel,
    conversations: Sequence[Messages],
    *,
    layout: ChatLayout | None = None,
    go_template: str | None = None,
) -> dict[str, Any]:
    """Say what was and what was not checked where no runtime can load the export (a folder of safetensors).

    The template is checked; token ids and log-probabilities are not, and are null.

    Args:
        model: the exported one, with its tokenizer.
        conversations: messages each, for the template's check.
        layout: the layout that the Modelfile follows; None to detect it from the tokenizer's template.
        go_template: the Modelfile's TEMPLATE; None for the layout's own.

    Returns:
        The content of ``parity.json`` with the verdict ``unverified``, or ``fail`` where a template differs.

    Raises:
        FinetrailError: no known chat layout.
    """
    tokenizer, layout = model.tokenizer, layout or model.layout
    conversations, aside = _shown(conversations, tokenizer)
    template, reasons = check_template(layout, tokenizer, conversations, go_template)
    checked = ["chat template against layout"] + ["Modelfile TEMPLATE"] * (template["go"] == "equal")
    not_checked = ["token ids", "greedy continuation", "log-probabilities"]
    not_checked += ["Modelfile TEMPLATE"] * (template["go"] != "equal")
    return {
        "verdict": "fail" if reasons else "unverified",
        "reasons": reasons or ["no runtime here loads this format"],
        "layout": layout.name,
        "token_ids_equal": None,
        "greedy_equal": None,
        "runtime_parses_control_tokens": None,
        "max_log_prob_difference": None,
        "checked": checked,
        "not_checked": not_checked,
        **aside,
        "template": template,
        "versions": _versions(),
    }


def check_template(
    layout: ChatLayout,
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Sequence[Messages],
    go_template: str | None,
) -> tuple[dict[str, Any], list[str]]:
    """Hold the layout against the tokenizer's template, and the Modelfile's TEMPLATE against the layout.

    Without Go, a TEMPLATE that is the layout's own passes, recorded as not rendered; any other one fails.

    Returns:
        What was found (``layout_equal``, ``go``, ``go_version``), and the reasons to fail.
    """
    prompts = [split_answer(conversation)[0] for conversation in conversations]
    reasons = []
    for number, prompt in enumerate(prompts):
        wanted = template_text(tokenizer, prompt)
        rendered = layout.render(prompt, add_generation_prompt=True, bos_token=tokenizer.bos_token)
        if rendered != wanted:
            where = first_difference("the chat template", wanted, f"the layout {layout.name}", rendered)
            reasons.append(f"conversation {number}: {where}")
    found = {"layout_equal": not reasons, "go": "not rendered: no go on the PATH", "go_version": go_version()}
    text = layout.go_template if go_template is None else go_template
    if found["go_version"] is None:
        if text != layout.go_template:
            found["go"] = "differs"
            reasons.append("the Modelfile's TEMPLATE is not the layout's, and there is no go to render it")
        return found, reasons
    # Ollama's templates cannot trim, so both sides get what trimming leaves.
    trimmed = [[_trimmed(layout, message) for message in prompt] for prompt in prompts]
    differences = []
    for number, (prompt, rendered) in enumerate(zip(trimmed, render_go(text, trimmed), strict=True)):
        wanted = layout.render(prompt, add_generation_prompt=True, bos_token=None)
        if rendered != wanted:
            where = first_difference(f"the layout {layout.name}", wanted, "the Modelfile's TEMPLATE", rendered)
            differences.append(f"conversation {number}: {where}")
    found["go"] = "differs" if differences else "equal"
    return found, reasons + differences


def _shown(
    conversations: Sequence[Messages], tokenizer: "PreTrainedTokenizerBase"
) -> tuple[list[Messages], dict[str, Any]]:
    """Leave out the conversations that the model cannot be shown, and say which, by place, and why."""
    shown, aside = [], SetAside()
    for number, conversation in enumerate(conversations):
        with aside.unfit(f"conversation {number}"):
            encoded_ids(conversation, tokenizer)
            shown.append(conversation)
    aside.check(len(conversations))
    return shown, {"set_aside": aside.reasons} if aside.reasons else {}


def _trimmed(layout: ChatLayout, message: Mapping[str, str]) -> dict[str, str]:
    roles: frozenset[Role] = layout.trimmed
    content = message["content"]
    return {"role": message["role"], "content": content.strip() if message["role"] in roles else content}


def _reasons(found: Mapping[str, Any], file: str) -> list[str]:
    reasons = []
    if found["token_ids_equal"] is False:
        first = next(row for row in found["conversations"] if row["token_ids_equal"] is False)
        reasons.append(f"{file}: token ids of conversation {first['index']} differ: {first['difference']}")
    if not found["end_token_equal"]:
        reasons.append(f"{file}: the end-of-sequence token differs")
    return reasons


def _versions() -> dict[str, str]:
    """The libraries that a finding rests on."""
    return {library: version(library) for library in _LIBRARIES}
