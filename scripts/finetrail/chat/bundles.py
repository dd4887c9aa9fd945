"""A question with its bundle of passages: the prompt, the target with citations, and how a reply is read.

Passages are counted from 1 and their sentences too, so that a citation ``[2.3]`` names a sentence and answers can be
scored on their supporting facts. The prompt ends with ``<answer>``; what follows is the answer with its citations.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from finetrail.chat.messages import Evidence
from finetrail.text.answer_words import normal

REFUSAL = "insufficient context"
ANSWER = "<answer>"
TEMPLATE = f"""[Question]
{{question}}

[Evidence]
{{evidence}}

[Instruction]
Answer concisely using the evidence. If unsure, say "{REFUSAL}".
Respond with: {ANSWER} and cite passage and sentence like [1.2], [3.1].

{ANSWER}"""
_CITATION = re.compile(r"\[(\d+)(?:\.(\d+))?\]")
_CLOSING = re.compile(r"</?answer>")


class Citation(NamedTuple):
    """A passage of the bundle and a sentence of it, both counted from 1; no sentence where the whole is named."""

    passage: int
    sentence: int | None


class Shown(NamedTuple):
    """What a bundle shows of a page: its title, and which of its sentences (numbered from 0 on the page)."""

    title: str
    first: int
    sentences: int

    @classmethod
    def of(cls, passage: Mapping[str, Any]) -> "Shown":
        """Take it from a passage row; a passage without numbered sentences counts as one."""
        return cls(passage["title"], passage.get("first", 0), len(passage.get("sentences", [0])))


Fact = tuple[str, int]
"""A supporting fact: title of a page, and the number of a sentence of it, from 0."""


def numbered_text(passage: Mapping[str, Any]) -> str:
    """Return a passage's text with a number before each sentence: ``(1) Founded in 1844. (2) ...``."""
    text: str = passage["text"]
    spans = passage.get("sentences", [[0, len(text)]])
    return " ".join(f"({number}) {text[start:end]}".rstrip() for number, (start, end) in enumerate(spans, start=1))


def evidence_of(passage: Mapping[str, Any]) -> Evidence:
    """Return a passage as a bundle shows it."""
    return Evidence(title=passage["title"], text=numbered_text(passage))


def bundle_turn(question: str, evidence: Sequence[Evidence]) -> str:
    """Lay out the user's turn."""
    lines = (f"[{number}] {item['title']}: {item['text']}" for number, item in enumerate(evidence, start=1))
    return TEMPLATE.format(question=question.strip(), evidence="\n".join(lines) or "(none)")


def cite(shown: Sequence[Shown], facts: Iterable[Sequence[Any]]) -> list[Citation]:
    """Return the citations of the supporting facts that a bundle shows, in the order of the facts."""
    found = []
    for title, sentence in dict.fromkeys((str(fact[0]), fact[1]) for fact in facts):
        for number, page in enumerate(shown, start=1):
            if page.title == title and 0 <= sentence - page.first < page.sentences:
                found.append(Citation(number, sentence - page.first + 1))
                break
    return found


def target_text(answer: str, citations: Iterable[Citation]) -> str:
    """Return what the model is to say: the answer, then its citations."""
    return " ".join([answer, *(_written(citation) for citation in citations)])


def _written(citation: Citation) -> str:
    return f"[{citation.passage}]" if citation.sentence is None else f"[{citation.passage}.{citation.sentence}]"


def read_reply(reply: str) -> tuple[str, list[Citation]]:
    """Part a reply into the answer without its citations, and the distinct citations in their order.

    A model that repeats ``<answer>`` is forgiven; only the first line counts.
    """
    first = next((line for line in _CLOSING.sub("", reply).strip().splitlines() if line.strip()), "")
    cited = [Citation(int(a), int(b) if b else None) for a, b in _CITATION.findall(first)]
    return without_citations(first).rstrip(" ,;"), list(dict.fromkeys(cited))


def without_citations(text: str) -> str:
    """Take the citations out of a text."""
    return " ".join(_CITATION.sub(" ", text).split())


def is_refusal(answer: str) -> bool:
    """Say whether an answer, without its citations, is the refusal."""
    return normal(answer) == normal(REFUSAL)


def cited_facts(citations: Iterable[Citation], shown: Sequence[Shown]) -> list[Fact]:
    """Return the sentences that citations name; one that names no shown sentence names nothing."""
    facts = []
    for citation in citations:
        if citation.sentence is None or not 0 < citation.passage <= len(shown):
            continue
        page = shown[citation.passage - 1]
        if 0 < citation.sentence <= page.sentences:
            facts.append((page.title, page.first + citation.sentence - 1))
    return list(dict.fromkeys(facts))


def holds_support(citation: Citation, shown: Sequence[Shown], gold: set[Fact]) -> bool:
    """Say whether what a citation names holds a gold supporting sentence: that sentence, or one of its passage."""
    if not 0 < citation.passage <= len(shown):
        return False
    page = shown[citation.passage - 1]
    if citation.sentence is None:
        return any((page.title, page.first + number) in gold for number in range(page.sentences))
    return citation.sentence <= page.sentences and (page.title, page.first + citation.sentence - 1) in gold


def shorten(evidence: Sequence[Evidence], target: str) -> tuple[list[Evidence], str]:
    """Leave out the last passage that the target does not cite, and let its citations follow.

    Where all are cited the last one goes, and with it its citations.
    """
    cited = {int(passage) for passage, _ in _CITATION.findall(target)}
    gone = next((number for number in range(len(evidence), 0, -1) if number not in cited), len(evidence))

    def moved(match: re.Match[str]) -> str:
        number, sentence = int(match[1]), f".{match[2]}" if match[2] else ""
        return "" if number == gone else f"[{number - (number > gone)}{sentence}]"

    return [*evidence[: gone - 1], *evidence[gone:]], " ".join(_CITATION.sub(moved, target).split())
