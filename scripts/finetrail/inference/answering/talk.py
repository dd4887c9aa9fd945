"""A conversation with a deployed student: each question is looked up and answered on what was said before."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetrail.chat.messages import Evidence, Message
from finetrail.config.recipe import RunConfig
from finetrail.config.sections.schema import result_keys
from finetrail.errors import FinetrailError
from finetrail.inference.answering.corpus_search import Searcher
from finetrail.inference.answering.deployed import index_folders
from finetrail.inference.answering.predictions import Predictor, load_predictor
from finetrail.inference.answering.student_search import Student
from finetrail.inference.generate import fit_prompt, reply_greedily
from finetrail.models.masks import cut_text
from finetrail.rows.records import Row, sha256_file


@dataclass(frozen=True)
class Said:
    """What the student says to a question.

    Attributes:
        answer: its answer.
        lookup: its queries, and who chose the passages; see `Student.look_up`.
        evidence: the passages that it was shown, best first.
    """

    answer: str
    lookup: Mapping[str, Any]
    evidence: list[Evidence]


class Talk:
    """A conversation, about an image where there is one.

    Args:
        asked: the model.
        student: the same model, as it looks things up.
        image: the image's path and SHA-256; None for text alone.
        max_answer_tokens: an answer ends there.
    """

    def __init__(self, asked: Predictor, student: Student, image: Row | None, max_answer_tokens: int) -> None:
        self._asked, self._student, self._image, self._most = asked, student, image, max_answer_tokens
        self._history: list[Message] = []

    def ask(self, question: str) -> Said:
        """Answer a question; it and the answer are the history of the next one."""
        model, tokenizer, limits, vision = self._asked
        asked: Row = {
            "id": f"turn {len(self._history) // 2}",
            "question": question,
            "image": self._image,
            "evidence": [],
        }
        (found,) = self._student.look_up([asked], [self._history])
        if "unfit" in found:
            raise found["unfit"]
        prompt = fit_prompt(found, self._history, tokenizer, limits, self._most, vision)
        ((text, _),) = reply_greedily(model, tokenizer, [prompt], self._most, vision)
        self._history += [
            Message(role="user", content=question),
            Message(role="assistant", content=cut_text(text, tokenizer, self._most)),
        ]
        shown = found["evidence"][: len(found["evidence"]) - prompt.dropped_passages]
        return Said(text, found["lookup"], shown)


@contextmanager
def talk(run: RunConfig, recipe: str, model: str, fold: str, image: Path | None) -> Iterator[Talk]:
    """Load a recipe's student, with the adapter that its training published.

    Raises:
        FinetrailError: a part has not been made, or the image is missing or cannot be shown.
    """
    results, settings = run.results / recipe, result_keys(run.recipe(recipe))
    base = results / "bases" / fold if settings["base_model"]["tiny"] else results / "base_model"
    whole = settings["train"]["models"][model]["method"] == "full"
    weights = results / "models" / model / fold / ("final_checkpoint" if whole else "final_adapter")
    folders = index_folders(run.recipe(recipe), results)
    needed = [base, weights, *(folder for several in folders.values() for folder in several)]
    for path in (results / "passages.jsonl", *(folder / "manifest.json" for folder in needed)):
        if not path.is_file():
            raise FinetrailError("has not been made", where=str(path), hint=f"Run: make run RECIPE={recipe}")
    if image is not None and not image.is_file():
        raise FinetrailError("there is no such image", where=str(image))
    about = None if image is None else {"path": image.name, "sha256": sha256_file(image)}
    row = {"id": "asked", "image": about}
    asked = load_predictor(weights if whole else base, None if whole else weights, [row], settings)
    if asked.vision is not None and image is not None:
        asked = asked._replace(vision=replace(asked.vision, folder=str(image.parent)))
    with Searcher(results / "passages.jsonl", folders, settings) as searcher:
        student = Student(asked.model, asked.tokenizer, searcher, settings, limits=asked.limits, vision=asked.vision)
        yield Talk(asked, student, about, settings["predict"]["max_answer_tokens"])
