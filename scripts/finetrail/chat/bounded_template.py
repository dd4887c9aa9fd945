"""Render a chat template that a stranger wrote: in the transformers library's sandbox, with its work and text bounded.

The sandbox keeps a template away from Python. It does not end a template that loops for hours or writes gigabytes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerBase

# What every rendering passes: a template that knows how to ask for thoughts is told not to, others do not look.
TEMPLATE_OPTIONS = {"enable_thinking": False}
MOST_STEPS = 200_000
"""Rounds of loops and calls of macros in one rendering."""
MOST_CHARACTERS = 1_000_000
"""Characters that one rendering may write beside its messages, and that one repetition may make."""
_ONE_AT_A_TIME = Lock()
_STEP = "finetrail_step"
_WIDE = re.compile(r"%[^a-zA-Z%]*\d{5}")


@dataclass(frozen=True)
class Rendering:
    """A conversation as text.

    Attributes:
        text: what the template writes.
        answers: where the text of each assistant's turn begins and ends, of templates with ``{% generation %}``.
    """

    text: str
    answers: tuple[tuple[int, int], ...]


def render_template(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[Mapping[str, Any]],
    *,
    where: str,
    add_generation_prompt: bool,
    options: Mapping[str, Any] = TEMPLATE_OPTIONS,
) -> Rendering:
    """Render a conversation as ``apply_chat_template`` does, within `MOST_STEPS` and `MOST_CHARACTERS`.

    Args:
        tokenizer: with its chat template.
        messages: ``role`` and ``content`` each.
        where: the row's id, for the message.
        add_generation_prompt: whether to open the assistant's next turn at the end.
        options: what the template may look at besides.

    Raises:
        FinetrailError: there is no template, it refuses the messages, or it goes beyond a bound.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise FinetrailError(
            "the tokenizer has no chat template", where=where, hint="Name a layout in base_model.template"
        )
    most = MOST_CHARACTERS + 4 * sum(len(message["content"]) for message in messages)
    blocks: list[str] = []
    answers: list[tuple[int, int]] = []
    written = 0
    try:
        template = _compiled(tokenizer.get_chat_template())
        # The library's extension adds it to the environment, and refuses two threads at once.
        tracker = template.environment.activate_tracker(blocks, answers)  # type: ignore[attr-defined]
        with _ONE_AT_A_TIME, tracker:
            for block in template.generate(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **{**tokenizer.special_tokens_map, **options, _STEP: _counter()},
            ):
                blocks.append(block)
                written += len(block)
                if written > most:
                    raise TemplateError(f"it writes more than {most} characters")
    except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
        raise FinetrailError(
            f"the chat template refuses the messages: {str(error) or type(error).__name__}",
            where=where,
            hint="base_model.template names another",
        ) from error
    return Rendering("".join(blocks), tuple(answers))


def _counter() -> Callable[[], str]:
    """Make the function that each round of a loop calls."""
    from jinja2 import TemplateError

    left = MOST_STEPS

    def step() -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise TemplateError(f"it takes more than {MOST_STEPS} steps")
        return ""

    return step


@lru_cache(maxsize=16)
def _compiled(source: str) -> "Template":
    """Compile a template in the library's own environment, with a count in each loop and bounds on repetition."""
    from jinja2 import nodes
    from transformers.utils import chat_template_utils

    # Not of this source: compiling it computes its constants, before anything is bounded.
    environment = chat_template_utils._cached_compile_jinja_template("").environment
    environment.intercepted_binops = frozenset({"*", "**", "%"})
    environment.binop_table = {**environment.binop_table, "*": _times, "**": _power, "%": _modulo}
    tree = environment.parse(source)
    for part in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
        called = nodes.Call(nodes.Name(_STEP, "load"), [], [], None, None)
        part.body.insert(0, nodes.ExprStmt(called).set_lineno(part.lineno))
    template: Template = environment.from_string(tree)
    return template


def _times(left: Any, right: Any) -> Any:
    from jinja2 import TemplateError

    for text, count in ((left, right), (right, left)):
        if isinstance(text, str | list | tuple) and isinstance(count, int) and len(text) * count > MOST_CHARACTERS:
            raise TemplateError(f"it repeats a text {count} times")
    return left * right


def _power(left: Any, right: Any) -> Any:
    from jinja2 import TemplateError

    if not (isinstance(left, int | float) and isinstance(right, int | float) and abs(left) < 1e6 and abs(right) < 100):
        raise TemplateError("it raises a number to a power that is too large")
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    from jinja2 import TemplateError

    if isinstance(left, str) and _WIDE.search(left):
        raise TemplateError("it pads a text to a great width")
    return left % right
