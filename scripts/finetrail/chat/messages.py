"""The one layout of a chat example: evidence first, then the question, in the user's turn."""

from collections.abc import Mapping, Sequence
from typing import TypedDict


class Evidence(TypedDict):
    """A passage (or the chunk of one) that is shown with a question."""

    title: str
    text: str


class Message(TypedDict):
    """One turn of a chat; role is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


def user_turn(question: str, evidence: Sequence[Evidence]) -> str:
    """Lay out the last user turn: numbered evidence (``[1] Title: text``), a blank line, the question."""
    lines = [f"[{number}] {item['title']}: {item['text']}" for number, item in enumerate(evidence, start=1)]
    asked = f"Question: {question.strip()}"
    return "\n".join([*lines, "", asked]) if lines else asked


def whole_messages(
    system: str, history: Sequence[Mapping[str, str]] | Sequence[Message], prompt: str, answer: str
) -> list[Message]:
    """Build the messages of an example whose prompt and answer are shown as they are, to the last character.

    Args:
        system: the system prompt; an empty one adds no message.
        history: earlier turns, oldest first, alternating user and assistant.
        prompt: the user's turn.
        answer: the assistant's target.
    """
    messages = [Message(role="system", content=system)] if system else []
    messages += [Message(role=turn["role"], content=turn["content"]) for turn in history]
    return [*messages, Message(role="user", content=prompt), Message(role="assistant", content=answer)]


def chat_messages(
    system: str,
    history: Sequence[Mapping[str, str]] | Sequence[Message],
    question: str,
    evidence: Sequence[Evidence],
    answer: str | None,
) -> list[Message]:
    """Build the messages of one example.

    White space around a turn goes: some chat templates drop it and some do not, and not all mean the same by it.

    Args:
        system: the system prompt; an empty one adds no message.
        history: earlier turns, oldest first, alternating user and assistant.
        question: the present question.
        evidence: what is shown with it; earlier turns keep no evidence.
        answer: the assistant's target, or None for a prompt to be answered.
    """
    messages = [Message(role="system", content=system)] if system else []
    messages += [Message(role=turn["role"], content=turn["content"].strip()) for turn in history]
    messages.append(Message(role="user", content=user_turn(question, evidence)))
    if answer is not None:
        messages.append(Message(role="assistant", content=answer.strip()))
    return messages
