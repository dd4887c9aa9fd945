"""The transformers server with a real tiny model: the engine's requests, seeds, batches, grammar, refusals."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.model_serve import Serve
from finetrail.config.schema import plain
from finetrail.llm.ask import endpoint_of
from finetrail.llm.engine import Engine
from finetrail.llm.hf_server.protocol import Refusal, read_chat
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message, Sampling
from finetrail.llm.store import CallStore
from tests.unit.export.tiny_models import build_model

SCHEMA = {
    "type": "object",
    "properties": {"correct": {"type": "boolean"}, "why": {"type": "string", "maxLength": 12}},
    "required": ["correct", "why"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


def open_engine(tiny: Path, folder: Path, **settings: Any) -> Engine:
    serve = Serve(**{"device": "cpu", "dtype": "float32", "ready_s": 120.0, **settings})
    entry = {"kind": "transformers", "supports_n": True, "prices": {}, "serve": plain(serve), "timeout_s": 100.0}
    return Engine([endpoint_of("own", entry)], CallStore(folder))


@pytest.fixture(scope="module")
def engine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(tiny, tmp_path_factory.mktemp("calls")) as opened:
        yield opened


def question(model: Path, text: str = "Who may apply?", **more: Any) -> ChatRequest:
    sampling = Sampling(more.pop("temperature", 0.0), 1.0, more.pop("max_tokens", 16), more.pop("seed", None))
    return ChatRequest(text, "judge", (Message("user", text),), "own", str(model), sampling, **more)


def answers(engine: Engine, *requests: ChatRequest) -> list[ChatAnswer]:
    found = list(engine.run(requests))
    assert all(isinstance(answer, ChatAnswer) for answer in found), found
    return [answer for answer in found if isinstance(answer, ChatAnswer)]


def test_greedy_answers_are_those_of_the_library_whatever_stands_beside_them(engine: Engine, tiny: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = ["Who?", "Where is the office on Main Street, and who may apply for the permit in 2024?", "3.14"]
    found = answers(engine, *(question(tiny, text) for text in texts))
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny)
    for text, answer in zip(texts, found, strict=True):
        chat = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, do_sample=False, max_new_tokens=16)[0, ids["input_ids"].shape[1] :]
        assert answer.text == tokenizer.decode(out, skip_special_tokens=True)


def test_a_drawn_answer_depends_on_its_seed_and_not_on_its_neighbours(
    engine: Engine, tiny: Path, tmp_path: Path
) -> None:
    drawn = [question(tiny, "Same?", temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    together = [answer.text for answer in answers(engine, *drawn)]
    assert len(set(together)) == 3
    with open_engine(tiny, tmp_path, batch_size=1) as alone:
        assert [answer.text for answer in answers(alone, *reversed(drawn))] == together[::-1]


def test_versions_of_one_request_differ(engine: Engine, tiny: Path) -> None:
    versions = [question(tiny, "Versions?", temperature=1.0, seed=5, sample=n) for n in range(4)]
    assert len({answer.text for answer in answers(engine, *versions)}) == 4


def test_an_answer_has_the_form_of_its_schema(engine: Engine, tiny: Path) -> None:
    asked = [
        question(tiny, f"{n}?", temperature=1.0, seed=n, max_tokens=200, schema=SCHEMA, schema_name="v")
        for n in range(4)
    ]
    for answer in answers(engine, *asked):
        assert set(answer.parsed) == {"correct", "why"}
        assert answer.text.startswith(json.dumps({"correct": answer.parsed["correct"]}, separators=(",", ":"))[:-1])


def test_log_probabilities_come_with_each_token(engine: Engine, tiny: Path) -> None:
    (answer,) = answers(engine, question(tiny, "Logprobs?", logprobs=3))
    assert answer.logprobs is not None
    assert len(answer.logprobs) == answer.usage.completion_tokens
    for entry in answer.logprobs:
        beside = [other["logprob"] for other in entry["top_logprobs"]]
        assert entry["logprob"] == max(beside)
        assert sum(map(math.exp, beside)) <= 1 + 1e-6


def test_too_long_a_prompt_sets_its_row_aside(engine: Engine, tiny: Path) -> None:
    (failure,) = engine.run([question(tiny, "long " * 600)])
    assert isinstance(failure, CallFailure)
    assert "maximum context length is 512" in failure.error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "other"}, "does not exist"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"temperature": 3}, "temperature must be"),
        ({"n": True}, "n must be"),
        ({"messages": [{"role": "tool", "content": ""}]}, "role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}]}]},
            "data URL",
        ),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused(change: dict[str, Any], words: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert read_chat(body, "m").max_tokens == 512
    with pytest.raises(Refusal, match=words):
        read_chat(body | change, "m")
