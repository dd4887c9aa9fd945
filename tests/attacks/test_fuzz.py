"""Damaged pictures and documents: each is read or refused with a reason, within its bounds, and harms no other."""

import random

import pytest

from finetrail.documents.kinds import NotRead
from finetrail.documents.read import read_document
from finetrail.isolated import Bounds, Failed, Workers
from finetrail.rows.records import Row, dump_row
from finetrail.vision.check_image import BadImage, Checked, check_within, image_bounds
from finetrail.web.extract import PageText, extract
from finetrail.web.fetch import Fetched
from tests.attacks.mutations import damaged_archive, documents, mutated, pictures

PIXELS = 1_000_000
MEGABYTE = 1 << 20


def read_item(item: tuple[str, bytes]) -> Row:
    return read_document(*item)


def assert_reasons(outcomes: list[object], least_good: float) -> None:
    """No item ends its process, or raises what nobody named, and not all are refused."""
    failed = [one.reason for one in outcomes if isinstance(one, Failed)]
    assert len(outcomes) - len(failed) > least_good * len(outcomes)
    wrong = [why for why in failed if "its parser" in why or "not read within" in why or "needs more" in why]
    assert wrong == []


def fuzz_pictures(count: int) -> None:
    good = pictures()
    with Workers(2, check_within, image_bounds(PIXELS, 20.0), (BadImage,)) as checkers:
        outcomes = list(checkers.map((mutated(seed, good[seed % len(good)]), PIXELS) for seed in range(count)))
    assert_reasons(outcomes, 0.05)
    assert all(one.width * one.height <= PIXELS for one in outcomes if isinstance(one, Checked))


def fuzz_documents(count: int) -> None:
    good = documents()

    def items() -> list[tuple[str, bytes]]:
        chosen = [(seed, *good[seed % len(good)]) for seed in range(count)]
        return [
            (name, damaged_archive(seed, held) if isinstance(held, dict) else mutated(seed, held))
            for seed, name, held in chosen
        ]

    with Workers(2, read_item, Bounds(60.0, 1500 * MEGABYTE), (NotRead,)) as readers:
        outcomes = list(readers.map(items()))
    assert_reasons(outcomes, 0.3)
    for one in outcomes:
        if isinstance(one, dict):
            dump_row(one).encode("utf-8")
            assert all(0 <= start <= end <= len(one["text"]) for start, end, *_ in [*one["headings"], *one["code"]])


def fuzz_pages(count: int) -> None:
    page = dict(documents())["a.html"]
    assert isinstance(page, bytes)
    charsets = [None, "utf-8", "utf-16", "no-such", "iso-2022-jp", "utf-7", "x" * 99]
    items = [
        Fetched("http://a/", "text/html", random.Random(seed).choice(charsets), mutated(seed, page))
        for seed in range(count)
    ]
    with Workers(2, extract, Bounds(60.0, 700 * MEGABYTE)) as readers:
        outcomes = list(readers.map(items))
    assert all(isinstance(one, PageText) for one in outcomes), outcomes


@pytest.mark.heavy
@pytest.mark.parametrize(("fuzz", "count"), [(fuzz_pictures, 500), (fuzz_documents, 180), (fuzz_pages, 60)])
def test_some_damaged_files_are_read_or_refused(fuzz: object, count: int) -> None:
    assert callable(fuzz)
    fuzz(count)


@pytest.mark.long
@pytest.mark.parametrize("fuzz", [fuzz_pictures, fuzz_documents, fuzz_pages])
def test_ten_thousand_damaged_files_are_read_or_refused(fuzz: object) -> None:
    assert callable(fuzz)
    fuzz(10_000)
