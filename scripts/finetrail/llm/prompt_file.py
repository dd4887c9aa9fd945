"""Prompts: Markdown files with a system and a user part, filled in so that data stays in its section."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.digests.prompt_text import PromptText, normalise, read_prompt
from finetrail.errors import FinetrailError
from finetrail.llm.request import Message
from finetrail.vision.image import Image

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

SECTION_TAG = re.compile(r"</([a-z_]+)>")


def guard_sections(names: Sequence[str]) -> Callable[[Any], Any]:
    """Return a function that makes the tags of the named sections harmless in a value.

    A passage that holds ``</passage>`` then cannot close its section: the angle bracket becomes ``&lt;``.
    """
    tag = re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(map(re.escape, names))})\b)", re.IGNORECASE)

    def guard(value: Any) -> Any:
        return tag.sub("&lt;", str(value)) if names else value

    return guard


class Prompt(PromptText):
    """A prompt file that can be filled in."""

    def _environment(self) -> "SandboxedEnvironment":
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        return SandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape=False,  # the text is read by a model, not by a browser
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=guard_sections(sorted(set(SECTION_TAG.findall(self.system + self.user)))),
        )

    def renderer(self) -> Callable[..., tuple[Message, ...]]:
        """Compile the prompt once; the function that comes back takes `images` and the placeholders' values.

        Raises:
            FinetrailError: a template is malformed; when called, a placeholder has no value.
        """
        from jinja2 import TemplateError

        environment = self._environment()
        try:
            system, user = environment.from_string(self.system), environment.from_string(self.user)
        except TemplateError as error:
            raise FinetrailError(f"the template is malformed: {error}", where=f"prompt {self.name!r}") from error

        def render(*, images: Sequence[Image] = (), **values: Any) -> tuple[Message, ...]:
            try:
                texts = normalise(system.render(values)), normalise(user.render(values))
            except TemplateError as error:
                raise FinetrailError(
                    f"cannot be filled in: {error}",
                    where=f"prompt {self.name!r}",
                    hint=f"It was given: {', '.join(sorted(values)) or 'nothing'}",
                ) from error
            return Message("system", texts[0]), Message("user", texts[1], tuple(images))

        return render

    def render(self, *, images: Sequence[Image] = (), **values: Any) -> tuple[Message, ...]:
        """Fill the prompt in once; loops use `renderer`."""
        return self.renderer()(images=images, **values)


def load_prompt(path: Path) -> Prompt:
    """Read a prompt file: Markdown with the headings ``# System`` and ``# User``, in this order.

    Raises:
        FinetrailError: the file cannot be read, or has other headings or an empty part.
    """
    return Prompt(**asdict(read_prompt(path)))
