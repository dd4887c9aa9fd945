"""A list of short texts (ids, words) on disk: read by place, without a Python object for each."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]
    Starts = np.ndarray[Any, np.dtype[np.int64]]
    Places = np.ndarray[Any, np.dtype[np.integer[Any]]]


class Texts(Sequence[str]):
    """Texts in one run of UTF-8 bytes, and where each begins; both may be memory-mapped."""

    def __init__(self, raw: "Bytes", starts: "Starts") -> None:
        self._raw = raw
        self._view = raw.data  # cut without an array for each text
        self._starts = starts

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Texts":
        """Hold a list of texts in memory."""
        import numpy as np

        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        starts = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(piece) for piece in encoded], out=starts[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), starts)

    @classmethod
    def open(cls, folder: Path, name: str) -> "Texts":
        """Map what `save` wrote."""
        import numpy as np

        mapped = (np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("bytes", "starts"))
        return cls(*(array.view(np.ndarray) for array in mapped))  # a memmap's own class is slow to cut

    def save(self, folder: Path, name: str) -> None:
        """Write ``<name>.bytes.npy`` (uint8) and ``<name>.starts.npy`` (int64, one more than there are texts)."""
        import numpy as np

        np.save(folder / f"{name}.bytes.npy", self._raw)
        np.save(folder / f"{name}.starts.npy", self._starts)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return str(self._view[self._starts.item(place) : self._starts.item(place + 1)], "utf-8", "surrogatepass")

    def pick(self, places: "Places") -> list[str]:
        """Return the texts at some places."""
        cuts = zip(self._starts[places].tolist(), self._starts[places + 1].tolist(), strict=True)
        if self._ascii is not None:
            return [self._ascii[begin:end] for begin, end in cuts]
        return [str(self._view[begin:end], "utf-8", "surrogatepass") for begin, end in cuts]

    @cached_property
    def _ascii(self) -> str | None:
        """All texts in a row where every character is one byte, which is quicker to cut; a copy in memory."""
        return str(self._view, "ascii") if len(self._raw) and self._raw.max() < 0x80 else None

    def find(self, text: str) -> int:
        """Return the place of a text, -1 where it is not; the texts must be sorted."""
        wanted = text.encode("utf-8", "surrogatepass")  # as bytes they sort as they do as texts
        view, at = self._view, self._starts.item
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if view[at(middle) : at(middle + 1)].tobytes() < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and view[at(low) : at(low + 1)].tobytes() == wanted else -1
