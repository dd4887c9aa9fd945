"""A step whose disk is full says which, loses nothing that was paid and kept, and pays only for the rest afterwards."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.config.current import RUN_CONFIG_VARIABLE
from tests.unit.llm.fake_llm import FakeServer, asked, completion
from tests.unit.steps.asking import arguments, prepare, record

ROOT = Path(__file__).resolve().parents[3]
ROWS = 100
AT_ONCE = 8
PAGE = 4096
FREE_PAGES = (6, 12, 30)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    async def nonce(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(json.dumps({"queries": [f"query of call {number}"]}))

    fake = FakeServer()
    fake.handler = nonce
    yield fake
    fake.close()


@pytest.mark.heavy
def test_a_step_on_a_full_disk_pays_only_for_the_rest_afterwards(
    server: FakeServer, namespace: list[str], folder: Path
) -> None:
    disk = folder / "disk"
    disk.mkdir()
    prepare(disk, server.url, map(record, range(ROWS)), {"max_concurrency": AT_ONCE})
    step = [str(ROOT / "scripts/recall/make_queries.py"), "--rows", "records.jsonl"]
    amounts = ",".join(str(pages * PAGE) for pages in FREE_PAGES)
    driver = [sys.executable, str(Path(__file__).with_name("full_disk.py")), str(disk), "4m", amounts]
    paths = {"PYTHONPATH": str(ROOT / "scripts"), RUN_CONFIG_VARIABLE: str(disk / "run_config.yaml")}
    with subprocess.Popen(
        [*namespace, *driver, *step, *arguments("make_queries", "queries")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | paths | {"FINETRAIL_RUN": str(disk / "run")},
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        for pages in FREE_PAGES:
            server.bodies.clear()
            full = json.loads(process.stdout.readline())
            first = len(server.bodies)
            process.stdin.write("\n")
            process.stdin.flush()
            freed, end = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
            assert_full(full, disk, pages)
            assert freed["code"] == 0, freed["said"]
            assert_paid_once([asked(body) for body in server.bodies], first, end)


def assert_full(full: dict[str, Any], disk: Path, pages: int) -> None:
    """The step ended, said where there was no space, and left no temporary file."""
    assert (full["code"], full["left"]) == (1, []), pages
    assert "No space left on device" in full["said"][-1], pages
    places = ("results/calls", str(disk / "run/jobs"))  # whichever wrote into the last free page
    assert any(place in full["said"][-1] for place in places), full["said"][-4:]
    assert "Free space" in full["said"][-1]


def assert_paid_once(asked_for: list[str], first: int, end: dict[str, Any]) -> None:
    """The second run asked once for what the first had not kept, and wrote what is stored."""
    assert max(Counter(asked_for[first:]).values()) == 1
    assert ROWS <= len(asked_for) <= ROWS + AT_ONCE
    stored = [json.loads(line) for text in end["segments"] for line in text.split("\n")[:-1] if line.endswith("}")]
    assert len({call["key"] for call in stored}) == ROWS
    queries = [json.loads(line)["queries"][0]["text"] for line in end["out"].splitlines()]
    kept = {call["paid"]["row"]: json.loads(call["answer"]["text"])["queries"][0] for call in stored}
    assert queries == [kept[f"s{number}:1"] for number in range(ROWS)]
