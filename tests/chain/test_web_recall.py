"""Recall from a search service and the pages that it names: paid once, and made again without a server."""

import json
import shutil
from collections.abc import Callable, Iterator

import pytest
from aiohttp import web

from tests.chain.test_plan import figures, plan
from tests.chain.test_reruns import once, one_line
from tests.unit.web.site import Site
from tests.workspace import RESULTS, ROOT, Workspace

Copy = Callable[[Workspace], Workspace]

BEHIND = ["rerank_passages", "label_relevance", "filter_passages"]
BEHIND += ["generate_answers", "judge_answers", "select_answers", "make_folds"]
MADE = ["ingest_records", "make_splits", "make_queries", "search_passages", *BEHIND]
SERVICE = """{service: here, search_endpoint: %s, page_size: 4, custom: {
    path: /find, params: {q: <query>, n: <count>}, results: data.hits,
    fields: {url: link, title: name, snippet: about}, key_header: X-Key}}"""
RECALL = "overrides={crag_mm: {recall: {backend: http, top_k: 4, http: %s}, rerank: {keep_passages: 4}}}"
ENDPOINT = "{base_url: '%s', api_key_env: FIND_KEY, usd_per_1000: 5.0}"
SEARCH = "search={endpoints: {%s: %s}, pages: {allow_private: true, timeout_s: 10.0}}"
DATA = ["recall.jsonl", "passages.jsonl", "reranked.jsonl", "pointwise_labeled.jsonl", "synthetic.jsonl"]
DATA += ["folds/fold0/train.jsonl", "folds/fold0/test.jsonl"]
KEY = "find-key-0123456789"


def serve_corpus(site: Site) -> None:
    """Serve each passage of the sample as a page, and a search by shared words; one page in five is not there."""
    rows = [json.loads(line) for line in (ROOT / "data/crag_mm/corpus.jsonl").read_text().splitlines()]
    words = [set(f"{row.get('title', '')} {row['text']}".lower().split()) for row in rows]

    async def find(request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-Key") != KEY:
            return web.Response(status=401)
        asked = set(request.query["q"].lower().split())
        best = sorted(range(len(rows)), key=lambda place: (-len(asked & words[place]), place))[
            : int(request.query["n"])
        ]
        hits = [
            {"link": f"{site.url}/{place}", "name": rows[place].get("title", ""), "about": rows[place]["text"][:80]}
            for place in best
        ]
        return web.json_response({"data": {"hits": hits}})

    site.pages["/find"] = find
    for place, row in enumerate(rows):
        if place % 5:
            site.page(f"/{place}", f"<html><body><article><p>{row['text']}</p></article></body></html>")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    serve_corpus(site)
    yield site
    site.close()


@pytest.fixture(scope="module")
def searched(fresh: Workspace, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The target `data` has run with recall from a search service."""
    workspace = fresh.copy(tmp_path_factory.mktemp("searched") / "project")
    workspace.config += [one_line(RECALL % SERVICE % "finder"), SEARCH % ("finder", ENDPOINT % site.url)]
    workspace.variables["FIND_KEY"] = KEY
    workspace.made = workspace.executed("data")
    return workspace


def data_of(workspace: Workspace) -> dict[str, bytes]:
    return {name: (workspace.root / RESULTS / name).read_bytes() for name in DATA}


def test_the_chain_runs_on_what_the_service_finds(searched: Workspace) -> None:
    assert searched.made == once(MADE)
    rows, passages = searched.rows("recall.jsonl"), {row["id"]: row for row in searched.rows("passages.jsonl")}
    assert len(rows) == len(searched.rows("records.jsonl"))
    kinds = {(one["text_of"], one.get("failed")) for row in rows for one in row["candidates"]}
    assert kinds == {("page", None), ("snippet", "HTTP 404")}
    assert {one["passage_id"] for row in rows for one in row["candidates"]} == {*passages}
    assert all(row["labels"] for row in searched.rows("pointwise_labeled.jsonl"))
    paid = searched.meta("recall.meta.json")["llm"]
    assert paid["usd"] == pytest.approx(paid["calls_made"] * 0.005) and paid["calls_made"] > 0


def test_nothing_runs_twice_and_operation_keys_rerun_nothing(searched: Workspace, copy_of: Copy, site: Site) -> None:
    workspace, visits = copy_of(searched), len(site.visits)
    assert workspace.executed("data") == {}
    other = [
        one_line(RECALL % SERVICE.replace("X-Key", "X-Other") % "moved"),
        SEARCH % ("moved", ENDPOINT % "http://127.0.0.1:9"),
    ]
    assert workspace.executed("data", config=tuple(other)) == {}
    changed = SERVICE.replace("page_size: 4", "page_size: 3") % "finder"
    assert workspace.planned("data", config=(one_line(RECALL % changed),)) == once(["search_passages", *BEHIND])
    assert len(site.visits) == visits


def test_replay_makes_the_same_bytes_without_a_server(searched: Workspace, copy_of: Copy, site: Site) -> None:
    workspace, visits = copy_of(searched), len(site.visits)
    made = data_of(workspace)
    shutil.rmtree(workspace.root / RESULTS)
    del workspace.variables["FIND_KEY"]
    offline = ("llm={mode: replay}", SEARCH % ("finder", ENDPOINT % "http://127.0.0.1:9"))
    assert workspace.executed("data", config=offline) == once(MADE)
    assert data_of(workspace) == made
    assert len(site.visits) == visits


def test_the_plan_knows_what_is_paid(searched: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(searched)
    known = figures(plan(workspace))["search_passages"]
    assert known["to_make"] == 0 and known["calls"] == known["in_store"] > 0
    (workspace.root / RESULTS / "recall.jsonl").unlink()
    again = figures(printed := plan(workspace, str(RESULTS / "recall.jsonl")))["search_passages"]
    assert again["to_make"] == 0 and again["in_store"] == again["calls"] == known["calls"]
    assert "0 known pages to read" in printed
    changed = SERVICE.replace("page_size: 4", "page_size: 3") % "finder"
    config = (one_line(RECALL % changed),)
    anew = figures(printed := plan(workspace, str(RESULTS / "recall.jsonl"), config=config))["search_passages"]
    assert anew["to_make"] > 0
    assert f"In all: {anew['to_make']} calls to make, about {anew['to_make'] * 0.005:.4f} USD" in printed


def test_the_key_is_nowhere(searched: Workspace) -> None:
    written = [searched.root / name for name in ("results", "logs", "benchmarks", ".snakemake")]
    files = [path for folder in written for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert any(path.parent.name == "calls" for path in files)
