"""The texts of a prompt file, and the digest that says whether an edit changes what is sent."""

import re
from dataclasses import dataclass
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.records import sha256_text

HEADING = re.compile(r"^# (System|User)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class PromptText:
    """A prompt file; `digest` covers the texts that are sent, not what stands above the first heading."""

    name: str
    digest: str
    system: str
    user: str


def normalise(text: str) -> str:
    """Cut white space at the ends of lines, and empty lines at both ends of a text."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def read_prompt(path: Path) -> PromptText:
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
    system, user = normalise(parts[1]), normalise(parts[3])
    if not system or not user:
        raise FinetrailError("the system or the user part is empty", where=str(path))
    return PromptText(path.stem, sha256_text(f"{system}\0{user}")[:12], system, user)
