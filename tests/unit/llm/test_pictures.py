"""Images on the wire: what an endpoint takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message
from finetrail.vision.image import Image
from tests.unit.llm.fake_llm import Harness
from tests.unit.small_png import small_png

Ask = Callable[..., ChatRequest]


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
    small.write_bytes(small_png(10, 10))
    large.write_bytes(small_png(200, 100).ljust(5000))
    good, bad = harness.run([about(ask, small), about(ask, large)], **limit)
    assert isinstance(good, ChatAnswer)
    assert isinstance(bad, CallFailure)
    assert said in bad.error
    assert str(large) in bad.error
    assert harness.server.texts() == ["small.png"], "it never left the machine"
    assert isinstance(harness.run([about(ask, large)])[0], ChatAnswer)
