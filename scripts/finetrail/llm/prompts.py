"""Prompts: Markdown files with a system and a user part, filled in so that data stays in its section."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.llm.request import Image, Message
from finetrail.records import sha256_text

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

HEADING = re.compile(r"^# (System|User)[ \t]*$", re.MULTILINE)
SECTION_TAG = re.compile(r"</([a-z_]+)>")


def _normalise(text: str) -> str:
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def guard_sections(names: Sequence[str]) -> Callable[[Any], Any]:
    """Return a function that makes the tags of the named sections harmless in a value.

    A passage that holds ``</passage>`` then cannot close its section: the angle bracket becomes ``&lt;``.
    """
    tag = re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(map(re.escape, names))})\b)", re.IGNORECASE)

    def guard(value: Any) -> Any:
        return tag.sub("&lt;", str(value)) if names else value

    return guard


@dataclass(frozen=True)
class Prompt:
    """A prompt file; `digest` covers the texts that are sent, not what stands above the first heading."""

    name: str
    digest: str
    system: str
    user: str

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
                texts = _normalise(system.render(values)), _normalise(user.render(values))
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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FinetrailError(f"the prompt cannot be read: {error}", where=str(path)) from error
    _, *parts = HEADING.split(text.replace("\r\n", "\n"))
    if parts[::2] != ["System", "User"]:
        raise FinetrailError(
            f"expected the headings '# System' and '# User', found {parts[::2]}",
            where=str(path),
            hint="Write each once, in this order, on lines of their own",
        )
    system, user = _normalise(parts[1]), _normalise(parts[3])
    if not system or not user:
        raise FinetrailError("the system or the user part is empty", where=str(path))
    return Prompt(path.stem, sha256_text(f"{system}\0{user}")[:12], system, user)
