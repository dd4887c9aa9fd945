"""A deployed student asks itself: for queries and for a choice, each time on its own history, and no one else."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from finetrail.chat.bounded_template import UnfitRow
from finetrail.chat.messages import Message
from finetrail.inference.answering import student_search as module
from finetrail.inference.answering.corpus_search import Searcher
from finetrail.inference.answering.student_search import Student
from finetrail.models.limits import Limits
from finetrail.rows.records import write_jsonl
from recall import index_words

PONDS = ("Pike hunt perch among reeds.", "Carp grow old in warm ponds.", "Trout need cold and clear streams.")
SETTINGS: dict[str, Any] = {
    "student": {"choice": "model", "query_prompt": "Write queries.", "choice_prompt": "Choose.", "max_tokens": 20},
    "queries": {"enabled": True, "count": 2},
    "recall": {"backend": "bm25", "top_k": 3, "k1": 0.9, "b": 0.4, "hybrid": []},
    "rerank": {"method": "tfidf", "chunk_words": 20, "keep_passages": 3, "keep_chunks": 3, "model": None},
    "folds": {"system_prompt": "Answer.", "evidence": 2},
}
HISTORY = [Message(role="user", content="What lives here?"), Message(role="assistant", content="Fish.")]
ROW = {"id": "s:1", "session_id": "s", "turn": 1, "question": "Which are old?", "image": None, "evidence": []}


@pytest.fixture
def searcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Searcher]:
    monkeypatch.chdir(tmp_path)
    passages = [{"id": f"p{number}", "title": f"Pond {number}", "text": text} for number, text in enumerate(PONDS)]
    write_jsonl(Path("passages.jsonl"), passages)
    files = ["--passages", "passages.jsonl", "--manifest", "words/manifest.json", "--meta", "words.meta.json"]
    assert index_words.main([*files, "--shard", "1/1"]) == 0
    with Searcher(Path("passages.jsonl"), {"words": [Path("words")]}, SETTINGS) as opened:
        yield opened


class Scripted:
    """Stands where the model speaks: keeps what it was asked, and says what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *replies: str, left_out: int = 0) -> None:
        self.asked: list[tuple[Mapping[str, Any], Sequence[Any]]] = []
        self._replies, self._left_out = list(replies), left_out
        monkeypatch.setattr(module, "fit_prompt", self._fit)
        monkeypatch.setattr(module, "reply_greedily", self._say)

    def _fit(self, row: Mapping[str, Any], history: Sequence[Any], *rest: object) -> Any:
        self.asked.append((row, history))
        return type("Prompt", (), {"dropped_passages": self._left_out if row["evidence"] else 0})

    def _say(self, model: object, tokenizer: object, prompts: Sequence[Any], *rest: object) -> list[tuple[str, str]]:
        return [(self._replies.pop(0), "eos") for _ in prompts]


def student(searcher: Searcher, **changes: Any) -> Student:
    settings = SETTINGS | {"student": SETTINGS["student"] | changes}
    return Student(None, None, searcher, settings, limits=Limits(), vision=None)


def test_it_searches_by_its_own_queries_and_answers_from_what_it_chose(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Scripted(monkeypatch, "old carp\nwarm ponds\na third", "1")
    (found,) = student(searcher).look_up([ROW], [HISTORY])
    (wanting, before), (choosing, again) = speaker.asked
    assert before == again == HISTORY, "its own history, both times"
    assert wanting["messages"][0]["content"] == "Write queries." and wanting["evidence"] == []
    assert choosing["messages"][0]["content"] == "Choose." and choosing["evidence"][0]["text"] == PONDS[1]
    lookup = found["lookup"]
    assert [query["text"] for query in lookup["queries"]] == ["old carp", "warm ponds"], "no more than queries.count"
    assert ([span["passage_id"] for span in lookup["passages"]], lookup["chose"]) == (["p1"], "model")
    assert found["evidence"] == [{"title": "Pond 1", "text": PONDS[1]}] and found["id"] == ROW["id"]
    assert found["messages"][0]["content"] == "Answer." and PONDS[1] in found["messages"][1]["content"]


@pytest.mark.parametrize(
    ("reply", "chose", "shown"), [("none", "model", 0), ("the first", "unread", 2), ("2", "unread", 2)]
)
def test_none_is_a_choice_and_what_cannot_be_read_leaves_the_rerankers(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, reply: str, chose: str, shown: int
) -> None:
    """The second of two passages did not fit into the prompt, so that naming it names nothing that was shown."""
    Scripted(monkeypatch, "pike perch\ncarp", reply, left_out=1)
    (found,) = student(searcher).look_up([ROW], [HISTORY])
    assert (found["lookup"]["chose"], len(found["evidence"])) == (chose, shown)


def test_without_a_query_the_question_is_asked_and_without_passages_there_is_no_choice(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Scripted(monkeypatch, " \n ")
    (found,) = student(searcher).look_up([ROW | {"question": "Zzz?"}], [[]])
    assert found["lookup"] == {
        "queries": [{"text": "Zzz?", "origin": "question"}],
        "found": 0,
        "passages": [],
        "chose": "nobody",
    }
    assert len(speaker.asked) == 1, "nobody chooses among nothing"


def test_the_local_reranker_may_choose(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Scripted(monkeypatch, "pike carp trout")
    (found,) = student(searcher, choice="reranker").look_up([ROW], [HISTORY])
    assert (found["lookup"]["chose"], len(found["evidence"])) == ("reranker", SETTINGS["folds"]["evidence"])
    assert len(speaker.asked) == 1


def test_a_row_that_it_cannot_be_shown_comes_back_with_the_cause_and_the_others_are_looked_up(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Scripted(monkeypatch, "old carp\nwarm ponds", "1")
    cause = UnfitRow("no", where="bad")
    fit = speaker._fit

    def refuse(row: Mapping[str, Any], *rest: Any) -> Any:
        if row["id"] == "bad":
            raise cause
        return fit(row, *rest)

    monkeypatch.setattr(module, "fit_prompt", refuse)
    bad, good = student(searcher).look_up([ROW | {"id": "bad"}, ROW], [HISTORY, HISTORY])
    assert bad["unfit"] is cause and "lookup" not in bad
    assert "unfit" not in good and good["lookup"]["chose"] == "model"
