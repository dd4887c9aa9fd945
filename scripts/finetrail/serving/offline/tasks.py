"""What the offline teacher can do: same request, same answer.

A task goes by the name of its response schema; where free text is asked for, by a section of the prompt.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from finetrail.rows.records import derive_seed
from finetrail.serving.offline.charts import describe_image, link_sentence, main_colour, summary
from finetrail.serving.offline.choice_tasks import reasoned_choice
from finetrail.serving.offline.question_tasks import questions, scores
from finetrail.serving.offline.sections import UnknownRequest, section, sections
from finetrail.serving.offline.words import PRONOUNS, content_words, coverage, sentences, stems, tokens

SHORT_QUESTION = 4  # content words
CONTEXT_WORDS = 8  # that a search query takes over from earlier questions
RELEVANT_TO_QUESTION = 0.34  # share of the question's words that a relevant passage holds
RELEVANT_TO_ANSWER = 0.34  # share of the reference answer's words, where there is one
GRADES = (0.2, 0.34, 0.6)  # shares from which a passage has grade 1, 2, 3
ANSWERABLE = 0.25  # score that a run of sentences needs
LONGEST_ANSWER = 55  # words: about 75 tokens
BEST_FEW = 8  # runs of sentences among which a seed chooses
CORRECT_RECALL = 0.25  # share of the reference's words in the answer, if also ...
CORRECT_PRECISION = 0.25  # ... this share of the answer's words is in the reference
CORRECT_BY_RECALL = 0.5  # share of the reference's words that is enough alone
NO_ANSWER = "I don't know"
LIST_NUMBER = re.compile(r"^\s*\d+\.\s+")

Task = Callable[[str, int | None], dict[str, Any]]


def search_queries(prompt: str, seed: int | None) -> dict[str, Any]:
    """The question; and where it is short or has pronouns, the question with words of earlier questions."""
    question = " ".join(section(prompt, "question").split())
    queries = [question]
    words = content_words(question)
    if len(words) <= SHORT_QUESTION or PRONOUNS & set(tokens(question)):
        earlier = section(prompt, "earlier_questions", needed=False).splitlines()
        questions = [LIST_NUMBER.sub("", line) for line in reversed(earlier)]
        context = [word for text in questions for word in content_words(text)]
        added = [word for word in dict.fromkeys(context) if word not in words][:CONTEXT_WORDS]
        if added:
            queries.append(f"{question} {' '.join(added)}")
    return {"queries": queries}


def relevance(prompt: str, seed: int | None) -> dict[str, Any]:
    """Whether a passage holds enough words of the reference answer or, without one, of the question."""
    passage = stems(section(prompt, "passage"))
    reference = stems(section(prompt, "reference_answer", needed=False))
    question = stems(section(prompt, "question"))
    name, wanted, bound = ("question", question, RELEVANT_TO_QUESTION)
    if reference:
        name, wanted, bound = ("reference answer", reference, RELEVANT_TO_ANSWER)
    share = coverage(wanted, passage)
    return {
        "reason": f"The passage holds {share:.0%} of the content words of the {name}.",
        "relevant": share >= bound,
    }


def graded_relevance(prompt: str, seed: int | None) -> dict[str, Any]:
    """A grade by the share of the reference answer's words or, without one, of the question's."""
    passage = stems(section(prompt, "passage"))
    reference = stems(section(prompt, "reference_answer", needed=False))
    share = coverage(reference or stems(section(prompt, "question")), passage)
    return {
        "reason": f"The passage holds {share:.0%} of the content words.",
        "grade": sum(share >= bound for bound in GRADES),
    }


def chosen_passages(prompt: str, seed: int | None) -> dict[str, Any]:
    """The numbers of the passages that hold enough words of the question."""
    question = stems(section(prompt, "question"))
    shares = [coverage(question, stems(passage)) for passage in sections(prompt, "passage")]
    chosen = [number for number, share in enumerate(shares, start=1) if share >= RELEVANT_TO_QUESTION]
    return {"reason": f"{len(chosen)} passages hold enough words of the question.", "passages": chosen}


class _Window(NamedTuple):
    """Neighbouring sentences of one passage, and the share of the question's words that they hold."""

    score: float
    passage: int
    start: int
    text: str


def _windows(question: frozenset[str], passages: list[str]) -> list[_Window]:
    """Cut each passage into runs of sentences, one from each start, and rank those that share a word."""
    found = []
    for number, passage in enumerate(passages):
        pieces = [piece for piece in sentences(passage) if not piece.endswith("?")]
        for start in range(len(pieces)):
            text = _cut(pieces[start:])
            first = coverage(question, stems(pieces[start]))
            share = (coverage(question, stems(text)) + first) / 2  # the first sentence should be on the subject
            if first > 0:
                found.append(_Window(share, number, start, text))
    return sorted(found, key=lambda w: (-round(w.score, 6), w.passage, w.start))


def _cut(pieces: list[str]) -> str:
    """Join sentences up to the longest answer; a first sentence that is longer is cut."""
    words = pieces[0].split()[:LONGEST_ANSWER]
    for piece in pieces[1:]:
        more = piece.split()
        if len(words) + len(more) > LONGEST_ANSWER:
            break
        words += more
    return " ".join(words)


def grounded_answer(prompt: str, seed: int | None, images: Sequence[bytes] = ()) -> dict[str, Any]:
    """The best run of sentences, about 75 tokens at most; a seed chooses among the best few.

    Where an image is shown, of those that name its main colour, if any does.
    """
    question = stems(section(prompt, "question"))
    windows = _windows(question, sections(prompt, "passage") or [section(prompt, "passages")])
    seen = {colour for image in images if (colour := main_colour(image))}
    windows = [window for window in windows if seen & set(tokens(window.text))] or windows
    few = [window for window in windows[:BEST_FEW] if window.score >= ANSWERABLE]
    if not few:
        return {"answer": NO_ANSWER}
    return {"answer": few[0 if seed is None else derive_seed("offline-teacher", seed) % len(few)].text}


def answer_verdict(prompt: str, seed: int | None) -> dict[str, Any]:
    """Whether an answer and its reference share enough words; not to know is not correct."""
    reference = stems(section(prompt, "reference_answer"))
    answer_text = section(prompt, "answer")
    answer = stems(answer_text)
    if not answer or answer == stems(NO_ANSWER) or answer_text.casefold().startswith("i don't know"):
        return {"reason": "The answer says that it does not know.", "correct": False}
    recall, precision = coverage(reference, answer), coverage(answer, reference)
    return {
        "reason": f"The answer holds {recall:.0%} of the reference's content words; {precision:.0%} of its "
        "own are in the reference.",
        "correct": recall >= CORRECT_BY_RECALL or (recall >= CORRECT_RECALL and precision >= CORRECT_PRECISION),
    }


def text_scores(prompt: str, seed: int | None) -> dict[str, Any]:
    """Scores of a text by the words that it shares with its reference: the same for every criterion."""
    reference, text = stems(section(prompt, "reference")), stems(section(prompt, "text", needed=False))
    recall, precision = coverage(reference, text), coverage(text, reference)
    score = round(20 * recall * precision / (recall + precision), 1) if recall and precision else 0.0
    names = [line.strip() for line in section(prompt, "criteria").splitlines() if line.strip()]
    reason = f"The text holds {recall:.0%} of the reference's content words; {precision:.0%} of its own are there."
    return {"reason": reason, **dict.fromkeys(names, score), "overall": score}


TASKS: dict[str, Task] = {
    "search_queries": search_queries,
    "relevance": relevance,
    "graded_relevance": graded_relevance,
    "chosen_passages": chosen_passages,
    "grounded_answer": grounded_answer,
    "answer_verdict": answer_verdict,
    "questions": questions,
    "scores": scores,
    "text_scores": text_scores,
    "link_sentence": link_sentence,
    "summary": summary,
}
# Free text, by the section of the prompt that holds what it is about.
TEXT_TASKS: dict[str, Callable[[str, int | None], str]] = {"multiple_choice": reasoned_choice}


def perform(name: str | None, prompt: str, seed: int | None, images: Sequence[bytes] = ()) -> dict[str, Any]:
    """Do the task that a response schema's name asks for.

    Raises:
        UnknownRequest: there is no such task, or a section or an image is missing.
    """
    if name == "image_sentences":
        return describe_image(prompt, images)
    if name == "grounded_answer":
        return grounded_answer(prompt, seed, images)
    if name not in TASKS:
        raise UnknownRequest(
            f"the offline teacher knows the tasks {', '.join(TASKS)} (the names of response schemas), "
            f"not {name!r}; ask a real model for others"
        )
    return TASKS[name](prompt, seed)


def write_text(prompt: str, seed: int | None) -> str:
    """Do the task of the first known section that the prompt has.

    Raises:
        UnknownRequest: there is none.
    """
    for name, task in TEXT_TASKS.items():
        if sections(prompt, name):
            return task(prompt, seed)
    raise UnknownRequest(
        f"the offline teacher knows the tasks {', '.join(TASKS)} (the names of response schemas), and writes free text "
        f"about the sections {', '.join(TEXT_TASKS)}; ask a real model for others"
    )
