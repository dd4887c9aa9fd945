"""Split a JSON Lines file at random into two parts; runs alone, with Python's standard library only.

    python split_dataset.py CAL_inference.jsonl --output1 DA/train.jsonl --output2 DB/train.jsonl

The lines are shuffled by `random.seed(SEED)` and cut after `round(lines * RATIO)`; each keeps its bytes. Memory holds
16 bytes a line.
"""

import argparse
import os
import random
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO


class SplitError(Exception):
    """The file cannot be split, and why."""


def ratio_of(text: str) -> float:
    """Read a share from 0.0 to 1.0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0.0 to 1.0")
    return value


def line_starts(stream: BinaryIO) -> "array[int]":
    """Return where each line begins, and where the last one ends."""
    starts = array("Q", [0])
    for line in stream:
        starts.append(starts[-1] + len(line))
    return starts


def write_part(source: BinaryIO, starts: Sequence[int], chosen: Sequence[int], path: Path) -> None:
    """Copy lines, in the order chosen; only a last line without its line break gets one.

    The part appears under its name when it is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as part:
            for number in chosen:
                source.seek(starts[number])
                line = source.read(starts[number + 1] - starts[number])
                part.write(line if line.endswith(b"\n") else line + b"\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_paths(source: Path, parts: Sequence[Path]) -> None:
    """Check that nothing overwrites what it is read from, or what was just written.

    Raises:
        SplitError: two of the paths are one file, or the input is none.
    """
    if source.exists() and not source.is_file():
        raise SplitError(f"{source} is no regular file, and its lines are read twice: save them in one")
    named = [path.resolve() for path in (source, *parts)]
    if len(set(named)) < len(named):
        raise SplitError("the input and the two outputs must be three different files")


def split(source: Path, parts: tuple[Path, Path], ratio: float, seed: int) -> None:
    """Split a file and print what becomes of it.

    Raises:
        SplitError: the file is missing or empty, or an output cannot be written.
    """
    check_paths(source, parts)
    print(f"Reading data from {source}...")
    try:
        with source.open("rb") as stream:
            starts = line_starts(stream)
            total = len(starts) - 1
            if not total:
                raise SplitError(f"{source} is empty")
            print(f"Total lines: {total}")
            print("Shuffling data...")
            order = list(range(total))
            random.Random(seed).shuffle(order)
            cut = round(round(total * ratio, 9))
            chosen = (order[:cut], order[cut:])
            for path, numbers in zip(parts, chosen, strict=True):
                print(f"Writing {len(numbers)} lines to {path}...")
                write_part(stream, starts, numbers, path)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise SplitError(f"{where}{error.strerror}") from error
    print("\nSplit complete!")
    for number, numbers in enumerate(chosen, start=1):
        print(f"  Part {number}: {len(numbers)} lines ({len(numbers) / total:.1%})")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input_file", type=Path, help="the JSONL file")
    parser.add_argument("--output1", type=Path, help="first part ({input}_part1.jsonl)")
    parser.add_argument("--output2", type=Path, help="second part ({input}_part2.jsonl)")
    parser.add_argument("--ratio", type=ratio_of, default=0.5, help="share of the first part, 0.0-1.0 (0.5)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the shuffle (42)")
    args = parser.parse_args(argv)
    source: Path = args.input_file
    first, second = (source.parent / f"{source.stem}_part{number}.jsonl" for number in (1, 2))
    try:
        split(source, (args.output1 or first, args.output2 or second), args.ratio, args.seed)
    except SplitError as error:
        print(f"split_dataset: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
