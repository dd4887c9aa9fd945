"""Searches are paid once, pages read once; replay needs no network, and no key is ever kept."""

import asyncio
import json
import logging
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.inspect_store import main as inspect_store
from finetrail.calls.money import Ledger, Usage
from finetrail.calls.store import CallStore
from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.rows.records import read_rows, write_jsonl
from finetrail.step.progress import Progress
from finetrail.web.search_progress import Searching
from recall.search_passages import main
from tests.unit.llm.fake_llm import LLM_KEYS
from tests.unit.web.site import Site

KEY = "se/cret+key=0123456789"
QUOTED = ("se%2Fcret%2Bkey%3D0123456789", "se/cret+key%3D0123456789", "se/cret%2Bkey%3D0123456789")
HTTP: dict[str, Any] = {
    "service": "mine",
    "custom": {
        "method": "GET",
        "path": "/search",
        "params": {"q": "<query>", "n": "<count>"},
        "results": "results",
        "fields": {"url": "url", "title": "title", "snippet": "snippet", "date": "date"},
    },
    "params": {},
    "page_size": 5,
    "pages": True,
    "page_characters": 2000,
    "merge_above": 0.9,
    "edition": None,
}
SCRIPT = Path(__file__).parents[3] / "scripts" / "recall" / "search_passages.py"
ROWS = [
    {"id": f"r{number}", "question": text, "calls": [], "queries": [{"text": text, "origin": "question"}]}
    for number, text in enumerate(["old bridge", "new bridge", "old bridge"])
]


class Web:
    """A search service and the pages that it finds, on one loopback server, and the step that searches it."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder
        self.endpoint: dict[str, Any] = {
            "base_url": site.url, "api_key_env": None, "timeout_s": 5.0, "max_concurrency": 4, "max_retries": 2,
            "requests_per_minute": None, "usd_per_1000": 5.0,
        }  # fmt: skip
        self.pages = {"timeout_s": 5.0, "max_bytes": 100_000, "max_redirects": 2, "max_concurrency": 4}
        self.pages["allow_private"] = True
        self.llm = dict(LLM_KEYS)
        self.http = dict(HTTP)
        self.keys: dict[str, str | None] = {"key_header": None, "key_param": None}
        self.refusals: list[web.Response] = []
        self.llm_shares: int | None = None
        site.pages["/search"] = self.search

    async def search(self, request: web.Request) -> web.StreamResponse:
        if self.refusals:
            return self.refusals.pop(0)
        query = request.query.get("q") or json.loads(await request.text())["query"]
        names = [f"{query} {number}" for number in range(3)]
        results = [
            {"url": f"{self.site.url}/{name.replace(' ', '-')}", "title": name, "snippet": f"About {name}."}
            for name in names
        ]
        return web.json_response({"query": str(request.url), "results": results})

    def serve_pages(self) -> None:
        for name in ("old", "new"):
            for number in range(2):
                text = f"<p>Page {number} of the {name} bridge, which was built in {1800 + number}.</p>" * 3
                body = f"<html><head><title>{name} {number}</title></head><body><article>{text}</article></body></html>"
                self.site.page(f"/{name}-bridge-{number}", body)

    def searches(self) -> list[str]:
        return [visit.query.get("q", "") for visit in self.site.visits if visit.path == "/search"]

    def run(self, *more: str, rows: list[dict[str, Any]] = ROWS) -> int:
        custom = self.http["custom"] and self.http["custom"] | self.keys
        run_config = {
            "scale": "full",
            "results_dir": "results",
            "llm_shares": self.llm_shares,
            "llm": self.llm | {"endpoints": {}},
            "search": {"endpoints": {"here": self.endpoint}, "pages": self.pages},
            "recipes": {"by_hand": {"recall": {"http": {"search_endpoint": "here", "custom": custom}}}},
        }
        # each run a file of its own: a process reads a run's configuration once
        path = self.folder / f"run{len(list(self.folder.glob('run*.json')))}.json"
        path.write_text(json.dumps(run_config))
        self.monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(path))
        write_jsonl(self.folder / "queries.jsonl", rows)
        return main([*self.arguments(), *more])

    def arguments(self) -> list[str]:
        settings = {"recall": {"backend": "http", "top_k": 3, "http": self.http}}
        files = ["--rows", "queries.jsonl", "--out", "recall.jsonl", "--passages", "passages.jsonl"]
        return [*files, "--meta", "recall.meta.json", "--settings", json.dumps(settings)]

    def bytes(self) -> list[bytes]:
        return [(self.folder / name).read_bytes() for name in ("recall.jsonl", "passages.jsonl")]

    def rows(self) -> list[dict[str, Any]]:
        return list(read_rows(self.folder / "recall.jsonl"))

    def meta(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "recall.meta.json").read_text())
        return content

    def everything(self) -> str:
        """All that was written anywhere, and the store."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)

    monkeypatch: pytest.MonkeyPatch


@pytest.fixture
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    site = Site()
    there = Web(site, folder)
    there.monkeypatch = monkeypatch
    yield there
    site.close()


def test_rows_get_candidates_and_passages(there: Web) -> None:
    there.serve_pages()
    assert there.run() == 0
    rows, passages = there.rows(), {row["id"]: row for row in read_rows(there.folder / "passages.jsonl")}
    assert [row["id"] for row in rows] == ["r0", "r1", "r2"]
    first = rows[0]["candidates"]
    assert [(one["rank"], one["text_of"], one["source"], one["score"]) for one in first] == [
        (1, "page", "mine", None), (2, "page", "mine", None), (3, "snippet", "mine", None),
    ]  # fmt: skip
    assert first[2]["failed"] == "HTTP 404"
    assert passages[first[0]["passage_id"]]["text"].startswith("Page 0 of the old bridge")
    assert passages[first[0]["passage_id"]]["title"] == "old 0"
    assert passages[first[2]["passage_id"]]["text"] == "About old bridge 2."
    assert {one["passage_id"] for row in rows for one in row["candidates"]} == {*passages}
    assert len(passages) == 6, "the third question is the first one's"
    assert rows[2]["candidates"] == first
    meta = there.meta()
    assert (meta["llm"]["calls_made"], meta["llm"]["from_store"], meta["llm"]["usd"]) == (2, 1, 0.01)
    assert meta["pages"]["failed"] == {"HTTP 404": 3}


def test_a_second_run_makes_no_request_and_replay_needs_no_server(there: Web) -> None:
    there.serve_pages()
    assert there.run() == 0
    made, visits = there.bytes(), len(there.site.visits)
    assert sorted(there.searches()) == ["new bridge", "old bridge"]
    assert there.run() == 0
    assert there.bytes() == made and len(there.site.visits) == visits
    there.site.close()
    there.llm["mode"] = "replay"
    assert there.run() == 0
    assert there.bytes() == made
    assert there.meta()["llm"]["calls_made"] == 0 and there.meta()["llm"]["attempts"] == 0


@pytest.mark.parametrize("missing", ["search", "reading"])
def test_a_miss_in_replay_names_row_and_phase(there: Web, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    there.serve_pages()
    there.http["pages"] = missing == "search"
    if missing == "reading":
        assert there.run() == 0
        there.http["pages"] = True
    there.site.close()
    there.llm["mode"] = "replay"
    assert there.run() == 1
    said = capsys.readouterr().err
    assert "row r0" in said and "phase 'search_passages'" in said and "replay" in said


def test_another_field_map_costs_nothing(there: Web) -> None:
    there.http["pages"] = False
    assert there.run() == 0
    there.http["custom"] = there.http["custom"] | {"fields": {"url": "url", "snippet": "title"}}
    assert there.run() == 0
    assert len(there.searches()) == 2
    assert next(row["text"] for row in read_rows(there.folder / "passages.jsonl")) == "old bridge 0"


def test_another_edition_asks_anew(there: Web) -> None:
    there.http["pages"] = False
    assert there.run() == 0
    there.http["edition"] = "2026-06"
    assert there.run() == 0
    assert len(there.searches()) == 4


@pytest.mark.parametrize(
    "keys", [{"key_header": "X-Key"}, {"key_header": "Authorization"}, {"key_param": "api_key"}], ids=str
)
def test_no_key_is_kept_anywhere(there: Web, keys: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """The service repeats the address that it was asked with, key and all, in answers and in errors."""
    caplog.set_level(logging.DEBUG)
    there.monkeypatch.setenv("SEARCH_KEY", KEY)
    there.endpoint["api_key_env"] = "SEARCH_KEY"
    there.keys |= keys

    async def repeat(request: web.Request) -> web.StreamResponse:
        heard = request.query.get("api_key") or request.headers.get("X-Key") or request.headers["Authorization"]
        if len(there.searches()) == 2:
            return web.Response(status=400, text=f"what is {heard}, or {request.raw_path}?")
        found = [{"url": there.site.url + "/none", "title": heard, "snippet": request.raw_path}]
        return web.json_response({"results": found})

    there.site.pages["/search"] = repeat
    there.llm["max_quarantined_share"] = 1.0
    assert there.run() == 1, "a row that is set aside is no loss that recall may pass over"
    sent = [(visit.query.get("api_key"), visit.headers.get("X-Key"), visit.headers.get("Authorization"))
            for visit in there.site.visits if visit.path == "/search"]  # fmt: skip
    assert {KEY, f"Bearer {KEY}"} & {value for values in sent for value in values}
    kept = there.everything() + caplog.text
    assert "<key>, or" in kept
    for form in (KEY, *QUOTED):
        assert form not in kept
    there.site.pages["/search"] = there.search
    assert there.run() == 0


def test_a_missing_key_is_named(there: Web, capsys: pytest.CaptureFixture[str]) -> None:
    there.monkeypatch.delenv("SEARCH_KEY", raising=False)
    there.endpoint["api_key_env"] = "SEARCH_KEY"
    assert there.run() == 1
    assert "the environment variable SEARCH_KEY is not set" in capsys.readouterr().err
    assert there.site.visits == []


def test_a_service_that_asks_to_wait_is_waited_for(there: Web) -> None:
    there.http["pages"] = False
    there.refusals += [web.Response(status=429, headers={"Retry-After": "1"})]
    there.endpoint["max_concurrency"] = 1
    assert there.run(rows=ROWS[:1]) == 0
    llm = there.meta()["llm"]
    assert (llm["attempts"], llm["rate_limited"], llm["calls_made"]) == (2, 1, 1)


def test_a_failed_search_sets_its_row_aside_and_pays_the_others(there: Web) -> None:
    there.http["pages"] = False
    there.llm["max_quarantined_share"] = 1.0
    there.endpoint["max_concurrency"] = 1

    async def refuse_new(request: web.Request) -> web.StreamResponse:
        if request.query["q"] == "new bridge":
            return web.Response(status=422, text="no such words")
        return await there.search(request)

    there.site.pages["/search"] = refuse_new
    assert there.run() == 1
    (path,) = (there.folder / "run").rglob("*quarantine*")
    (row,) = read_rows(path)
    assert row["id"] == "r1" and row["error"] == "search: HTTP 422: no such words"
    there.site.pages["/search"] = there.search
    assert there.run() == 0
    assert there.searches().count("old bridge") == 1


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, "no", "refuses us (HTTP 401: no)"),
        (403, "no", "refuses us (HTTP 403: no)"),
        (432, "plan", "credit is used up (HTTP 432: plan)"),
        (404, "", "is not asked like this (HTTP 404"),
        (302, "", "sends us on to /elsewhere (HTTP 302), which is not followed"),
        (200, '{"items": [], "error": 5}', "there is no list of results at 'results'. Found: error, items"),
    ],
)
def test_what_all_searches_would_meet_stops_the_step(
    there: Web, status: int, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={"Location": "/elsewhere"})

    there.site.pages["/search"] = refuse
    there.endpoint["max_concurrency"] = 1
    assert there.run() == 1
    assert said in capsys.readouterr().err
    assert len(there.searches()) == 1


def test_nobody_there_stops_the_step(there: Web, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        there.endpoint["base_url"] = f"http://127.0.0.1:{free.getsockname()[1]}"
    there.endpoint["max_retries"] = 0
    assert there.run() == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("bound", [{"budget_calls": 1}, {"budget_usd": 0.005}], ids=str)
def test_a_budget_bounds_searches(there: Web, bound: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    there.http["pages"] = False
    there.endpoint["max_concurrency"] = 1
    there.llm |= bound
    assert there.run() == 1
    assert "the budget of this run is spent: its jobs paid 1 calls, 0.0050 USD; 1 of 3 rows" in capsys.readouterr().err
    assert there.searches() == ["old bridge"]
    there.llm |= {"budget_calls": None, "budget_usd": None}
    assert there.run() == 0
    assert there.searches() == ["old bridge", "new bridge"]


def test_the_heartbeat_tells_what_searches_cost(there: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    there.http["pages"] = False
    monkeypatch.setenv("FINETRAIL_RUN", str(there.folder / "run"))
    there.refusals = [web.Response(status=429, headers={"Retry-After": "0"}), web.Response(status=500)]
    assert there.run() == 0
    (beat,) = (json.loads(path.read_text()) for path in (there.folder / "run/heartbeats").iterdir())
    assert (beat["status"], beat["progress"]["done"], beat["progress"]["total"]) == ("complete", 3, 3)
    told = {
        name: beat["llm"][name] for name in ("calls_made", "from_store", "attempts", "rate_limited", "errors", "usd")
    }
    assert told == {"calls_made": 2, "from_store": 1, "attempts": 4, "rate_limited": 1, "errors": 1, "usd": 0.01}


def test_a_line_of_progress_tells_of_searches() -> None:
    reading, ledger = Progress("questions", 9), Ledger()
    ledger.pay("search", "mine", "mine", None, Usage(), 0.005)
    progress = Searching(ledger, lambda: 4, reading, None)
    progress.begin(0.0)
    progress.advance(3)
    line = progress.standing(1.5).line()
    assert line.startswith("questions: 3/9, ")
    assert line.endswith("; 4 in flight, 0 times 429, 0 errors, 0.0050 USD, 0 from the store")


@pytest.mark.parametrize(("held", "most"), [(1, 2), (2, 4), (0, 4)], ids=["one of two", "both", "by hand"])
def test_a_job_asks_no_more_than_its_share_at_once(there: Web, held: int, most: int) -> None:
    there.http["pages"] = False
    there.llm_shares = 2
    under_way, busiest = 0, 0

    async def counting(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, busiest
        under_way += 1
        busiest = max(busiest, under_way)
        await asyncio.sleep(0.1)
        under_way -= 1
        return await there.search(request)

    there.site.pages["/search"] = counting
    rows = [ROWS[0] | {"id": f"r{n}", "queries": [{"text": f"bridge {n}", "origin": "question"}]} for n in range(12)]
    assert there.run("--shares", str(held), rows=rows) == 0
    assert busiest == most and len(there.searches()) == len(rows)


def test_a_spent_budget_ends_the_searches_at_once_also_under_a_ceiling(there: Web) -> None:
    there.http["pages"] = False
    there.endpoint["requests_per_minute"] = 60
    there.llm["budget_calls"] = 2
    rows = [ROWS[0] | {"id": f"r{n}", "queries": [{"text": f"bridge {n}", "origin": "question"}]} for n in range(400)]
    began = time.monotonic()
    assert there.run(rows=rows) == 1
    assert time.monotonic() - began < 200, "not the 400 seconds that the ceiling would have had them wait"
    assert len(there.searches()) == 2


def test_the_plan_counts_searches_and_asks_nothing(there: Web, capsys: pytest.CaptureFixture[str]) -> None:
    there.serve_pages()
    assert there.run("--plan") == 0
    plan = json.loads(capsys.readouterr().out)
    expected = {"rows": 3, "calls": 3, "in_store": 0, "repeats": 1, "to_make": 2, "usd": 0.01, "model": "mine"}
    assert expected.items() <= plan.items()
    assert there.site.visits == [] and not (there.folder / "results").exists()
    there.http["pages"] = False
    assert there.run() == 0
    capsys.readouterr()
    there.http["pages"] = True
    assert there.run("--plan") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["in_store"] == 3 and plan["to_make"] == 0 and "6 known pages to read" in plan["basis"]


def test_the_store_is_whole_and_its_figures_name_searches(there: Web, capsys: pytest.CaptureFixture[str]) -> None:
    there.serve_pages()
    assert there.run() == 0
    capsys.readouterr()
    assert inspect_store(["verify", "results/calls"]) == 0
    assert inspect_store(["stats", "results/calls"]) == 0
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert {"(search mine) search_passages 2 0 0", "(page) search_passages 4 0 0"} <= lines
    with CallStore(there.folder / "results/calls") as store:
        kinds = [call.request["kind"] for call in store.newest()]
        assert sorted(kinds) == ["page"] * 4 + ["reading"] * 2 + ["search"] * 2
        failed = [
            call for call in store.newest() if call.request["kind"] == "page" and "bridge-2" in call.request["url"]
        ]
        assert failed == [], "a page that could not be had has no record"


def test_pages_of_the_inner_network_are_refused_and_recorded(there: Web) -> None:
    there.serve_pages()
    there.pages["allow_private"] = False
    assert there.run() == 0
    assert set(there.site.paths()) == {"/search"}
    reasons = {one["failed"] for row in there.rows() for one in row["candidates"]}
    assert reasons == {"refused: 127.0.0.1 is no public address"}


def test_an_outage_is_not_kept_as_what_pages_came_to(there: Web, capsys: pytest.CaptureFixture[str]) -> None:
    """All pages fail for a passing cause: the step stops, and another run reads them."""
    there.serve_pages()

    async def fail(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    good = dict(there.site.pages)
    rows = [
        ROWS[0] | {"id": f"q{number}", "queries": [{"text": f"question {number}", "origin": "question"}]}
        for number in range(8)
    ]
    for number in range(8):
        for page in range(3):
            there.site.pages[f"/question-{number}-{page}"] = fail
    there.monkeypatch.setattr("finetrail.calls.patience.FIRST_WAIT_S", 0.01)
    assert there.run(rows=rows) == 1
    # at least 20: others may fail in the same moment
    assert re.search(r"none of 2[0-4] pages could be read; the last one: HTTP 503", capsys.readouterr().err)
    with CallStore(there.folder / "results/calls") as store:
        assert {call.request["kind"] for call in store.newest()} == {"search"}
    there.site.pages = good
    for number in range(8):
        there.site.page(
            f"/question-{number}-0", "<html><body><p>" + f"Answer {number} at last. " * 20 + "</p></body></html>"
        )
    assert there.run(rows=rows) == 0
    assert there.rows()[0]["candidates"][0]["text_of"] == "page"


def test_a_wrong_field_map_is_paid_once(there: Web, capsys: pytest.CaptureFixture[str]) -> None:
    """The service answered well: what it said is kept, and read again once the map is right."""
    good = there.http["custom"]
    there.http |= {"pages": False, "custom": good | {"results": "query"}}
    assert there.run() == 1
    assert "there is no list of results at 'query'" in capsys.readouterr().err
    paid = len(there.searches())
    assert there.run() == 1
    assert len(there.searches()) == paid
    there.http["custom"] = good
    assert there.run() == 0
    assert sorted(there.searches()) == ["new bridge", "old bridge"]
    assert all(row["candidates"] for row in there.rows())


def test_a_search_of_no_use_is_paid_once(there: Web) -> None:
    there.llm["max_quarantined_share"] = 1.0
    there.http["pages"] = False
    there.endpoint["max_concurrency"] = 1

    async def odd(request: web.Request) -> web.StreamResponse:
        if request.query["q"] == "new bridge":
            return web.json_response({"results": "none", "said": "\ud800 \x1b[2J"})
        return await there.search(request)

    there.site.pages["/search"] = odd
    for _ in range(2):
        assert there.run() == 1, "a record may not be lost"
        assert sorted(there.searches()) == ["new bridge", "old bridge"]
    there.site.pages["/search"] = there.search
    there.llm["ask_again"] = True
    assert there.run() == 0
    assert sorted(there.searches()) == ["new bridge", "new bridge", "old bridge"]


def test_half_a_character_in_a_result_is_no_reason_to_pay_again(there: Web) -> None:
    there.http["pages"] = False

    async def odd(request: web.Request) -> web.StreamResponse:
        found = {"url": "https://example.org/", "title": "\ud83d", "snippet": "half \udc00 a \x1b[31mcharacter"}
        return web.json_response({"results": [found]})

    there.site.pages["/search"] = odd
    for _ in range(2):
        assert there.run() == 0
        assert sorted(there.searches()) == ["new bridge", "old bridge"]
    assert "\x1b" not in there.everything()


def test_a_rate_limit_within_200_is_one(there: Web) -> None:
    there.refusals = [
        web.json_response({"error": {"code": "429", "message": "slow down"}}, headers={"Retry-After": "0"})
    ]
    assert there.run() == 0
    assert there.meta()["llm"]["rate_limited"] == 1


def test_a_day_is_not_waited_for(there: Web, capsys: pytest.CaptureFixture[str]) -> None:
    async def tomorrow(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, text="come back tomorrow", headers={"Retry-After": "86400"})

    there.site.pages["/search"] = tomorrow
    there.llm["max_wait_s"] = 0.1
    assert there.run() == 1
    assert "it says: HTTP 429: come back tomorrow" in capsys.readouterr().err


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_at_any_search_pay_for_nothing_twice(there: Web, number: signal.Signals) -> None:
    rows = [
        {"id": f"r{number}", "question": "q", "calls": [], "queries": [{"text": f"q{number}", "origin": "question"}]}
        for number in range(40)
    ]
    there.http["pages"] = False
    there.run(rows=[])  # writes the configuration
    write_jsonl(there.folder / "queries.jsonl", rows)
    moments = sorted(random.Random(18).sample(range(1, 40), 3))
    victims: list[subprocess.Popen[str]] = []
    said: list[str] = []

    async def slow(request: web.Request) -> web.StreamResponse:
        if moments and len(there.searches()) >= moments[0]:
            moments.pop(0)
            victims[-1].send_signal(number)
        await asyncio.sleep(0.05)
        return await there.search(request)

    there.site.pages["/search"] = slow
    command = [sys.executable, str(SCRIPT), *there.arguments()]
    while not victims or victims[-1].returncode:
        assert len(victims) < 5
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            victims.append(process)
            try:
                said.append(process.communicate(timeout=120)[1])
            finally:
                process.kill()
    assert [victim.returncode for victim in victims] == [1, 1, 1, 0]
    end = "interrupted SIGTERM" if number == signal.SIGTERM else "interrupted"
    assert [f"search_passages failed: {end}\n" in text for text in said] == [True] * 3 + [False], said
    assert sorted(there.searches()) == sorted(f"q{number}" for number in range(40))
