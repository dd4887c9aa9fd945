"""Rows of tasks about pictures as token ids: prompts are shortened, then targets are cut, and both are counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.messages import Message
from finetrail.errors import FinetrailError
from finetrail.examples.picture_tasks import shorter, task_prompt
from finetrail.models.control_tokens import control_tokens
from finetrail.models.masks import IGNORED, Example, split_ids
from finetrail.vision.image import Image
from finetrail.vision.row_images import images_of

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

NO_CLASS = -1
CLASS_TOKENS = 1


@dataclass(frozen=True)
class TaskExample(Example):
    """A row of a task.

    Attributes:
        task: which one.
        weight: of its loss.
        class_id: of its image; `NO_CLASS` where it shows none.
        whole_target: tokens that the target has, its end included, before anything was cut.
        truncated: whether the target was cut; it then has no end-of-turn token, so that nobody learns to stop there.
    """

    task: str = ""
    weight: float = 1.0
    class_id: int = NO_CLASS
    whole_target: int = 0
    truncated: bool = False


def prompt_messages(row: Mapping[str, Any], parts: Mapping[str, Any]) -> list[Message]:
    """Return the messages of a row before its answer, with its prompt written from these parts."""
    system = [message for message in row["messages"][:1] if message["role"] == "system"]
    return [*system, Message(role="user", content=task_prompt(row["kind"], parts))]


def encode_task(
    row: Mapping[str, Any],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_length: int,
    prefix_tokens: int,
    class_ids: Mapping[str, int],
    images: str | None,
    cond_name: str | None = None,
) -> TaskExample:
    """Encode one row: the last pieces of its prompt go until it fits, then the end of its target.

    Args:
        row: of a fold; ``kind``, ``task``, ``messages``, ``image``.
        tokenizer: with its chat template.
        max_length: most tokens, those of the image included.
        prefix_tokens: how many an image takes.
        class_ids: class → id.
        images: folder that image paths are relative to.
        cond_name: class that the prompt names, where it is not the record's.

    Raises:
        FinetrailError: the prompt leaves no room for a target, or the class is not known.
    """
    row_id, kind, task = str(row["id"]), str(row["kind"]), row["task"]
    shown: tuple[Image, ...] = images_of(dict(row), images)
    room = max_length - (prefix_tokens if shown else 0)
    name = cond_name or task["cond_name"]
    parts: dict[str, Any] | None = {**task["parts"], **({"cond_name": name} if "cond_name" in task["parts"] else {})}
    dropped = 0
    while True:
        assert parts is not None
        messages = [*prompt_messages(row, parts), Message(role="assistant", content=row["answer"].strip())]
        prompt, target = split_ids(messages, tokenizer, row_id)
        if len(prompt) + len(target) <= room or (fewer := shorter(kind, parts)) is None:
            break
        parts, dropped = fewer, dropped + 1
    if len(prompt) >= room:
        raise FinetrailError(
            f"the prompt has {len(prompt)} tokens, and with the image only {room} are allowed: no room for a target",
            where=row_id,
            hint="Raise limits.max_length",
        )
    if shown and name not in class_ids:
        raise FinetrailError(f"the class {name} is not among vision.classes", where=row_id)
    kept = target[: room - len(prompt)]
    return TaskExample(
        row_id,
        prompt + kept,
        [IGNORED] * len(prompt) + kept,
        dropped,
        shown,
        control_texts=control_tokens(tokenizer).count(messages),
        task=kind,
        weight=float(task["weight"]),
        class_id=class_ids[name] if shown else NO_CLASS,
        whole_target=len(target),
        truncated=len(kept) < len(target),
    )


def build_task_dataset(examples: Sequence[TaskExample]) -> "Dataset":
    """Make the data set, in the order in which the rows were drawn."""
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "input_ids": [example.input_ids for example in examples],
            "labels": [example.labels for example in examples],
            "rows": [[place] for place in range(len(examples))],
            "weights": [example.weight for example in examples],
            "class_ids": [example.class_id for example in examples],
            "pictures": [[str(image.path) for image in example.images] for example in examples],
        }
    )


@dataclass(frozen=True)
class TaskCollator:
    """Pads rows on the right and reads their images.

    Attributes:
        pad: the token to pad with.
        image_size: side of the square that images are made.
    """

    pad: int
    image_size: int

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return ``input_ids``, ``labels``, ``attention_mask`` [rows, tokens], ``weights``, ``class_ids`` [rows] and
        ``pixel_values`` [rows with an image, 3, size, size]."""
        import torch

        from finetrail.vision.image_encoder import pixels_of

        longest = max(len(item["input_ids"]) for item in items)

        def padded(name: str, filling: int) -> torch.Tensor:
            return torch.tensor([[*item[name], *[filling] * (longest - len(item[name]))] for item in items])

        ones = [[1] * len(item["input_ids"]) + [0] * (longest - len(item["input_ids"])) for item in items]
        pixels = [pixels_of(Path(path), self.image_size) for item in items for path in item["pictures"]]
        size = self.image_size
        return {
            "input_ids": padded("input_ids", self.pad),
            "labels": padded("labels", IGNORED),
            "attention_mask": torch.tensor(ones),
            "weights": torch.tensor([float(item["weights"]) for item in items]),
            "class_ids": torch.tensor([int(item["class_ids"]) for item in items]),
            "pixel_values": torch.stack(pixels) if pixels else torch.zeros(0, 3, size, size),
        }
