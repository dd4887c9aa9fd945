"""A quotation is found whatever its white space, and is not found when it is not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetrail.text.spans import MARKS, TYPED, find_quote

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


SET = (
    "He said: \u2018It\u2019s the \ufb01rst of\u00a03\u20135 \u201c\uff30iers\u201d \u2014 or none\u2026\u2019 "
    "and x\u00b2 \u2212 1 = na\u00efve"
)


@pytest.mark.parametrize(
    ("quote", "span"),
    [
        ("It's the first of 3-5", "It\u2019s the \ufb01rst of\u00a03\u20135"),
        ('"Piers" - or none...', "\uff30iers\u201d \u2014 or none"),
        ('the first of 3-5 "Piers" -- or none', "the \ufb01rst of\u00a03\u20135 \u201c\uff30iers\u201d \u2014 or none"),
        ('"Piers"\u2014or none', "\uff30iers\u201d \u2014 or none"),
        ("x\u00b2 - 1 = nai\u0308ve", "x\u00b2 \u2212 1 = na\u00efve"),
        ("'It's the", "It\u2019s the"),
    ],
)  # fmt: skip
def test_what_is_typed_stands_for_what_is_set(quote: str, span: str) -> None:
    found = find_quote(SET, quote)
    assert found is not None
    assert span in SET[slice(*found)]
    assert SET[slice(*found)].strip("\u201c\u2018\u2026\u2019") == span, "to the character, but for marks around"


@pytest.mark.parametrize(
    "quote",
    [
        "x2 - 1", "naive", "it's the first", "It is the first", "the first of 35", "the first of 3 to 5",
        "Its the first", "It's the second", "- ' \"", "first piers",
    ],
)  # fmt: skip
def test_no_paraphrase_gets_in(quote: str) -> None:
    assert find_quote(SET, quote) is None


@given(st.text(alphabet="ab \n\u2014\u2013-\u201c\u201d\"'\u2019.\u2026\ufb01\u00ad\uff21", max_size=40), st.data())
def test_every_piece_of_a_text_is_found_as_it_is_typed(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    piece = text[start : data.draw(st.integers(start, len(text)))]
    typed = "".join(TYPED.get(sign, sign) for sign in piece)
    if not typed.strip(MARKS + "-\n"):
        return
    found = find_quote(text, typed)
    assert found is not None
    kept = "".join(TYPED.get(sign, sign) for sign in text[slice(*found)])
    assert [sign for sign in typed if sign.isalnum()] == [sign for sign in kept if sign.isalnum()]
