from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetrail.llm.request import ChatRequest
from tests.unit.llm.fake_llm import FakeServer, Harness, make_request


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def harness(server: FakeServer, tmp_path: Path) -> Harness:
    return Harness(server, tmp_path / "calls")


@pytest.fixture
def ask() -> Callable[..., ChatRequest]:
    return make_request
