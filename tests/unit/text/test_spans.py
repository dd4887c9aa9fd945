"""A quotation is found whatever its white space, and is not found when it is not there."""

import pytest

from finetrail.text.spans import find_quote

TEXT = "First line\nof a text. Then “more” (a+b)."


@pytest.mark.parametrize(
    "quote", ["First line of a text.", '"First  line\nof a text."', "Then “more” (a+b)", "...of a text"]
)
def test_found(quote: str) -> None:
    span = find_quote(TEXT, quote)
    assert span is not None
    assert TEXT[slice(*span)].split() == quote.strip("\"'. “”").split() or TEXT[slice(*span)].split() == quote.split()


@pytest.mark.parametrize("quote", ["", " ", "first line", "line First", "(a.b)", "..."])
def test_not_found(quote: str) -> None:
    assert find_quote(TEXT, quote) is None
