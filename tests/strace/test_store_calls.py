"""What the kernel sees of four processes that write to one store: needs strace (`make test-strace`)."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.llm.fake_llm import FakeServer
from tests.unit.llm.four_writers import ROWS, STARTS, check_answers, check_files, nonce

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: make test-strace")

WRITER = Path(__file__).parents[1] / "unit/llm/store_writer.py"
CALLS = "open,openat,openat2,creat,truncate,ftruncate,rename,renameat,renameat2,link,linkat,flock,fcntl"
CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)")
PATHS = re.compile(r'"((?:[^"\\]|\\.)*)"')
WRITING = re.compile(r"\bO_(?:WRONLY|RDWR)\b")
LOCKING = re.compile(r"\bF_(?:SETLKW?|GETLK|OFD_SETLKW?|OFD_GETLK|SETLKW?64|GETLK64|SETLEASE)\b")


@dataclass
class Seen:
    """The calls of interest, of all threads of all traced processes."""

    written: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def tracer(folder: Path, number: int) -> list[str]:
    """Return the command before a traced one; each thread gets a file of its own, so that no line is cut in two."""
    trace = ",".join(f"?{name}" for name in CALLS.split(","))  # not every machine has every one of them
    return ["strace", "-ff", "-s", "4096", "-o", str(folder / f"trace-{number}"), "-e", f"trace={trace}"]


def read_traces(folder: Path, store: Path) -> Seen:
    """Sort what was traced; files outside the store do not matter, locks do wherever they are."""
    seen = Seen()
    for path in sorted(folder.glob("trace-*")):
        for line in path.read_text(errors="replace").splitlines():
            if found := CALL.match(line):
                _sort(seen, found["name"], found["arguments"], store)
    return seen


def _sort(seen: Seen, name: str, arguments: str, store: Path) -> None:
    paths = [path for path in PATHS.findall(arguments) if path.startswith(f"{store}/")]
    if name == "flock" or (name == "fcntl" and LOCKING.search(arguments)):
        seen.locks.append(f"{name}({arguments}")
    elif paths and name.startswith("rename"):
        seen.renamed.append(paths[-1])
    elif paths and name.startswith(("open", "creat")):
        if name == "creat" or WRITING.search(arguments):
            seen.written.append(paths[0])
    elif paths or name == "ftruncate":
        seen.others.append(f"{name}({arguments}")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


def test_no_segment_is_opened_twice_and_no_lock_is_taken(server: FakeServer, tmp_path: Path) -> None:
    store = tmp_path / "calls"
    server.handler = nonce
    writers = [
        subprocess.Popen(
            [*tracer(tmp_path, number), sys.executable, str(WRITER), server.url, str(store), str(first), str(ROWS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, first in enumerate(STARTS)
    ]
    try:
        printed = [writer.communicate(timeout=120)[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    check_answers(server, store, [json.loads(line) for text in printed for line in text.splitlines()])
    seen = read_traces(tmp_path, store)
    assert seen.locks == []
    assert [call for call in seen.others if not (call.startswith("link") and ".chosen" in call)] == []
    check_files(store, seen.written, seen.renamed)


SINNER = """
import fcntl, os, sys
for _ in range(2):
    with open(sys.argv[1] + "/a.jsonl", "a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        fcntl.lockf(stream, fcntl.LOCK_UN)
os.rename(sys.argv[1] + "/a.jsonl", sys.argv[1] + "/b.jsonl")
os.link(sys.argv[1] + "/b.jsonl", sys.argv[1] + "/c.jsonl")
os.truncate(sys.argv[1] + "/c.jsonl", 0)
"""


def test_what_must_not_be_would_be_seen(tmp_path: Path) -> None:
    store = tmp_path / "calls"
    store.mkdir()
    subprocess.run([*tracer(tmp_path, 0), sys.executable, "-c", SINNER, str(store)], check=True)
    seen = read_traces(tmp_path, store)
    assert seen.written == [str(store / "a.jsonl")] * 2
    assert seen.renamed == [str(store / "b.jsonl")]
    assert [lock.partition("(")[0] for lock in seen.locks] == ["flock", "fcntl"] * 2
    assert [call.partition("(")[0] for call in seen.others] == ["link", "truncate"]
