"""A deployed student: before each answer it writes its search queries and chooses its passages, on its own history."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetrail.chat.bounded_template import UnfitRow
from finetrail.chat.messages import Evidence, Message, chat_messages
from finetrail.chat.student_tasks import read_choice, read_queries
from finetrail.inference.answering.corpus_search import Searcher
from finetrail.inference.generate import Prompt, fit_prompt, reply_greedily
from finetrail.models.image_inputs import Vision
from finetrail.models.limits import Limits
from finetrail.rows.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SPAN = ("passage_id", "start", "end")
UNSAID = "to be said"


class Student:
    """Looks things up with the model itself.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: with its chat template.
        searcher: the corpus.
        settings: the recipe's result keys: ``student``, ``queries``, ``folds``.
        limits: as in training.
        vision: how images are shown; None for the text alone.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        searcher: Searcher,
        settings: Mapping[str, Any],
        *,
        limits: Limits,
        vision: Vision | None,
    ) -> None:
        self._model, self._tokenizer, self._searcher = model, tokenizer, searcher
        self._settings, self._limits, self._vision = settings, limits, vision

    def look_up(
        self, rows: Sequence[Mapping[str, Any]], histories: Sequence[Sequence[Message]]
    ) -> list[Mapping[str, Any]]:
        """Return the rows with what the student found for them; a `finetrail.inference.generate.LookUp`.

        Each has a ``lookup``: ``queries`` (``{"text", "origin"}``: `student`, or `question` where it wrote none),
        ``found`` (how many chunks), ``passages`` (the spans of what was chosen, as shown), and who ``chose``: `model`,
        `reranker` by the recipe, `nobody` where nothing was found, or `unread` where the student named no passage and
        not ``none`` either, so that the reranker's choice stands. A row that the student cannot be shown comes back as
        it is, with the cause as ``unfit``.
        """
        unfit: dict[str, UnfitRow] = {}
        queries = self._queries(rows, histories, unfit)
        found = self._searcher.find([[query["text"] for query in written] for written in queries])
        chosen = self._chosen(rows, histories, found, unfit)
        most = self._settings["folds"]["evidence"]
        shown: list[Mapping[str, Any]] = []
        for row, written, chunks, (chose, kept) in zip(rows, queries, found, chosen, strict=True):
            spans = [{name: chunk[name] for name in SPAN} for chunk in kept[:most]]
            asked = self._laid_out(row, self._settings["folds"]["system_prompt"], self._evidence(kept[:most]))
            lookup = {"queries": written, "found": len(chunks), "passages": spans, "chose": chose}
            cause = unfit.get(row["id"])
            shown.append(asked | {"lookup": lookup} if cause is None else {**row, "unfit": cause})
        return shown

    def _queries(
        self,
        rows: Sequence[Mapping[str, Any]],
        histories: Sequence[Sequence[Message]],
        unfit: dict[str, UnfitRow],
    ) -> list[list[Row]]:
        """Let the student write the queries; where the recipe writes none, the question is the query."""
        queries = self._settings["queries"]
        if not queries["enabled"]:
            return [[{"text": row["question"], "origin": "question"}] for row in rows]
        asked = [self._laid_out(row, self._settings["student"]["query_prompt"], []) for row in rows]
        written = [read_queries(reply, queries["count"]) for reply, _ in self._replies(asked, histories, unfit)]
        return [
            [{"text": text, "origin": "student"} for text in texts] or [{"text": row["question"], "origin": "question"}]
            for row, texts in zip(rows, written, strict=True)
        ]

    def _chosen(
        self,
        rows: Sequence[Mapping[str, Any]],
        histories: Sequence[Sequence[Message]],
        found: Sequence[Sequence[Row]],
        unfit: dict[str, UnfitRow],
    ) -> list[tuple[str, Sequence[Row]]]:
        """Return of each question who chose, and the chunks."""
        if self._settings["student"]["choice"] == "reranker":
            return [("reranker", chunks) for chunks in found]
        system = self._settings["student"]["choice_prompt"]
        places = [place for place, chunks in enumerate(found) if chunks]
        asked = [self._laid_out(rows[place], system, self._evidence(found[place])) for place in places]
        chosen: list[tuple[str, Sequence[Row]]] = [("nobody", []) for _ in rows]
        replies = self._replies(asked, [histories[place] for place in places], unfit)
        for place, (reply, left_out) in zip(places, replies, strict=True):
            numbers = read_choice(reply, len(found[place]) - left_out)
            kept = found[place] if numbers is None else [found[place][number - 1] for number in numbers]
            chosen[place] = ("unread" if numbers is None else "model", kept)
        return chosen

    def _replies(
        self,
        rows: Sequence[Mapping[str, Any]],
        histories: Sequence[Sequence[Message]],
        unfit: dict[str, UnfitRow],
    ) -> list[tuple[str, int]]:
        """Return what the student says to each row, and how many of its passages had to be left out.

        To a row that it cannot be shown it says nothing, and the row's id gets the cause in ``unfit``.
        """
        most = self._settings["student"]["max_tokens"]
        prompts: list[Prompt | None] = []
        for row, history in zip(rows, histories, strict=True):
            try:
                prompts.append(fit_prompt(row, history, self._tokenizer, self._limits, most, self._vision))
            except UnfitRow as error:
                prompts.append(None)
                unfit[row["id"]] = error
        fit = [prompt for prompt in prompts if prompt is not None]
        replies = iter(reply_greedily(self._model, self._tokenizer, fit, most, self._vision) if fit else [])
        return [(next(replies)[0], prompt.dropped_passages) if prompt else ("", 0) for prompt in prompts]

    def _evidence(self, chunks: Sequence[Row]) -> list[Evidence]:
        return [self._searcher.passages.evidence(chunk) for chunk in chunks]

    @staticmethod
    def _laid_out(row: Mapping[str, Any], system: str, evidence: list[Evidence]) -> dict[str, Any]:
        """Return a row that asks its question under a system message, with some evidence."""
        messages = chat_messages(system, [], row["question"], evidence, UNSAID)
        return {**row, "evidence": evidence, "messages": messages}
