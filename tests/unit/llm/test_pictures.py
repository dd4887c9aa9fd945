"""Images on the wire: their kind, their size, and what an endpoint takes."""

import base64
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message
from finetrail.vision.image import Image
from finetrail.vision.image_size import Picture, describe_picture
from tests.unit.llm.fake_llm import Harness

Ask = Callable[..., ChatRequest]

# The beginnings of files of 37 x 21 pixels that Pillow wrote; the second JPEG is progressive, with a comment that
# holds what looks like a frame.
FILES = [
    ("png", "iVBORw0KGgoAAAANSUhEUgAAACUAAAAVCAIAAABOhrD5"),
    ("gif", "R0lGODdhJQAVAIAAAAAAAAAA"),
    (
        "jpeg",
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5"
        "PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/wAAR"
        "CAAVACUDASIAAhEBAxEB",
    ),
    (
        "jpeg",
        "/9j/4AAQSkZJRgABAQAAAQABAAD//gAN/8Agbm8gZnJhbWX/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIs"
        "IxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIy"
        "MjIyMjIyMjIyMjL/wgARCAAVACUDASIAAhEBAxEB",
    ),
    ("webp", "UklGRjQAAABXRUJQVlA4ICgAAADwAgCdASolABUAPm02l0ikIyIhJWgAgA2JaQAA"),
    ("webp", "UklGRhoAAABXRUJQVlA4TA4AAAAvJAAFAAcQEf0PRET/Aw=="),
    ("webp", "UklGRm4AAABXRUJQVlA4WAoAAAAwAAAAJAAAFAAA"),
]


def png(width: int, height: int, size: int = 100) -> bytes:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
    return head + b"\0" * (size - len(head))


@pytest.mark.parametrize(("kind", "content"), FILES)
def test_kind_and_size_are_read_from_the_header(kind: str, content: str) -> None:
    data = base64.b64decode(content)
    assert describe_picture(data) == Picture(f"image/{kind}", 37, 21)
    assert describe_picture(data[:9]) is None


def test_other_files_are_no_pictures() -> None:
    wave = b"RIFF\x24\0\0\0WAVEfmt "
    assert [describe_picture(content) for content in (b"", b"BM....", wave, b"\xff\xd8\xff" + b"\0" * 50)] == [None] * 4


def about(ask: Ask, path: Path) -> ChatRequest:
    return ask(path.name, messages=(Message("user", path.name, (Image.from_file(path),)),))


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"max_image_bytes": 2000}, "bytes, more than 2,000 (raise llm.endpoints.fake.max_image_bytes"),
        ({"max_image_pixels": 2000}, "200 x 100 pixels, more than 2,000 (raise llm.endpoints.fake.max_image_pixels"),
    ],
)
def test_a_row_with_too_large_an_image_is_set_aside(
    harness: Harness, ask: Ask, tmp_path: Path, limit: dict[str, Any], said: str
) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(png(10, 10))
    large.write_bytes(png(200, 100, size=5000))
    good, bad = harness.run([about(ask, small), about(ask, large)], **limit)
    assert isinstance(good, ChatAnswer)
    assert isinstance(bad, CallFailure)
    assert said in bad.error
    assert str(large) in bad.error
    assert harness.server.texts() == ["small.png"], "it never left the machine"
    assert isinstance(harness.run([about(ask, large)])[0], ChatAnswer)
