"""Small texts, rows and a tiny base that the training tests share."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.chat.messages import Evidence, chat_messages
from finetrail.tiny.tiny_base import build_tiny_base
from finetrail.tiny.tiny_settings import TinyBaseSettings
from tests.unit.training.training_process import SETTINGS, Training

cpu_only = pytest.mark.usefixtures("no_gpu")

TOPICS = ("river", "harbour", "library", "orchard", "station", "museum")
SMALL = TinyBaseSettings(
    vocabulary_size=512, hidden_size=32, intermediate_size=64, layers=2, heads=2, key_value_heads=1,
    context=256, steps=2, step_tokens=512,
)  # fmt: skip


def make_texts() -> list[str]:
    return [
        f"The {topic} opened in {1900 + number}. It stands near the old {TOPICS[number - 1]} of the town. "
        f"Many people visit the {topic} in summer, and the council pays for its upkeep every year."
        for number, topic in enumerate(TOPICS)
    ]


def make_row(session: int, turn: int, passages: int = 3) -> dict[str, Any]:
    topic = TOPICS[session % len(TOPICS)]
    question = f"When did the {topic} open?"
    answer = f"The {topic} opened in {1900 + session}, in turn {turn}."
    evidence = [
        Evidence(title=f"Guide {place}", text=f"The {topic} number {place} is old and stands near the town.")
        for place in range(passages)
    ]
    history = [
        {"role": role, "content": f"{role} says {number} about the {topic}"}
        for number in range(turn)
        for role in ("user", "assistant")
    ]
    return {
        "id": f"s{session}-t{turn}",
        "session_id": f"s{session}",
        "turn": turn,
        "question": question,
        "answer": answer,
        "history": history,
        "evidence": evidence,
        "messages": chat_messages("Be brief.", history, question, evidence, answer),
    }


@pytest.fixture(scope="session")
def no_gpu() -> None:
    """Skip where a GPU is: training takes bf16 there, and Liger's kernels change every later model of the process."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("compares the arithmetic of a CPU, or asks for one")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return make_texts()


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    return [make_row(session, turn) for session in range(4) for turn in range(2)]


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build_tiny_base("llama", texts, settings=SMALL, system="", seed=1, out_dir=folder)
    return folder


@pytest.fixture(scope="session")
def wide_base(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for blocks of four-bit weights."""
    folder = tmp_path_factory.mktemp("wide")
    settings = dataclasses.replace(SMALL, hidden_size=64, intermediate_size=128)
    build_tiny_base("llama", texts, settings=settings, system="", seed=1, out_dir=folder)
    return folder


@pytest.fixture
def training(wide_base: Path, rows: list[dict[str, Any]], tmp_path: Path) -> Callable[..., Training]:
    def make(name: str, **changes: Any) -> Training:
        saving = {"save_steps": 1, "keep": 2, "code": "a"}
        job = {"base": str(wide_base), "train": rows, "eval": rows[:2], "saving": saving}
        return Training(tmp_path / name, job | {"settings": SETTINGS | changes})

    return make
