"""Collect what is wrong with an input, so that one error shows all of it and not only the first."""

from collections.abc import Iterator
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.records import Line, Row, dump_row, parse_line

SHOWN = 20


class Problems:
    """A counted list of faults; the first `SHOWN` are kept, so that memory stays bounded.

    Args:
        subject: what the faults are faults of, in the plural ("records").
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.count = 0
        self._shown: list[str] = []

    def add(self, where: str, cause: str) -> None:
        """Note one fault at ``file:line`` or ``file:line (row id)``."""
        self.count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(f"{where}: {cause}")

    def raise_any(self, hint: str) -> None:
        """Raise one error that lists the faults, if there are any.

        Raises:
            FinetrailError: the first faults, each with its place, and their total number.
        """
        if not self.count:
            return
        rest = self.count - len(self._shown)
        lines = [*self._shown, f"... and {rest} more"] if rest else self._shown
        plural = "fault" if self.count == 1 else "faults"
        cause = f"{self.count} {plural} in the {self.subject}:\n  " + "\n  ".join(lines)
        raise FinetrailError(cause, hint=hint)


def lines(path: Path, problems: Problems) -> Iterator[Line]:
    """Stream the rows of a JSON Lines file; what cannot be read goes to `problems` and is passed over.

    An empty file, a line that is no JSON object, and text that cannot be written as UTF-8 are faults.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        problems.add(str(path), f"cannot be read: {error.strerror}")
        return
    seen = False
    with stream:
        for number, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            seen = True
            line = _parse(raw, path, number, problems)
            if line is not None:
                yield line
    if not seen:
        problems.add(str(path), "the file is empty")


def _parse(raw: bytes, path: Path, number: int, problems: Problems) -> Line | None:
    try:
        row = parse_line(raw, path, number)
    except FinetrailError as error:
        problems.add(error.where or f"{path}:{number}", error.cause)
        return None
    if b"\\u" in raw and (cause := half_surrogate(row)):
        problems.add(f"{path}:{number}", cause)
        return None
    return Line(number, row)


def half_surrogate(row: Row) -> str | None:
    """Say that a text of a row is half of a surrogate pair, which only an escape can bring past the UTF-8 decoder."""
    try:
        dump_row(row).encode("utf-8")
    except UnicodeEncodeError:
        return "a text holds half of a surrogate pair"
    return None
