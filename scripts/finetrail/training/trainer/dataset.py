"""Encoded rows as the trainer's data set, packed or not; every sequence remembers the rows that it holds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.masks import Example

if TYPE_CHECKING:
    from datasets import Dataset


def build_dataset(examples: Sequence[Example], *, pack_to: int | None = None) -> "Dataset":
    """Make the data set: ``input_ids``, ``labels``, and ``rows``, the places of the rows among the examples.

    Args:
        examples: encoded rows, in the order of the file.
        pack_to: tokens of a sequence that several rows share; None for one row a sequence. Packed sequences have
            ``seq_lengths`` too, by which the collator tells the rows apart.

    Returns:
        The data set; where rows have images it has ``pictures`` too, the paths of each row's.

    Raises:
        FinetrailError: rows with images cannot be packed: their pixels belong to whole sequences.
    """
    from datasets import Dataset

    columns: dict[str, list[Any]] = {
        "input_ids": [example.input_ids for example in examples],
        "labels": [example.labels for example in examples],
    }
    shown = [example.row_id for example in examples if example.images]
    if pack_to is None:
        pictures = [[str(image.path) for image in example.images] for example in examples]
        columns |= {"rows": [[place] for place in range(len(examples))]}
        return Dataset.from_dict(columns | ({"pictures": pictures} if shown else {}))
    if shown:
        raise FinetrailError("rows with images cannot be packed", where=shown[0], hint="Set packing to false")
    return _packed(columns, pack_to)


def _packed(columns: dict[str, list[Any]], length: int) -> "Dataset":
    """Pack by best fit, the longest row first; every row stays whole, as all are shorter than a sequence."""
    from datasets import Dataset
    from trl import pack_dataset

    # A token-long column goes through packing with the tokens.
    owners = [[place] * len(ids) for place, ids in enumerate(columns["input_ids"])]
    packed = pack_dataset(Dataset.from_dict(columns | {"owners": owners}), length, "bfd")
    rows = [list(dict.fromkeys(places)) for places in packed["owners"]]
    return packed.remove_columns("owners").add_column("rows", rows)
