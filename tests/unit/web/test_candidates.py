"""From lists of results to candidates and passages."""

import json
from typing import Any

import pytest

from finetrail.config.checks import SEARCH_PRESETS
from finetrail.errors import FinetrailError
from finetrail.web.candidates import candidates_of, fuse_results
from finetrail.web.extract import PageText
from finetrail.web.services import PRESETS, NoResults, Result, at_path, filled, read_results, service_of
from finetrail.web.web_request import Asker

SETTINGS: dict[str, Any] = {"page_characters": 400, "merge_above": 0.9}
WORDS = " ".join(f"word{number}" for number in range(200))


def result(name: str, **more: str) -> Result:
    fields = {"url": f"https://example.org/{name}", "title": name, "snippet": f"about {name}", "date": "", "id": ""}
    return Result(**fields | more)


def test_one_list_keeps_its_order_and_has_no_score() -> None:
    found = fuse_results([[result("b"), result("a"), result("b", url="https://example.org/b#part")]], 5)
    assert [(one.result.title, one.score) for one in found] == [("b", None), ("a", None)]


def test_several_lists_are_fused_by_reciprocal_rank() -> None:
    lists = [[result("a"), result("b", snippet="late")], [result("b", snippet="early"), result("c")]]
    found = fuse_results(lists, 2)
    assert [one.result.title for one in found] == ["b", "a"]
    assert found[0].result.snippet == "early", "of one URL the best ranked result speaks"
    assert found[0].score == pytest.approx(1 / 61 + 1 / 62, abs=1e-6)


def test_a_page_is_used_and_cut_and_a_snippet_where_there_is_none() -> None:
    found = fuse_results([[result("a"), result("b", date="2026-01-02", id="7"), result("c", snippet=" ")]], 5)
    pages: list[PageText | str] = [PageText("Page", "x" * 500), "HTTP 404", "HTTP 500"]
    candidates, passages, dropped = candidates_of(found, pages, "mine", SETTINGS)
    assert [(one["text_of"], one.get("failed")) for one in candidates] == [("page", None), ("snippet", "HTTP 404")]
    assert candidates[1] | {"passage_id": ""} == {
        "passage_id": "", "rank": 2, "score": None, "source": "mine", "url": "https://example.org/b",
        "text_of": "snippet", "date": "2026-01-02", "result_id": "7", "failed": "HTTP 404",
        "found_by": [{"query": 0, "rank": 2}],
    }  # fmt: skip
    assert [one["text"] for one in passages] == ["x" * 400, "about b"]
    assert [one["passage_id"] for one in candidates] == [one["id"] for one in passages]
    assert dropped == [{"url": "https://example.org/c", "reason": "HTTP 500"}]


def test_near_identical_pages_are_merged_into_the_best_and_named() -> None:
    found = fuse_results([[result("a"), result("other"), result("copy"), result("again")]], 5)
    changed = WORDS.replace("word199", "end")
    pages: list[PageText | str] = [
        PageText("", text) for text in (WORDS, "quite another text of its own", changed, WORDS)
    ]
    settings = SETTINGS | {"page_characters": 5000}
    candidates, passages, _ = candidates_of(found, pages, "mine", settings)
    assert [one["rank"] for one in candidates] == [1, 2]
    assert candidates[0]["merged"] == ["https://example.org/copy", "https://example.org/again"]
    assert "merged" not in candidates[1] and len(passages) == 2


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("searxng", {"results": [{"url": "u", "title": "T &amp; t", "content": "s", "publishedDate": "d"}]}),
        ("brave", {"web": {"results": [{"url": "u", "title": "T & t", "description": "<b>s</b>", "page_age": "d"}]}}),
        ("tavily", {"results": [{"url": "u", "title": "T & t", "content": "s", "published_date": "d", "score": 0.5}]}),
    ],
)  # fmt: skip
def test_presets_read_their_services_answers(name: str, body: Any) -> None:
    assert read_results(PRESETS[name], body) == [Result("u", "T & t", "s", "d", "")]
    assert read_results(PRESETS[name], {"query": "q"}) == [], "a service that finds nothing may leave the list out"
    wrong_ones: tuple[Any, ...] = ({"error": "x"}, [], "text", None, {"results": {}, "web": {"results": 5}})
    for wrong in wrong_ones:
        with pytest.raises(NoResults):
            read_results(PRESETS[name], wrong)


def test_the_configuration_knows_the_presets() -> None:
    assert tuple(PRESETS) == SEARCH_PRESETS


def test_a_request_is_filled_in() -> None:
    query = 'who built "it"? <count> & more'
    assert filled(PRESETS["tavily"], query, 7)["params"] == {"query": query, "max_results": 7}
    asked = filled(PRESETS["brave"], query, 7)
    assert asked["path"] == "/res/v1/web/search"
    assert asked["params"]["q"] == query and asked["params"]["count"] == "7"


def test_a_service_of_ones_own() -> None:
    custom = {
        "method": "POST",
        "path": "/find/<query>",
        "params": {"text": "about <query>", "most": "<count>", "deep": {"on": True, "list": ["<query>"]}},
        "results": "data.0.hits",
        "fields": {"url": "link.href", "title": "name"},
    }
    settings = {"service": "mine", "custom": custom, "params": {"language": "en"}}
    service = service_of(settings, {"key_header": "X-Key", "key_param": None})
    asked = filled(service, "a b", 3)
    assert asked == {
        "method": "POST",
        "path": "/find/a%20b",
        "params": {"text": "about a b", "most": 3, "deep": {"on": True, "list": ["a b"]}, "language": "en"},
    }
    body = {"data": [{"hits": [{"link": {"href": "u"}, "name": 5}, {"name": "without a URL"}, "odd"]}]}
    assert read_results(service, body) == [Result("u", "5", "", "", "")]
    with pytest.raises(FinetrailError, match="no preset 'mine'"):
        service_of(settings | {"custom": None})
    assert at_path([1, [2]], "1.0") == 2 and at_path({"a": 1}, "a.b") is None and at_path([1], "7") is None


def test_keys_of_requests_depend_on_what_decides_the_answer_only() -> None:
    asker = Asker("row", "phase")
    key = asker.search(PRESETS["brave"], "q", 20).key
    assert key == Asker("another", "other").search(PRESETS["brave"], "q", 20).key
    others = [
        asker.search(PRESETS["brave"], "q2", 20),
        asker.search(PRESETS["brave"], "q", 10),
        asker.search(PRESETS["tavily"], "q", 20),
        Asker("row", "phase", "2026-06").search(PRESETS["brave"], "q", 20),
        asker.page("q"),
        asker.reading(["q"]),
    ]
    assert len({key, *(other.key for other in others)}) == 7
    assert "Token" not in json.dumps(asker.search(PRESETS["brave"], "q", 20).canonical)
