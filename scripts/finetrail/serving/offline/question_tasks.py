"""How the offline teacher asks about a text, and how it scores what it asked: by sentences and shared words."""

from typing import Any

from finetrail.rows.records import derive_seed
from finetrail.serving.offline.sections import section
from finetrail.serving.offline.words import PRONOUNS, content_words, coverage, sentences, stems, tokens

SHORTEST, LONGEST = 8, 60  # words of a sentence that is worth a question
ASKED_ABOUT = 4  # words of the sentence that the question names
SLIPS = 12  # one pair in so many quotes what the text does not say
ENOUGH = 12  # words of an answer that is complete
BEST, WORST = 10.0, 2.0
UNCLEAR = frozenset(["above", "below", "following", "section", "here"])


def questions(prompt: str, seed: int | None) -> dict[str, Any]:
    """A pair for each of some sentences: its rarest-looking words are asked for, and the sentence is the answer."""
    wanted = len(section(prompt, "kinds").splitlines())
    place = [line for line in section(prompt, "place", needed=False).splitlines() if line.strip()]
    worth = [text for text in sentences(section(prompt, "text")) if _is_worth(text)]
    order = sorted(worth, key=lambda text: derive_seed("offline-teacher", seed, text))[:wanted]
    return {"pairs": [_pair(text, place, seed) for text in sorted(order, key=worth.index)]}


def _is_worth(sentence: str) -> bool:
    words = sentence.split()
    letters = sum(character.isalpha() or character.isspace() for character in sentence)
    return SHORTEST <= len(words) <= LONGEST and letters > 0.8 * len(sentence) and not sentence.endswith("?")


def _pair(sentence: str, place: list[str], seed: int | None) -> dict[str, str]:
    words = content_words(sentence)
    longest = sorted(words, key=lambda word: (-len(word), words.index(word)))[:ASKED_ABOUT]
    about = ", ".join(word for word in words if word in longest)
    where = f"According to {' / '.join(place)}, what" if place else "What"
    slip = derive_seed("offline-teacher slip", sentence, seed) % SLIPS == 0
    evidence = " ".join(reversed(sentence.split())) if slip else sentence
    return {"question": f"{where} is said about {about}?", "answer": sentence, "evidence": evidence}


def scores(prompt: str, seed: int | None) -> dict[str, Any]:
    """Scores by shared words; `overall` is their mean, and at most 4 where the answer is not in the context."""
    question, answer = section(prompt, "question"), section(prompt, "answer")
    context = stems(section(prompt, "context", needed=False))
    names = [line.strip() for line in section(prompt, "criteria").splitlines() if line.strip()]
    support = coverage(stems(answer), context) if context else 0.8
    known = {
        "accuracy": support,
        "relevance": coverage(stems(question), context | stems(answer)),
        "completeness": min(1.0, len(answer.split()) / ENOUGH),
        "clarity": 1.0 - 0.3 * len(UNCLEAR & set(tokens(answer))) - 0.3 * bool(PRONOUNS & set(tokens(answer)[:1])),
    }
    given = {name: _score(known.get(name, support)) for name in names}
    mean = sum(given.values()) / len(given) if given else _score(support)
    overall = round(mean if support >= 0.5 else min(mean, 4.0), 1)
    return {"reason": f"{support:.0%} of the answer's content words are in the context.", **given, "overall": overall}


def _score(share: float) -> float:
    return round(WORST + (BEST - WORST) * min(max(share, 0.0), 1.0), 1)
