"""Headings and code blocks of a text in Markdown or reStructuredText, as spans of characters."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

# Front matter: YAML or TOML between lines of three signs, or one object of JSON (the forms that Hugo, Jekyll and Pandoc
# know). A rule on the first line opens none: every line behind it must be a line of a mapping.
YAML_LINE = r"(?:[ \t]+\S.*|-(?:[ \t].*)?|#.*|[\"']?[\w][\w .@/-]*[\"']?[ \t]*:(?:[ \t].*)?|[\]}],?)[ \t]*\n"
YAML_KEY = r"[\"']?[\w][\w .@/-]*[\"']?[ \t]*:(?:[ \t].*)?\n"
FRONT_MATTER = re.compile(
    rf"\A\s*(?:---[ \t]*\n(?:#.*\n)*{YAML_KEY}(?:{YAML_LINE}|[ \t]*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
    r"|\+\+\+[ \t]*\n(?:.*\n){0,2000}?\+\+\+[ \t]*(?:\n|\Z))"
)
JSON_HEAD = re.compile(r"\A\s*\{\s*\"")
LONGEST_FRONT_MATTER = 1 << 16
ADORNMENT = re.compile(r"^([!-/:-@\[-`{-~])\1{2,}[ \t]*$")
LITERAL = re.compile(r"::[ \t]*$")
DIRECTIVE = re.compile(r"^([ \t]*)\.\. (?:code-block|code|sourcecode|parsed-literal|doctest|prompt)::")


class Heading(NamedTuple):
    """A heading: where it stands (its underline included), its depth from 1, and its words."""

    start: int
    end: int
    level: int
    title: str


class Outline(NamedTuple):
    """What divides a text."""

    headings: list[Heading]
    code: list[tuple[int, int]]


def outline(text: str, markup: str) -> Outline:
    """Return the outline of a text.

    Args:
        text: a normalised text: line feeds only.
        markup: md, rst or none.
    """
    if markup == "md":
        return _markdown(text)
    return _restructured(text) if markup == "rst" else Outline([], [])


def _line_starts(text: str) -> list[int]:
    return [0, *accumulate(len(line) + 1 for line in text.split("\n"))]


def _markdown(text: str) -> Outline:
    """Read CommonMark's block structure; front matter holds no heading."""
    from markdown_it import MarkdownIt

    end = front_matter_end(text)
    shown = re.sub(r"[^\n]", " ", text[:end]) + text[end:]
    starts = _line_starts(text)
    tokens = MarkdownIt("commonmark").disable("inline").parse(shown)
    headings, code = [], []
    for token, after in pairwise([*tokens, *tokens[-1:]]):
        if token.map is None or token.level:
            continue
        start, end = starts[token.map[0]], min(starts[token.map[1]], len(text))
        if token.type == "heading_open" and after.content.strip():
            headings.append(Heading(start, end, int(token.tag[1:]), _words(after.content)))
        elif token.type in ("fence", "code_block"):
            code.append((start, end))
    return Outline(headings, code)


def front_matter_end(text: str) -> int:
    """Return where the front matter of a Markdown text ends; 0 where it has none."""
    if JSON_HEAD.match(text[:LONGEST_FRONT_MATTER]):
        begin = len(text) - len(text.lstrip())
        try:
            value, end = json.JSONDecoder().raw_decode(text[: begin + LONGEST_FRONT_MATTER], begin)
        except (ValueError, RecursionError):
            return 0
        return end if isinstance(value, dict) and text[end : end + 1] in ("\n", "") else 0
    front = FRONT_MATTER.match(text[:LONGEST_FRONT_MATTER])
    return front.end() if front else 0


def _words(content: str) -> str:
    return " ".join(re.sub(r"[*_`]+", "", content).split())


def _restructured(text: str) -> Outline:
    """Find section titles by their adornments (each new one is a level deeper), and literal blocks by `::`."""
    lines, starts = text.split("\n"), _line_starts(text)
    code = list(_literal_blocks(lines, starts, len(text)))
    inside = {number for start, end in code for number in range(_line(starts, start), _line(starts, end))}
    styles: list[tuple[str, bool]] = []
    headings = []
    for number in range(1, len(lines)):
        under = ADORNMENT.match(lines[number])
        words = lines[number - 1].strip()
        if not under or not words or number in inside or ADORNMENT.match(lines[number - 1]):
            continue
        if len(lines[number].rstrip()) < len(words) or lines[number - 1].lstrip().startswith(".. "):
            continue
        over = number > 1 and lines[number - 2].rstrip() == lines[number].rstrip()
        if not over and (lines[number - 1][:1].isspace() or (number > 1 and lines[number - 2].strip())):
            continue  # a title without an overline begins at the margin, after an empty line
        style = (under[1], over)
        if style not in styles:
            styles.append(style)
        first = number - 2 if over else number - 1
        end = min(starts[number + 1], len(text))
        headings.append(Heading(starts[first], end, styles.index(style) + 1, " ".join(words.split())))
    return Outline(headings, code)


def _line(starts: list[int], place: int) -> int:
    return bisect_right(starts, place) - 1


def _literal_blocks(lines: list[str], starts: list[int], length: int) -> Iterator[tuple[int, int]]:
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not (DIRECTIVE.match(line) or (LITERAL.search(line) and not line.lstrip().startswith(".. "))):
            continue
        margin = len(line) - len(line.lstrip())
        first = number
        while number < len(lines) and (not lines[number].strip() or _indent(lines[number]) > margin):
            number += 1
        while first < number and not lines[first].strip():
            first += 1
        last = number
        while last > first and not lines[last - 1].strip():
            last -= 1
        if last > first:
            yield starts[first], min(starts[last], length)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
