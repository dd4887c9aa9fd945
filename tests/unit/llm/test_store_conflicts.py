"""A store says who wins: its own answers before those that were brought from elsewhere, older ones before younger."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls import ownership
from finetrail.calls.index import HEADER, read_index
from finetrail.calls.inspect_store import main
from finetrail.calls.ownership import owner_file
from finetrail.calls.segment import UNUSABLE, StoredCall
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.llm.request import ChatAnswer
from tests.unit.llm.fake_llm import FakeServer, Harness, make_request
from tests.unit.llm.four_writers import nonce
from tests.unit.llm.test_call_store import make_call


def keep(folder: Path, *calls: StoredCall) -> Path:
    """Put calls into a store, in a segment of their own; return the segment."""
    before = set(folder.glob("*.jsonl"))
    with CallStore(folder) as store:
        store.put_many(calls)
    (segment,) = set(folder.glob("*.jsonl")) - before
    return segment


def at(call: StoredCall, when: str) -> StoredCall:
    return StoredCall(**{**vars(call), "paid": {**call.paid, "at": when}})


def used(folder: Path, number: int = 1) -> str:
    with CallStore(folder) as store:
        call = store.get(make_call(number).key)
    assert call is not None
    return str(call.answer["text"])


def plant(folder: Path, other: Path) -> None:
    """Copy all files of another store, as whoever merges two does."""
    shutil.copytree(other, folder, dirs_exist_ok=True)


@pytest.mark.parametrize("texts", [("ours", "theirs"), ("theirs", "ours"), ("a", "b"), ("b", "a")])
def test_planted_answers_change_nothing_and_are_named(
    tmp_path: Path, texts: tuple[str, str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever has the smaller hash, and though theirs are older."""
    own, other = texts
    ours = keep(tmp_path / "calls", make_call(1, own), make_call(2, own))
    old = "2020-01-01T00:00:00+00:00"
    theirs = keep(tmp_path / "other", at(make_call(1, other), old), at(make_call(2, own), old), make_call(3, other))
    plant(tmp_path / "calls", tmp_path / "other")
    assert [used(tmp_path / "calls", number) for number in (1, 2, 3)] == [own, own, other]
    assert f"{theirs.name} was brought from elsewhere and has answers to 2 of this store's own requests" in caplog.text
    assert main(["verify", str(tmp_path / "calls")]) == 0
    out = capsys.readouterr().out
    assert f"from elsewhere: {tmp_path}/calls/{theirs.name}" in out
    key = make_call(1).key[:12]
    assert (
        f"several answers: key {key}, row r1: used is {ours.name} byte 0; beside it {theirs.name} byte 0 (from" in out
    )
    assert out.count("several answers:") == 1, "the same answer twice is no conflict"
    assert "5 calls in 2 segments are whole, 0 torn, 0 damaged, 1 keys with several answers" in out


def test_what_was_there_before_the_store_knew_its_own_is_its_own(tmp_path: Path) -> None:
    """A store that was fetched, or written by an older version, has no file beside it."""
    keep(tmp_path / "calls", at(make_call(1, "first"), "2026-02-01T00:00:00+00:00"))
    owner_file(tmp_path / "calls").unlink()
    keep(tmp_path / "calls", at(make_call(1, "second"), "2026-03-01T00:00:00+00:00"))
    keep(tmp_path / "other", at(make_call(1, "theirs"), "2026-01-01T00:00:00+00:00"))
    plant(tmp_path / "calls", tmp_path / "other")
    assert used(tmp_path / "calls") == "first"


def test_a_planted_record_that_is_not_what_it_says_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(tmp_path / "calls", make_call(1, "ours"))
    wrong = StoredCall(**{**vars(make_call(2, "theirs")), "request": {"model": "another"}})
    liar = StoredCall(**{**vars(make_call(1, "theirs")), "answer_sha256": "0" * 64})
    keep(tmp_path / "other", wrong, liar)
    plant(tmp_path / "calls", tmp_path / "other")
    with CallStore(tmp_path / "calls") as store:
        assert store.get(make_call(2).key) is None
        assert "has a key that is not the hash of the request; it is passed over" in caplog.text
    assert used(tmp_path / "calls") == "ours"


def test_what_is_of_use_goes_before_what_is_not(tmp_path: Path) -> None:
    useless = make_call(1, "gibberish")
    useless = StoredCall.make(useless.key, {**useless.answer, UNUSABLE: "no JSON"}, useless.request, useless.paid)
    keep(tmp_path / "calls", at(useless, "2026-01-01T00:00:00+00:00"))
    keep(tmp_path / "calls", at(make_call(1, "good"), "2026-03-01T00:00:00+00:00"))
    assert used(tmp_path / "calls") == "good"


def test_stores_are_merged_by_a_command_that_names_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "calls", make_call(1, "ours"))
    theirs = keep(tmp_path / "other", make_call(1, "theirs"), make_call(2, "new"))
    (tmp_path / "calls" / "notes.txt").write_text("mine")
    for copied in (1, 0):
        assert main(["merge", str(tmp_path / "calls"), str(tmp_path / "other")]) == 0
        out = capsys.readouterr().out
        assert f"{copied} segments copied" in out
        assert f"beside it {theirs.name} byte 0 (from elsewhere)" in out
        assert f"foreign file: {tmp_path}/calls/notes.txt" in out
    assert [used(tmp_path / "calls", number) for number in (1, 2)] == ["ours", "new"]
    theirs.write_bytes(theirs.read_bytes().replace(b"theirs", b"thsire"))
    assert main(["merge", str(tmp_path / "calls"), str(tmp_path / "other")]) == 1
    assert "Nothing was copied" in capsys.readouterr().out


def test_no_flipped_bit_of_an_index_hides_an_answer(tmp_path: Path) -> None:
    calls = [make_call(number) for number in range(6)]
    segment = keep(tmp_path / "calls", *calls)
    index = segment.with_suffix(".idx")
    content = index.read_bytes()
    places = random.Random(18).sample(range(8 * len(content)), 60)
    for bit in {*places, *range(8 * 8, 8 * HEADER.size, 7)}:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        index.write_bytes(flipped)
        with CallStore(tmp_path / "calls") as store:
            assert [store.get(call.key) for call in calls] == calls, f"bit {bit}"
            assert len(store.verify().damaged) == 1


def test_an_index_without_a_checksum_is_not_trusted_and_no_damage(tmp_path: Path) -> None:
    calls = [make_call(number) for number in range(6)]
    segment = keep(tmp_path / "calls", *calls)
    index = segment.with_suffix(".idx")
    outdated = b"FTCALLS1" + index.read_bytes()[8:24] + bytes(16 * len(calls))
    index.write_bytes(outdated)
    assert read_index(segment) is None
    with CallStore(tmp_path / "calls") as store:
        assert [store.get(call.key) for call in calls] == calls
        assert store.verify().damaged == []


def test_every_byte_of_a_record_is_checked(tmp_path: Path) -> None:
    segment = keep(tmp_path / "calls", make_call(1))
    content = segment.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        segment.write_bytes(damaged)
        with CallStore(tmp_path / "calls") as store, pytest.raises(FinetrailError, match="byte 0 is not as it was"):
            store.get(make_call(1).key)
    segment.write_bytes(content)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_store_that_cannot_be_written_costs_no_call(harness: Harness, server: FakeServer) -> None:
    harness.folder.mkdir()
    harness.folder.chmod(0o555)
    try:
        with pytest.raises(FinetrailError, match="the call store cannot be written: Permission denied"):
            harness.run([make_request(str(number)) for number in range(20)])
    finally:
        harness.folder.chmod(0o755)
    assert server.bodies == []


def test_a_store_whose_place_is_taken_costs_no_call(harness: Harness, server: FakeServer) -> None:
    harness.folder.write_text("no folder")
    with pytest.raises(FinetrailError, match="the call store cannot be written"):
        harness.run([make_request(str(number)) for number in range(20)])
    assert server.bodies == []


def test_a_place_beside_the_store_that_cannot_be_written_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: Path, text: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(ownership, "write_once", refused)
    keep(tmp_path / "calls", make_call(1, "ours"))
    assert used(tmp_path / "calls") == "ours"
    assert "segments from elsewhere are not told apart" in caplog.text


def test_a_segment_that_came_to_nothing_is_removed(tmp_path: Path) -> None:
    with CallStore(tmp_path / "calls") as store:
        store.prepare()
        assert len(list((tmp_path / "calls").iterdir())) == 1
    assert list((tmp_path / "calls").iterdir()) == []


RACER = """
import json, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from tests.unit.llm.fake_llm import make_request
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.calls.store import CallStore
endpoint = Endpoint("fake", "openai", sys.argv[1], max_concurrency=8)
with CallStore(Path(sys.argv[2])) as store, Engine([endpoint], store) as engine:
    for answer in engine.run(make_request(str(number)) for number in range(int(sys.argv[3]))):
        print(json.dumps([answer.row_id, answer.text]), flush=True)
"""


def test_processes_that_pay_for_one_key_publish_what_replay_gives(server: FakeServer, tmp_path: Path) -> None:
    rows = 150
    both_are_here = asyncio.Event()

    async def hold(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if server.texts().count("0") == 2:
            both_are_here.set()
        await asyncio.wait_for(both_are_here.wait(), 60)
        return await nonce(number, body, request)

    server.handler = hold
    command = [
        sys.executable,
        "-c",
        RACER,
        server.url,
        str(tmp_path / "calls"),
        str(rows),
        str(Path(__file__).parents[3]),
    ]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        published = [racer.communicate(timeout=120)[0] for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    assert [racer.returncode for racer in racers] == [0, 0]
    replayed = Harness(server, tmp_path / "calls").run(
        [make_request(str(number)) for number in range(rows)], mode="replay"
    )
    texts = [[answer.row_id, answer.text] for answer in replayed if isinstance(answer, ChatAnswer)]
    for output in published:
        assert [json.loads(line) for line in output.splitlines()] == texts
    assert rows < len(server.bodies) <= 2 * rows


GOOD_ANSWER: dict[str, Any] = {
    "text": "t", "finish_reason": "stop", "model": "m", "fingerprint": None, "usage": None, "logprobs": None
}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        {"pages": []},
        GOOD_ANSWER | {"text": 5},
        GOOD_ANSWER | {"usage": "x"},
        GOOD_ANSWER | {"usage": {"prompt_tokens": "9"}},
        GOOD_ANSWER | {"usage": {"prompt_tokens": -9, "completion_tokens": 1}},
    ],
)
def test_a_record_of_another_kind_is_named(
    harness: Harness, answer: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    request = make_request("1")
    keep(harness.folder, StoredCall.make(request.key, answer, request.canonical, {"phase": "x"}))
    assert main(["stats", str(harness.folder)]) == 0
    assert "1 different requests" in capsys.readouterr().out
    with pytest.raises(FinetrailError, match="holds no reply of a model for this request"):
        harness.run([request])
