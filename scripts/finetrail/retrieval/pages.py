"""Pages of numbered sentences as passages: cut between sentences only, so that each sentence keeps its number."""

import re
from collections.abc import Iterator, Sequence

from finetrail.rows.records import Row, content_id

_TOKEN = re.compile(r"\w+|[^\w\s]")


def page_id(title: str, sentences: Sequence[str]) -> str:
    """Name a page by its content: the same page, met in two rows, is one."""
    return content_id("page", title, *(sentence.strip() for sentence in sentences))


def count_tokens(text: str) -> int:
    """Count words and signs: about three quarters of a subword tokenizer's tokens."""
    return len(_TOKEN.findall(text))


def page_passages(title: str, sentences: Sequence[str], longest: int) -> Iterator[Row]:
    """Cut a page into passages of nearly equal length, whole sentences each.

    A page of more than `longest` tokens is cut into as few passages as it needs: for 250, each has about 150 to 250,
    but for pages of 251 to 299. A longer sentence stays whole.

    Yields:
        ``{"id", "title", "text", "url", "page", "first", "sentences"}``: `first` is the page's number (from 0) of the
        passage's first sentence, `sentences` the spans of its sentences in `text`. A page of one passage has its id.
    """
    page = page_id(title, sentences)
    clean = [sentence.strip() for sentence in sentences]
    parts = list(_parts([count_tokens(sentence) for sentence in clean], longest))
    for number, (first, end) in enumerate(parts):
        text, spans = _joined(clean[first:end])
        name = page if len(parts) == 1 else f"{page}-{number}"
        yield {
            "id": name,
            "title": title,
            "text": text,
            "url": "",
            "page": page,
            "first": first,
            "sentences": spans,
        }


def _parts(lengths: Sequence[int], longest: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last sentence (exclusive) of each part."""
    left = sum(lengths)
    first, length = 0, 0
    share = _share(left, longest)
    for number, tokens in enumerate(lengths):
        if length and (length + tokens > longest or length + tokens / 2 > share):
            yield first, number
            first, length = number, 0
            share = _share(left, longest)
        length += tokens
        left -= tokens
    yield first, len(lengths)


def _share(tokens: int, longest: int) -> float:
    """Return the length of equal parts, none above the longest."""
    return tokens / max(1, -(-tokens // longest))


def _joined(sentences: Sequence[str]) -> tuple[str, list[list[int]]]:
    text, spans = "", []
    for sentence in sentences:
        if text and sentence:
            text += " "
        spans.append([len(text), len(text) + len(sentence)])
        text += sentence
    return text, spans
