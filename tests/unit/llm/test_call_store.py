"""The call store: what is kept, what is found, what is recognised as broken."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.rows.records import canonical_json, sha256_text


def make_call(number: int, text: str = "yes", padding: int = 0) -> StoredCall:
    request = {"model": "m", "messages": [{"role": "user", "content": f"{number}" + "x" * padding}]}
    answer: dict[str, Any] = {"text": text, "finish_reason": "stop", "model": "m", "fingerprint": None}
    answer["usage"] = {}
    paid = {"phase": "label", "row": f"r{number}", "at": "2026-01-01T00:00:00+00:00"}
    return StoredCall.make(sha256_text(canonical_json(request)), answer, request, paid)


def fill(folder: Path, numbers: range) -> list[StoredCall]:
    calls = [make_call(number) for number in numbers]
    with CallStore(folder) as store:
        store.put_many(calls)
    return calls


def test_what_was_put_is_found_in_this_process_and_in_the_next(tmp_path: Path) -> None:
    calls = [make_call(number, f"answer {number} \u00e9\u2028\n") for number in range(200)]
    with CallStore(tmp_path / "calls") as store:
        for call in calls:
            store.put(call)
            assert store.get(call.key) == call
        assert store.get("0" * 64) is None
        assert store.stats().calls == 200
    with CallStore(tmp_path / "calls") as store:
        assert [store.get(call.key) for call in calls] == calls
        assert store.get("0" * 64) is None
        assert (store.stats().segments, store.stats().calls, store.stats().keys) == (1, 200, 200)
    assert len(list((tmp_path / "calls").iterdir())) == 2, "one segment and its index"


def test_an_answer_counts_only_when_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", watched)
    with CallStore(tmp_path / "calls") as store:
        for number in range(1, 4):
            synced.clear()
            store.put_many([make_call(number), make_call(-number)])
            assert synced.count(store.stats().bytes) == 1, "one fsync for a batch, after its last byte"


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    with CallStore(tmp_path / "calls") as store:
        assert store.get("0" * 64) is None
        assert store.stats().calls == 0
    assert not (tmp_path / "calls").exists()


def test_segments_are_closed_at_their_size_and_never_written_again(tmp_path: Path) -> None:
    with CallStore(tmp_path, segment_bytes=2000) as store:
        for number in range(40):
            store.put(make_call(number))
            assert store.get(make_call(number).key) is not None
        closed = {path: path.read_bytes() for path in tmp_path.glob("*.idx")}
    segments = sorted(tmp_path.glob("*.jsonl"))
    assert len(segments) > 5
    assert all(path.stat().st_size <= 3000 for path in segments)
    assert all(path.read_bytes() == content for path, content in closed.items())
    with CallStore(tmp_path) as store:
        assert all(store.get(make_call(number).key) for number in range(40))


def test_a_torn_last_record_is_passed_over_at_every_cut(tmp_path: Path) -> None:
    calls = fill(tmp_path / "whole", range(3))
    (segment,) = (tmp_path / "whole").glob("*.jsonl")
    content = segment.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    for cut in (start + 1, start + 60, len(content) - 30, len(content) - 2, len(content) - 1):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        (folder / segment.name).write_bytes(content[:cut])
        with CallStore(folder) as store:
            assert [store.get(call.key) for call in calls] == [calls[0], calls[1], None]
            report = store.verify()
            store.put(calls[2])
        assert (report.calls, len(report.torn), report.damaged) == (2, 1, [])
        with CallStore(folder) as store:
            assert [store.get(call.key) for call in calls] == calls


def test_verify_names_each_damage(tmp_path: Path) -> None:
    fill(tmp_path, range(5))
    (segment,) = tmp_path.glob("*.jsonl")
    content = segment.read_bytes()
    assert CallStore(tmp_path).verify().damaged == []
    segment.write_bytes(content.replace(b'"text":"yes"', b'"text":"no!"', 1))
    (damage, index) = CallStore(tmp_path).verify().damaged
    assert damage == f"{segment.name}: byte 0: the check sum does not fit"
    assert "index" in index
    with CallStore(tmp_path) as store, pytest.raises(FinetrailError, match="not as it was written"):
        store.get(make_call(0).key)
    record = json.loads(content.splitlines()[0])
    assert sha256_text(canonical_json(record["request"])) == record["key"]


def test_two_answers_for_one_key_stay_and_the_choice_is_stable(tmp_path: Path) -> None:
    calls = [make_call(1, "first"), make_call(1, "second")]
    smallest = min(calls, key=lambda call: call.answer_sha256)
    for name, order in (("a", calls), ("b", calls[::-1])):
        for call in order:
            with CallStore(tmp_path / name) as store:
                store.put(call)
        with CallStore(tmp_path / name) as store:
            assert store.get(calls[0].key) == smallest
            assert [store.get(call.key, call.answer_sha256) for call in calls] == calls
            assert (store.stats().calls, store.stats().keys) == (2, 1)


def test_an_index_that_is_missing_stale_or_broken_changes_nothing(tmp_path: Path) -> None:
    calls = fill(tmp_path, range(20))
    (index,) = tmp_path.glob("*.idx")
    content = index.read_bytes()
    for broken in (b"", b"FTCALLS1", content[:-1], b"x" + content[1:]):
        index.write_bytes(broken)
        with CallStore(tmp_path) as store:
            assert [store.get(call.key) for call in calls] == calls
    index.unlink()
    with CallStore(tmp_path) as store:
        assert [store.get(call.key) for call in calls] == calls


def test_a_large_segment_of_a_killed_writer_gets_an_index(tmp_path: Path) -> None:
    calls = [make_call(number, padding=100_000) for number in range(50)]
    with CallStore(tmp_path) as store:
        store.put_many(calls)
    (index,) = tmp_path.glob("*.idx")
    content = index.read_bytes()
    index.unlink()
    with CallStore(tmp_path) as store:
        store.put(make_call(99))
    assert index.read_bytes() == content


WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from typing import Any
from test_call_store import make_call
from finetrail.calls.store import CallStore
first = int(sys.argv[2])
with CallStore(Path(sys.argv[1]), segment_bytes=20_000) as store:
    for number in range(first, first + 150):
        store.put(make_call(number))
"""


@pytest.mark.heavy
def test_four_processes_write_at_once(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "calls")]
    writers = [subprocess.Popen([*command, str(first), here]) for first in (0, 100, 200, 300)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    with CallStore(tmp_path / "calls") as store:
        assert all(store.get(make_call(number).key) for number in range(450))
        report = store.verify()
        assert (report.calls, report.torn, report.damaged) == (600, [], [])
        assert (store.stats().calls, store.stats().keys) == (600, 450)


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from typing import Any
from test_call_store import make_call
from finetrail.errors import FinetrailError
from finetrail.calls.store import CallStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = CallStore(Path(sys.argv[1]))
for number in range(10):
    store.put(make_call(number))
size = store.stats().bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
try:
    store.put(make_call(10))
except FinetrailError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put(make_call(11))
print([store.get(make_call(number).key) is not None for number in (3, 10, 11)])
store.close()
"""


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "calls"), str(Path(__file__).parent)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
    assert "the call store cannot be written: File too large" in said
    assert "Free space" in said
    assert "[True, False, True]" in said
    with CallStore(tmp_path / "calls") as store:
        found = [number for number in range(12) if store.get(make_call(number).key)]
        report = store.verify()
    assert found == [*range(10), 11]
    assert (len(report.torn), report.damaged) == (1, [])
