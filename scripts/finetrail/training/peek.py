"""Show rows as a model will be trained on them: every token as text, and which of them carry loss."""

from typing import TYPE_CHECKING

from finetrail.models.masks import IGNORED, EncodedRows, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COLOUR = ("\033[1;32m", "\033[0m")
MARKS = ("⟦", "⟧")
"""What stands around the tokens that carry loss: on a terminal, and elsewhere."""


def stretches(example: Example, tokenizer: "PreTrainedTokenizerBase") -> list[tuple[str, bool]]:
    """Cut a row where loss begins and ends.

    Returns:
        (text, whether it carries loss) in order; together they are the decoded row.
    """
    carries = [label != IGNORED for label in example.labels]
    ends = [
        place for place in range(1, len(carries) + 1) if place == len(carries) or carries[place] != carries[place - 1]
    ]
    found, shown = [], ""
    for end in ends:
        text: str = tokenizer.decode(example.input_ids[:end])  # from the start: a decoder drops a first space
        found.append((text[len(shown) :], carries[end - 1]))
        shown = text
    return found


def show_row(example: Example, tokenizer: "PreTrainedTokenizerBase", around: tuple[str, str]) -> str:
    """Lay out one row: a line of figures, then its text with what carries loss between two marks."""
    figures = [f"{len(example.input_ids)} tokens", f"{example.target_tokens} carry loss"]
    figures += [f"{example.dropped_passages} passages left out"] if example.dropped_passages else []
    figures += [f"{example.control_texts} control tokens shown as words"] if example.control_texts else []
    figures += [f"image {image.path.name}" for image in example.images]
    text = "".join(
        f"{around[0]}{_printable(part)}{around[1]}" if carries else _printable(part)
        for part, carries in stretches(example, tokenizer)
    )
    return f"--- {example.row_id}: {', '.join(figures)}\n{text}\n"


def show_summary(encoded: EncodedRows) -> str:
    """Say what the shown rows come to."""
    examples = encoded.examples
    lengths = sorted(len(example.input_ids) for example in examples)
    learned = sum(example.target_tokens for example in examples)
    trimmed = sum(example.dropped_passages > 0 for example in examples)
    passages = sum(example.dropped_passages for example in examples)
    return (
        f"{len(examples)} rows of {lengths[0]} to {lengths[-1]} tokens, {sum(lengths)} in all; {learned} carry loss."
        f" {trimmed} rows lost {passages} passages so that they fit; {encoded.dropped_images} images are not shown."
    )


def _printable(text: str) -> str:
    """Escape what could steer a terminal: rows hold other people's text."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1] for letter in text)
