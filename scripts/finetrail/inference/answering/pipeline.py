"""Retriever, reranker and generator of a recipe, loaded once, asked one question at a time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from finetrail.chat.bundles import Shown, bundle_turn, cited_facts, evidence_of, read_reply
from finetrail.chat.layouts import BUNDLE
from finetrail.chat.messages import whole_messages
from finetrail.examples.curriculum import within_words
from finetrail.retrieval.backends import Folders, open_backend
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.bridges import features, ranks, with_scores
from finetrail.retrieval.fusion import fuse
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.reranker_folder import WHOLE, pair_text
from finetrail.retrieval.search_index import Hit
from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row

STAGES = ("retrieve", "rerank", "generate")


@dataclass(frozen=True)
class Places:
    """Where the parts of a pipeline are.

    Attributes:
        passages: passages.jsonl.
        indexes: the folders of the shards of ``words`` and ``vectors``, and of a fetched ``encoder``.
        reranker: folder of the trained reranker.
        fusion: fusion.json.
        base: folder of the base model.
        adapter: folder of the adapter; None for the base alone.
    """

    passages: Path
    indexes: Folders
    reranker: Path
    fusion: Path
    base: Path
    adapter: Path | None


@dataclass(frozen=True)
class Reply:
    """What the pipeline says to a question.

    Attributes:
        answer: without its citations.
        passages: what was shown, best first: ``{"number", "title", "text"}``.
        citations: what the answer names: ``{"title", "sentence", "text"}``, sentences counted from 0 on their page.
        seconds: of each stage.
    """

    answer: str
    passages: Sequence[Row]
    citations: Sequence[Row]
    seconds: Mapping[str, float]


class Pipeline:
    """The loaded parts.

    Args:
        places: where they are.
        settings: the recipe's result keys: ``recall``, ``encoder``, ``rerank``, ``folds``, ``limits``, ``predict``.
    """

    def __init__(self, places: Places, settings: Mapping[str, Any]) -> None:
        from finetrail.inference.generate import load_model
        from finetrail.models.model_folder import read_tokenizer
        from finetrail.retrieval.reranker_model import load_cross_encoder

        self._settings = settings
        self._texts = PassageFile(places.passages)
        self._indexes = open_backend(settings, places.indexes)
        recall = settings["recall"]
        self._by_words = BM25Index.open(places.indexes["words"], k1=recall["k1"], b=recall["b"])
        self._weights = list(read_json(places.fusion)[WHOLE].values())
        self._scorer = load_cross_encoder(places.reranker / WHOLE, settings["rerank"]["train"]["max_tokens"])
        self._tokenizer = read_tokenizer(places.base)
        self._model = load_model(places.base, places.adapter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._texts.__exit__(kind, value, trace)

    def ask(self, question: str) -> Reply:
        """Answer a question from the corpus."""
        times = [time.monotonic()]
        hits = self._retrieve(question)
        times.append(time.monotonic())
        kept = self._rerank(question, hits) if hits else []
        times.append(time.monotonic())
        said, citations = read_reply(self._generate(question, kept))
        times.append(time.monotonic())
        seconds = {stage: end - start for stage, start, end in zip(STAGES, times[:-1], times[1:], strict=True)}
        shown = [
            {"number": number, "title": passage["title"], "text": passage["text"]}
            for number, passage in enumerate(kept, start=1)
        ]
        facts = cited_facts(citations, [Shown.of(passage) for passage in kept])
        return Reply(said, shown, [_cited(title, number, kept) for title, number in facts], seconds)

    def _retrieve(self, question: str) -> list[Hit]:
        """Search as `recall_passages` does."""
        most = self._settings["recall"]["top_k"]
        return fuse([hits for index in self._indexes for hits in index.search([question], most)], most)

    def _rerank(self, question: str, hits: Sequence[Hit]) -> list[Mapping[str, Any]]:
        """Rank as `rank_candidates` does, and keep what a bundle shows."""
        names, scores = [hit.passage_id for hit in hits], [hit.score for hit in hits]
        passages = [self._texts[name] for name in names]
        pairs = [(question, pair_text(passage)) for passage in passages]
        made = self._scorer.predict(pairs, batch_size=128, show_progress_bar=False, convert_to_numpy=True)
        judged = [round(float(score), 4) for score in made]
        (by_words,) = self._by_words.score([(question, names)])
        fused = ranks(with_scores(features(question, passages, scores), by_words, judged), self._weights)
        order = sorted(range(len(passages)), key=lambda place: (-fused[place], passages[place]["id"]))
        folds = self._settings["folds"]
        return list(within_words([passages[place] for place in order][: folds["evidence"]], folds["evidence_words"]))

    def _generate(self, question: str, passages: Sequence[Mapping[str, Any]]) -> str:
        from finetrail.inference.generate import answer_sessions
        from finetrail.models.limits import Limits

        evidence = [evidence_of(passage) for passage in passages]
        messages = whole_messages(
            self._settings["folds"]["system_prompt"], [], bundle_turn(question, evidence), "to be said"
        )
        row = {"id": "asked", "session_id": "asked", "turn": 0, "question": question, "layout": BUNDLE}
        (answer,) = answer_sessions(
            self._model,
            self._tokenizer,
            [row | {"evidence": evidence, "messages": messages}],
            limits=Limits(**self._settings["limits"]),
            max_answer_tokens=self._settings["predict"]["max_answer_tokens"],
        )
        return answer.text


def _cited(title: str, number: int, passages: Sequence[Mapping[str, Any]]) -> Row:
    for passage in passages:
        place = number - passage.get("first", 0)
        if passage["title"] == title and 0 <= place < len(passage["sentences"]):
            start, end = passage["sentences"][place]
            return {"title": title, "sentence": number, "text": passage["text"][start:end]}
    return {"title": title, "sentence": number, "text": ""}
