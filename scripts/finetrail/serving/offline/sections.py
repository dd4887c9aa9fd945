"""Sections of a prompt: ``<name>...</name>`` in the last user message."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

GUARDED = re.compile(r"&lt;(?=\s*/?\s*[a-z_]+\b)", re.IGNORECASE)


class UnknownRequest(ValueError):
    """The teacher cannot tell what it is asked, and says so with HTTP 400."""


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last user message; images are passed over."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")
    raise UnknownRequest("there is no user message")


def last_user_images(messages: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Return the images of the last user message, which came as data URLs."""
    asked: Mapping[str, Any] = next((message for message in reversed(messages) if message.get("role") == "user"), {})
    content = asked.get("content") or ""
    parts = content if isinstance(content, list) else []
    urls = [str((part.get("image_url") or {}).get("url", "")) for part in parts if part.get("type") == "image_url"]
    try:
        return [base64.b64decode(url.partition(";base64,")[2], validate=True) for url in urls]
    except binascii.Error as error:
        raise UnknownRequest(f"an image is no data URL: {error}") from error


def sections(text: str, name: str) -> list[str]:
    """Return the contents of all sections of a name, without the guard against closing tags in data."""
    found = re.findall(rf"<{name}\b[^>]*>(.*?)</{name}>", text, re.DOTALL)
    return [GUARDED.sub("<", content).strip() for content in found]


def section(text: str, name: str, *, needed: bool = True) -> str:
    """Return the content of the one section of a name, or an empty text where it may be missing.

    Raises:
        UnknownRequest: the section is needed and missing.
    """
    found = sections(text, name)
    if not found and needed:
        raise UnknownRequest(f"the user message has no section <{name}>")
    return found[0] if found else ""
