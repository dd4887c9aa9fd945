"""What of a row a model sees, and which of its tokens carry loss."""

from dataclasses import dataclass
from typing import Literal

Loss = Literal["answer", "assistant"]
"""Which of the assistant's turns carry loss: the last one, or all that are left in the row."""


@dataclass(frozen=True)
class Limits:
    """What of a row a model sees, the same in training, scoring and prediction.

    Attributes:
        max_length: tokens of prompt and target together; passages go, the last first, until a row fits.
        history_turns: how many of the latest exchanges stay in the prompt; None for all.
        history_answer_tokens: each earlier answer is cut to so many tokens; None for whole.
        images: ``drop`` shows the text of rows with images alone; ``show`` needs a vision model for them.
    """

    max_length: int = 1024
    history_turns: int | None = None
    history_answer_tokens: int | None = None
    images: Literal["show", "drop"] = "show"
