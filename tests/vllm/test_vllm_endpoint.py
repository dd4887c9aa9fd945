"""The engine beside a real vLLM: schema, log-probabilities, versions, adapters, replay, failures, no process left."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.request import ChatAnswer, ChatRequest, Message, Sampling
from tests.unit.llm.test_serving import processes, wait_for
from tests.vllm.conftest import ADAPTER, MakeEndpoint

SCHEMA = {
    "type": "object",
    "properties": {"correct": {"type": "boolean"}, "why": {"type": "string", "maxLength": 12}},
    "required": ["correct", "why"],
    "additionalProperties": False,
}
PARENT = """
import json, sys, time
from finetrail.llm.ask import endpoint_of
from finetrail.serving.server_process import serve
entry, model = json.loads(sys.argv[1])
with serve(endpoint_of("own", entry).server_of(model, None)) as server:
    print(server.base_url, flush=True)
    time.sleep(600)
"""


def question(model: object, text: str = "Who may apply?", **more: Any) -> ChatRequest:
    sampling = Sampling(more.pop("temperature", 0.0), 1.0, more.pop("max_tokens", 24), more.pop("seed", None))
    messages = (Message("system", "Be brief."), Message("user", text))
    return ChatRequest("row", "judge", messages, "own", str(model), sampling, **more)


def answers(engine: Engine, *requests: ChatRequest) -> list[ChatAnswer]:
    found = list(engine.run(requests))
    assert all(isinstance(answer, ChatAnswer) for answer in found), found
    return [answer for answer in found if isinstance(answer, ChatAnswer)]


def test_an_answer_has_the_form_of_its_schema_and_no_white_space(base: Engine, tiny: Path) -> None:
    asked = [
        question(tiny, f"{n}?", temperature=1.0, seed=n, max_tokens=200, schema=SCHEMA, schema_name="v")
        for n in range(4)
    ]
    for answer in answers(base, *asked):
        assert set(answer.parsed) == {"correct", "why"}
        assert json.dumps(answer.parsed, separators=(",", ":"), ensure_ascii=False)[:12] == answer.text[:12]


def test_log_probabilities_come_with_each_token(base: Engine, tiny: Path) -> None:
    (answer,) = answers(base, question(tiny, logprobs=3))
    assert answer.logprobs is not None and answer.usage is not None
    assert len(answer.logprobs) == answer.usage.completion_tokens
    for entry in answer.logprobs:
        beside = [other["logprob"] for other in entry["top_logprobs"]]
        assert len(beside) == 3
        assert entry["logprob"] == max(beside), "temperature 0 takes the likeliest"
        assert sum(map(math.exp, beside)) <= 1 + 1e-6


def test_versions_differ_and_each_has_its_own_key(base: Engine, tiny: Path) -> None:
    versions = [question(tiny, "Versions?", temperature=1.0, seed=5, sample=n) for n in range(4)]
    texts = [answer.text for answer in answers(base, *versions)]
    assert len(set(texts)) == 4
    assert [answer.text for answer in answers(base, *versions)] == texts


def test_an_adapter_answers_for_itself_beside_its_base(base: Engine, tiny: Path) -> None:
    plain, tuned = (answers(base, question(model, "Adapter?"))[0] for model in (tiny, ADAPTER))
    assert plain.text != tuned.text
    assert tuned.model == ADAPTER
    assert plain.key != tuned.key


def test_what_was_answered_is_replayed_without_a_server(
    base: Engine, store: CallStore, vllm: MakeEndpoint, tiny: Path
) -> None:
    asked = [question(tiny, "Replay?"), question(ADAPTER, "Replay?")]
    live = [answer.text for answer in answers(base, *asked)]
    with Engine([vllm(python="/nowhere/python")], store, mode="replay") as engine:
        assert [answer.text for answer in answers(engine, *asked)] == live


@pytest.mark.parametrize(
    "settings", [{"dtype": "bfloat16"}, {"quantization": "fp8"}, {"extra_args": ["--seed=7"]}], ids=str
)
def test_what_decides_answers_is_part_of_their_key(
    base: Engine, vllm: MakeEndpoint, store: CallStore, tiny: Path, settings: dict[str, Any]
) -> None:
    other = Engine([vllm(**settings)], store)
    faster = Engine([vllm(speed_args=["--max-num-seqs=4"], tensor_parallel=2, ready_s=5.0)], store)
    asked = question(tiny)
    assert other.bind(asked).key != base.bind(asked).key == faster.bind(asked).key


def test_the_log_tells_why_a_server_does_not_start(vllm: MakeEndpoint, store: CallStore, tiny: Path) -> None:
    broken = vllm(extra_args=["--no-such-option"])
    with Engine([broken], store) as engine, pytest.raises(FinetrailError, match="--no-such-option") as caught:
        answers(engine, question(tiny))
    assert "exit code" in str(caught.value)
    assert processes("--no-such-option") == []


def start_parent(endpoint: Endpoint, model: str) -> "subprocess.Popen[bytes]":
    assert endpoint.serve is not None
    serve = {**vars(endpoint.serve), "lora_modules": {}}
    entry = {"kind": "vllm", "prices": {}, "serve": serve}
    command = [sys.executable, "-c", PARENT, json.dumps([entry, model])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def descendants(pid: int) -> set[int]:
    """Return a process and all that it started, directly or not."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_is_left_when_the_job_is_killed(vllm: MakeEndpoint, tiny: Path, number: signal.Signals) -> None:
    parent = start_parent(vllm(), str(tiny))
    assert parent.stdout is not None
    assert b"http://127.0.0.1:" in parent.stdout.readline()
    started = descendants(parent.pid) - {parent.pid}
    assert len(started) >= 4, "supervisor, API server, engine and worker"
    parent.send_signal(number)
    parent.wait(60)
    parent.stdout.close()
    assert wait_for(lambda: gone(started), 120)


def test_no_process_is_left_after_an_error(vllm: MakeEndpoint, store: CallStore, tiny: Path) -> None:
    before = descendants(os.getpid())
    started: set[int] = set()
    with pytest.raises(RuntimeError, match="of the step"), Engine([vllm()], store) as engine:
        answers(engine, question(tiny, "Error?"))
        started = descendants(os.getpid()) - before
        raise RuntimeError("of the step")
    assert len(started) >= 4, "supervisor, API server, engine and worker"
    assert wait_for(lambda: gone(started), 120)
