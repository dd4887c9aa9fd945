"""Made-up lookups in the words of given texts: exercises in copying an answer out of the context.

No real question and no real answer enters: a question is a handful of words of the passage that answers it (an
inverse cloze, Lee et al. 2019, arXiv:1906.00300), and passages are words drawn at random or single sentences.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetrail.chat.messages import Evidence, Message, chat_messages

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SENTENCE_WORDS = (5, 45)


@dataclass(frozen=True)
class Wordstock:
    """What lookups are made of: distinct words, words as often as they stand in the texts, and sentences."""

    distinct: tuple[str, ...]
    words: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Difficulty:
    """How hard a lookup is.

    Attributes:
        words: the longest passage.
        sentences: share of passages that are real sentences; the others are words drawn at random.
        reworded: share of answers that are not a verbatim copy: words left out, replaced, moved.
        elsewhere: share of answers that stand in no passage, so that copying is a habit that tuning can turn up
            or down, not a reflex.
        talk: share of lookups with a system prompt, and of those with an earlier exchange.
    """

    words: int
    sentences: float
    reworded: float
    elsewhere: float
    talk: float


COPYING = Difficulty(words=16, sentences=0.5, reworded=0.0, elsewhere=0.0, talk=0.0)
ANSWERING = Difficulty(words=40, sentences=0.6, reworded=0.5, elsewhere=0.5, talk=0.4)
_COPYING_SHARE = 0.3
_LENGTHENING_ENDS = 0.9
_KEPT = 0.75


def difficulty_at(done: float) -> Difficulty:
    """Return the difficulty after a share of the steps: verbatim copies first, then longer and reworded answers."""
    if done <= _COPYING_SHARE:
        return COPYING
    grown = min(1.0, (done - _COPYING_SHARE) / (_LENGTHENING_ENDS - _COPYING_SHARE))
    words = COPYING.words + int((ANSWERING.words - COPYING.words) * grown)
    return replace(ANSWERING, words=words)


def wordstock(texts: Sequence[str]) -> Wordstock:
    """Take the words and the usable sentences out of texts."""
    words: list[str] = []
    sentences: list[tuple[str, ...]] = []
    for text in texts:
        flat = " ".join(text.split())
        words += [word for word in re.findall(r"[\w'-]+", flat) if len(word) > 1]
        cut = (tuple(sentence.split()) for sentence in _SENTENCE_END.split(flat))
        sentences += [sentence for sentence in cut if _SENTENCE_WORDS[0] <= len(sentence) <= _SENTENCE_WORDS[1]]
    return Wordstock(tuple(sorted(set(words))), tuple(words), tuple(sentences))


def made_up_lookup(
    stock: Wordstock, difficulty: Difficulty, system: str, rng: random.Random
) -> tuple[list[Message], str]:
    """Make one lookup: the prompt as chat messages, and the answer."""
    passages = [_passage(stock, difficulty, rng) for _ in range(rng.randint(1, 3))]
    evidence = [
        Evidence(title=" ".join(rng.choices(stock.distinct, k=rng.randint(1, 3))), text=" ".join(passage))
        for passage in passages
    ]
    asked = rng.choice(passages)
    start = rng.randrange(len(asked))
    question = " ".join(asked[start : start + rng.randint(1, 4)]).rstrip(".?!") + "?"
    answered = _passage(stock, difficulty, rng) if rng.random() < difficulty.elsewhere else asked
    answer = _reworded(answered, stock, rng) if rng.random() < difficulty.reworded else answered
    history: list[Message] = []
    if rng.random() < difficulty.talk:
        history.append(Message(role="user", content=" ".join(rng.choices(stock.words, k=6))))
        history.append(Message(role="assistant", content=" ".join(rng.choices(stock.words, k=rng.randint(3, 12)))))
    shown = system if rng.random() < difficulty.talk else ""
    return chat_messages(shown, history, question, evidence, None), " ".join(answer)


def _passage(stock: Wordstock, difficulty: Difficulty, rng: random.Random) -> Sequence[str]:
    if stock.sentences and rng.random() < difficulty.sentences:
        sentence = rng.choice(stock.sentences)
        start = rng.randrange(max(1, len(sentence) - difficulty.words + 1))
        return sentence[start : start + difficulty.words]
    return rng.choices(stock.distinct, k=rng.randint(4, difficulty.words))


def _reworded(passage: Sequence[str], stock: Wordstock, rng: random.Random) -> Sequence[str]:
    """Leave some words out, replace some, and sometimes turn the passage around."""
    words: list[str] = []
    for word in passage:
        drawn = rng.random()
        if drawn < _KEPT:
            words.append(word)
        elif drawn < (1 + _KEPT) / 2:
            words.append(rng.choice(stock.words))
    if len(words) > 6 and rng.random() < 0.5:
        cut = rng.randrange(2, len(words) - 2)
        words = words[cut:] + words[:cut]
    return words or passage
