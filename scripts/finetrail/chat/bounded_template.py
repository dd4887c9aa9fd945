"""Render a chat template that a stranger wrote: in the transformers library's sandbox, with its work and text bounded.

The sandbox keeps a template away from Python. It does not end a template that loops for hours or writes gigabytes. So
rounds of loops, calls and filters are counted, and each text that is made is held to a length.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerBase

# What every rendering passes: a template that knows how to ask for thoughts is told not to, others do not look.
TEMPLATE_OPTIONS = {"enable_thinking": False}
MOST_STEPS = 200_000
"""Rounds of loops and calls in one rendering."""
MOST_CHARACTERS = 1_000_000
"""Characters that one rendering may write beside its messages, and that one operation may make."""
_MOST_BITS = 4096
_EACH, _JOIN = "finetrail_each", "finetrail_join"
_OWN = (_EACH, _JOIN)
# Widths that would make a short text a long one.
_WIDE = re.compile(r"\d{6}|\*")
_ONE_AT_A_TIME = Lock()


class UnfitRow(FinetrailError):
    """A row that this model cannot be shown; it is set aside alone."""


class TemplateFault(UnfitRow):
    """The chat template does not write a row's messages as it should: it refuses them, or does not come to an end."""


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
        FinetrailError: there is no template.
        TemplateFault: it refuses the messages, or goes beyond a bound.
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
        template, steps = _compiled(tokenizer.get_chat_template())
        # The library's extension adds it to the environment, and refuses two threads at once.
        tracker = template.environment.activate_tracker(blocks, answers)  # type: ignore[attr-defined]
        with _ONE_AT_A_TIME, tracker:
            steps.left, steps.most = MOST_STEPS, most
            for block in template.generate(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **{**tokenizer.special_tokens_map, **options},
            ):
                blocks.append(block)
                written += len(block)
                if written > most:
                    raise TemplateError(f"it writes more than {most} characters")
    except Exception as error:  # a stranger's program may raise anything
        raise TemplateFault(
            f"the chat template refuses the messages: {str(error) or type(error).__name__}",
            where=where,
            hint="base_model.template names another",
        ) from error
    return Rendering("".join(blocks), tuple(answers))


class _Steps:
    """What one rendering may still do; the environment's operations go through it."""

    left = MOST_STEPS
    most = MOST_CHARACTERS

    def step(self, count: int = 1) -> None:
        """Count steps."""
        from jinja2 import TemplateError

        self.left -= count
        if self.left < 0:
            raise TemplateError(f"it takes more than {MOST_STEPS} steps")

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        """Count the rounds of a loop."""
        for item in items:
            self.step()
            yield item

    def within(self, made: Any) -> Any:
        """Hold what was made to a length; the items of a list are steps, too, of whoever goes through it."""
        from jinja2 import TemplateError

        if isinstance(made, range | list | tuple | dict):
            self.step(len(made))
        elif isinstance(made, str | bytes):
            self.step(len(made) // 1000)
        if isinstance(made, str | bytes | list | tuple | dict) and len(made) > self.most:
            raise TemplateError(f"it makes a text of more than {self.most} characters")
        if isinstance(made, int) and made.bit_length() > _MOST_BITS:
            raise TemplateError("it makes a number that is too large")
        return made

    def join(self, *parts: Any) -> str:
        """Do what the operator ``~`` does."""
        self.step()
        return str(self.within("".join(map(str, parts))))

    def bounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count the calls of a function, and hold its numbers and what it returns to a length."""

        @wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            self.check(function, (*arguments, *named.values()))
            return self.within(function(*arguments, **named))

        return called

    def check(self, function: Any, arguments: Sequence[Any]) -> None:
        """Refuse a call that would make a long text of short ones."""
        from jinja2 import TemplateError

        self.step()
        name, owner = getattr(function, "__name__", ""), getattr(inspect.unwrap(function), "__self__", None)
        numbers = [one for one in arguments if isinstance(one, int) and not isinstance(one, bool)]
        if any(abs(number) > MOST_CHARACTERS for number in numbers) and name != "range":
            raise TemplateError(f"{name} is given a number that is too large")
        texts = [one for one in (owner, *arguments) if isinstance(one, str)]
        if "format" in name and any(_WIDE.search(text) for text in texts):
            raise TemplateError("it pads a text to a great width")
        lists = [one for one in arguments if isinstance(one, list | tuple)]
        texts += [one for listed in lists for one in listed if isinstance(one, str)]
        if sum(map(len, texts)) > 2 * self.most:
            raise TemplateError("it works on too long a text")

    def times(self, left: Any, right: Any) -> Any:
        """Multiply."""
        from jinja2 import TemplateError

        self.step()
        for text, count in ((left, right), (right, left)):
            many = isinstance(text, str | bytes | list | tuple) and isinstance(count, int)
            if many and len(text) * count > self.most:
                raise TemplateError(f"it repeats a text {count} times")
        return self.within(left * right)

    def power(self, left: Any, right: Any) -> Any:
        """Raise to a power."""
        from jinja2 import TemplateError

        self.step()
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if not (numbers and abs(left) < 1e6 and abs(right) < 100):
            raise TemplateError("it raises a number to a power that is too large")
        return left**right

    def modulo(self, left: Any, right: Any) -> Any:
        """Divide with remainder, or format a text."""
        from jinja2 import TemplateError

        self.step()
        if isinstance(left, str) and _WIDE.search(left):
            raise TemplateError("it pads a text to a great width")
        return self.within(left % right)

    def plus(self, left: Any, right: Any) -> Any:
        """Add."""
        self.step()
        return self.within(left + right)


@lru_cache(maxsize=16)
def _compiled(source: str) -> "tuple[Template, _Steps]":
    """Compile a template in the library's own environment, each operation counted and bounded.

    Raises:
        jinja2.TemplateError: it cannot be compiled, or uses this module's own names.
    """
    from jinja2 import TemplateError, nodes
    from jinja2.visitor import NodeTransformer
    from transformers.utils import chat_template_utils

    class Counted(NodeTransformer):
        """Let loops and ``~`` go through this module's functions."""

        def visit_For(self, node: nodes.For) -> nodes.Node:
            self.generic_visit(node)
            node.iter = nodes.Call(nodes.Name(_EACH, "load"), [node.iter], [], None, None)
            return node

        def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
            self.generic_visit(node)
            return nodes.Call(nodes.Name(_JOIN, "load"), node.nodes, [], None, None)

    # Not of this source: compiling it computes its constants, before anything is bounded.
    environment = chat_template_utils._cached_compile_jinja_template("").environment
    steps = _Steps()
    for name in ("lipsum", "cycler"):
        environment.globals.pop(name, None)
    environment.globals |= {_EACH: steps.each, _JOIN: steps.join}
    environment.filters = {name: steps.bounded(function) for name, function in environment.filters.items()}
    environment.intercepted_binops = frozenset({"*", "**", "%", "+"})
    operators = {"*": steps.times, "**": steps.power, "%": steps.modulo, "+": steps.plus}
    environment.binop_table = {**environment.binop_table, **operators}
    call = environment.call

    def counted_call(context: Any, function: Any, *arguments: Any, **named: Any) -> Any:
        if function in (steps.each, steps.join):
            return function(*arguments)
        steps.check(function, (*arguments, *named.values()))
        return steps.within(call(context, function, *arguments, **named))

    environment.call = counted_call
    tree = environment.parse(source)
    if any(name.name in _OWN for name in tree.find_all(nodes.Name)):
        raise TemplateError("it uses names of this program")
    tree = Counted().visit(tree)
    for part in tree.find_all(nodes.Node):
        part.set_environment(environment)
    template: Template = environment.from_string(tree)
    return template, steps
