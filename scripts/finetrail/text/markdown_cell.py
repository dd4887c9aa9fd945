"""Data in a Markdown page: nothing in it is a link, an image, markup or a code for a terminal."""

import re

MARKUP = re.compile(r"([\\|<>`*_\[\]@])")
# What renderers make a link of although nothing says so (GitHub Flavored Markdown, 6.9).
BARE_LINK = re.compile(r"(?i)(?<=[a-z]):(?=//)|(?<=\bwww)\.|(?<=\bmailto):|(?<=\bxmpp):")


def cell(value: object) -> str:
    """Return a value as text of a Markdown page, on one line: a cell of a table, a heading, a word of a sentence."""
    line = " ".join(str(value).split())
    visible = "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in line)
    return BARE_LINK.sub(lambda found: f"\\{found[0]}", MARKUP.sub(r"\\\1", visible))
