"""Headings and code blocks, by the rules of each markup."""

import pytest

from finetrail.documents.structure import outline

MARKDOWN = """---
title: not a heading
---
# One
text

## Two *words*
```python
# no heading
```
Three
-----
    indented code
"""
RST = """=====
Title
=====

First
=====

An example::

    Not a title
    ===========

    more

Sub
---

.. code-block:: python

   x = 1

Second
======

two lines of
text
====
"""


def found(text: str, markup: str) -> tuple[list[tuple[int, str]], list[str]]:
    seen = outline(text, markup)
    assert all(heading.title.split()[0] in text[heading.start : heading.end] for heading in seen.headings)
    return [(h.level, h.title) for h in seen.headings], [text[start:end].strip() for start, end in seen.code]


def test_markdown() -> None:
    headings, code = found(MARKDOWN, "md")
    assert headings == [(1, "One"), (2, "Two words"), (2, "Three")]
    assert code == ["```python\n# no heading\n```", "indented code"]


def test_restructured_text() -> None:
    headings, code = found(RST, "rst")
    assert headings == [(1, "Title"), (2, "First"), (3, "Sub"), (2, "Second")]
    assert code == ["Not a title\n    ===========\n\n    more", "x = 1"]


@pytest.mark.parametrize("text", ["", "\n\n", "=", "==\n==\n", "::\n\n  a"])
def test_odd_texts_have_no_heading(text: str) -> None:
    assert outline(text, "rst").headings == []
    assert outline(text, "none") == ([], [])
