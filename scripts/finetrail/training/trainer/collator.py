"""Put sequences together to a batch: padded, packed end to end, or with the pixels of their images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.models.image_inputs import Vision
from finetrail.models.masks import IGNORED

if TYPE_CHECKING:
    import torch

Collator = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, "torch.Tensor"]]


def make_collator(pad: int, *, packing: bool, vision: Vision | None, multiple: int = 1) -> Collator:
    """Make the function that turns items of `finetrail.training.trainer.dataset.build_dataset` into a batch.

    Args:
        pad: the token to pad with; padding carries no loss and is not attended to, whatever token it is.
        packing: a batch is then one long sequence without padding or a mask, in which position ids restart with every
            row. Attention keeps rows apart by them (SDPA, eager) or by ``cu_seq_lens`` (FlashAttention), as long as
            the model is called with ``use_cache=False``, which the trainer does. The rows need not have been packed.
        vision: how images are shown; None for text.
        multiple: of which the tokens of a batch without padding are one; what is missing is a row without loss.
    """
    if vision is not None:
        return PictureCollator(pad, vision)
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    made: Collator = DataCollatorForLanguageModeling(pad_token_id=pad, padding_free=packing)
    return FilledCollator(made, pad, multiple) if packing and multiple > 1 else made


@dataclass(frozen=True)
class FilledCollator:
    """Fills a batch of rows end to end up, so that its length is one of few.

    Attributes:
        collate: puts rows together.
        pad: the token to fill with.
        multiple: of which the length is one.
    """

    collate: Collator
    pad: int
    multiple: int

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> Mapping[str, "torch.Tensor"]:
        """Add a row of what is missing, which the others cannot see."""
        missing = -sum(len(item["input_ids"]) for item in items) % self.multiple
        row = {"input_ids": [self.pad] * missing, "labels": [IGNORED] * missing, "seq_lengths": [missing]}
        return self.collate([*items, row] if missing else items)


@dataclass(frozen=True)
class PictureCollator:
    """Pads sequences on the right and puts their pixels beside them; images are read when their batch is made.

    Attributes:
        pad: the token to pad with.
        vision: how images are shown.
    """

    pad: int
    vision: Vision

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, "torch.Tensor"]:
        """Return ``input_ids``, ``labels`` and ``attention_mask`` [rows, tokens], and what `Vision.tensors` adds."""
        import torch

        longest = max(len(item["input_ids"]) for item in items)

        def padded(values: Sequence[int], filling: int) -> list[int]:
            return [*values, *[filling] * (longest - len(values))]

        ids = [padded(item["input_ids"], self.pad) for item in items]
        paths = [[Path(path) for path in item.get("pictures") or ()] for item in items]
        return {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor([padded(item["labels"], IGNORED) for item in items]),
            "attention_mask": torch.tensor([padded([1] * len(item["input_ids"]), 0) for item in items]),
            **self.vision.tensors(paths, ids),
        }
