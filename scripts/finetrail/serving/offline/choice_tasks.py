"""How the offline teacher reasons about a multiple choice: by who is mentioned where, and with slips now and then.

It abstains where only one sentence is about the people in question, and else takes one whom the last such sentence
names: the first, or as the seed says. It is wrong often enough that whoever checks its answers has something to find.
"""

import re

from finetrail.rows.records import derive_seed
from finetrail.serving.offline.sections import section
from finetrail.serving.offline.words import content_words, coverage, sentences, stems

ABOUT = 0.5  # share of an option's words that a sentence about it holds
SLIPS = 16  # one reply in so many has no reflection, and another one names a letter that is not its text's
UNSETTLED = re.compile(
    r"unknown|not known|undetermined|(?:can't|cannot|can not) (?:be )?(?:answer|determin|known|tell)|not answerable|"
    r"not enough info|neither|neutral",
    re.IGNORECASE,
)
LETTERED = re.compile(r"^([A-J]): (.*)$")
QUESTION_AND_OPTIONS = re.compile(r"[^.!?\n]*\?\s*(?:\n[A-J]: .*)*$")


def reasoned_choice(prompt: str, seed: int | None) -> str:
    """Reasoning, reflection and answer, laid out as they were asked for, but for a slip."""
    text = section(prompt, "multiple_choice")
    answers = [line for line in section(prompt, "answers").splitlines() if line.strip()]
    story = sentences(QUESTION_AND_OPTIONS.sub("", text))
    unsettled = [answer for answer in answers if UNSETTLED.search(answer)]
    settled = [answer for answer in answers if answer not in unsettled] or answers
    about = [[answer for answer in settled if _is_about(answer, sentence)] for sentence in story]
    told = [(sentence, named) for sentence, named in zip(story, about, strict=True) if named]
    if unsettled and len(told) < 2:
        reasoning = "The text names them and does not say which of them it is. Nothing in it settles the question."
        return _laid_out(prompt, seed, reasoning, "NO", unsettled[0], answers)
    sentence, named = told[-1] if told else (story[-1] if story else text, settled)
    placed = sorted(named, key=lambda answer: (_place(answer, sentence), answer))
    chosen = placed[0 if seed is None else derive_seed("offline-teacher", seed) % len(placed)]
    reasoning = f'The text says: "{" ".join(sentence.split())}" That settles the question.'
    return _laid_out(prompt, seed, reasoning, "YES", chosen, answers)


def _words(answer: str) -> str:
    lettered = LETTERED.match(answer)
    return lettered[2] if lettered else answer


def _is_about(answer: str, sentence: str) -> bool:
    return coverage(stems(_words(answer)), stems(sentence)) >= ABOUT


def _place(answer: str, sentence: str) -> int:
    """Return where the first of an answer's words stands in a sentence."""
    text = sentence.casefold()
    found = [place for word in content_words(_words(answer)) if (place := text.find(word)) >= 0]
    return min(found, default=len(text))


def _laid_out(prompt: str, seed: int | None, reasoning: str, reflection: str, answer: str, answers: list[str]) -> str:
    slip = derive_seed("offline-teacher slip", prompt, seed) % SLIPS
    if slip == 1 and (lettered := LETTERED.match(answer)):
        other = next(line for line in answers if not line.startswith(lettered[1]))
        answer = f"{other[0]}: {lettered[2]}"
    parts = [f"Reasoning: {reasoning}", f"Reflection: {reflection}", f"Answer: {answer}"]
    return "\n\n".join(parts[::2] if slip == 0 else parts)
