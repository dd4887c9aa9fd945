"""A web page to Markdown: trafilatura finds its main text; headings and code are held to what the page has."""

import re
from collections import Counter
from typing import Any

from finetrail.documents.converted import Pages, one_line, title_of
from finetrail.documents.decode import decode, page_charset, readable
from finetrail.documents.html_blocks import code_of, fenced, is_hidden, markdown, name_of

MAIN = "//main | //article | //*[@role='main' or @role='article' or @id='content' or @id='main']"
HEADINGS = "//h1 | //h2 | //h3 | //h4 | //h5 | //h6"
AROUND = frozenset({"nav", "footer", "aside", "dialog", "template", "noscript"})
NAMED_HEADINGS = 5  # that a note quotes
CODE = "ftcodeblock"
STAND_IN = re.compile(rf"(?P<fence>```\n)?`?{CODE}(?P<number>\d+)x\s[x ]*(?(fence)\n```|`?)")
SHORT = 250  # characters below which trafilatura gives up its choice, and headings with it
# What trafilatura puts a backslash before in prose; in code it does not, and a run of n becomes 2n + 1.
ESCAPED = re.compile(r"(\\+)([*_`~\[\]<])|((?<!`)(`+)(?!`).+?(?<!`)\4(?!`))", re.DOTALL)
BLOCK_START = re.compile(r"^( {0,3})\\(?=>|[-+][ \t])|^( {0,3}\d{1,9})\\(?=[.)](?:[ \t]|$))", re.M)
MARKDOWN_HEADING = re.compile(r"^#{1,6} (.+)$", re.M)


def read_html(raw: bytes) -> Pages:
    """Read a page: its main text as Markdown with headings, lists, code and tables."""
    decoded = readable(decode(raw, page_charset(raw)))
    left_out: Counter[str] = Counter()
    title, text, notes = page_text(decoded.text, left_out)
    return Pages([text], "md", False, title, decoded._replace(text=""), notes, left_out)


def page_text(source: str, left_out: Counter[str]) -> tuple[str, str, tuple[str, ...]]:
    """Return title, text and notes of an HTML source; where no main text is found, all of its text."""
    from trafilatura import extract
    from trafilatura.metadata import extract_title
    from trafilatura.utils import load_html

    tree = load_html(source)
    if tree is None:
        return "", "", ()
    title = title_of(extract_title(tree))
    asked = [words for heading in tree.xpath(HEADINGS) if (words := _words(heading)) and not _is_around(heading)]
    code = _prepared(tree)
    text = extract(
        tree,
        output_format="markdown",
        include_formatting=True,
        include_comments=False,
        include_tables=True,
        favor_recall=True,
    )
    text = _unescaped(text or "")
    if len(text) < SHORT and (not text or _missing(asked, text)):
        whole = load_html(source)
        return title, markdown(whole, left_out) if whole is not None else "", ()
    found = [int(stand_in["number"]) for stand_in in STAND_IN.finditer(text)]

    def put_back(stand_in: re.Match[str]) -> str:
        begins_line = stand_in.start() == 0 or stand_in.string[stand_in.start() - 1] == "\n"
        return ("" if begins_line else "\n") + fenced(code[int(stand_in["number"])])

    text = STAND_IN.sub(put_back, text)
    left_out["code blocks"] += len(code) - len(set(found))
    missing = _missing(asked, text)
    left_out["headings"] += len(missing)
    named = ", ".join(map(repr, missing[:NAMED_HEADINGS])) + (", ..." if len(missing) > NAMED_HEADINGS else "")
    note = f"{len(missing)} of {len(asked)} headings are not in the main text: {named}"
    return title, text, (note,) if missing else ()


def _words(heading: Any) -> str:
    return one_line("".join(heading.itertext()))


def _is_around(element: Any) -> bool:
    """Tell whether an element belongs to what stands around a page's text, or is hidden."""
    return any(name_of(one) in AROUND or is_hidden(one) for one in (element, *element.iterancestors()))


def _prepared(tree: Any) -> list[str]:
    """Bring a page into a form of which trafilatura keeps headings and code; return the code that was put aside."""
    for heading in tree.xpath(HEADINGS):
        for link in [*heading.iterdescendants("a"), *heading.iterancestors("a")]:
            link.drop_tag()  # a heading that is all link counts as one of a menu
    for header in tree.xpath("//header"):
        if not _is_around(header):
            for heading in reversed(header.xpath(HEADINGS.replace("//", ".//"))):
                heading.tail = None
                header.addnext(heading)
    _put_into_main(tree)
    code: list[str] = []
    for block in tree.xpath("//pre[not(ancestor::pre)]"):
        words, tail = code_of(block), block.tail
        if not words.strip():
            continue
        block.clear()
        block.tail = tail
        inner = block.makeelement("code")
        inner.text = f"{CODE}{len(code)}x\n" + "x " * (len(words) // 2 + 1)  # lengths decide what is main text
        block.append(inner)
        code.append(words)
    return code


def _put_into_main(tree: Any) -> None:
    """Mark the whole body as main text where nothing is marked; give a main text without a first heading the page's."""
    found = tree.xpath(MAIN)
    body = tree.find("body")
    if not found:
        if body is not None and len(body):
            article = body.makeelement("article")
            article.text, body.text = body.text, None
            article.extend(list(body))
            body.append(article)
        return
    if any(True for main in found for _ in main.iter("h1")):
        return
    first = next((one for one in tree.iter("h1") if not _is_around(one)), None)
    if first is not None:
        tail, main = first.tail, found[0]
        first.tail = None
        if tail and tail.strip():
            first.addprevious(first.makeelement("span"))
            first.getprevious().tail = tail
        main.insert(0, first)
        first.tail, main.text = main.text, None


def _unescaped(text: str) -> str:
    """Take away the backslashes that hide signs of Markdown in prose; those of code stay.

    A line that would become a heading keeps its backslash.
    """

    def plain(found: re.Match[str]) -> str:
        if found[3]:
            return found[3]
        run = len(found[1])
        return found[0] if run % 2 == 0 else "\\" * (run // 2) + found[2]

    return BLOCK_START.sub(lambda found: found[1] or found[2] or "", ESCAPED.sub(plain, text))


def _missing(asked: list[str], text: str) -> list[str]:
    """Return the headings of a page that its main text lacks."""
    kept = Counter(_folded(words) for words in MARKDOWN_HEADING.findall(text))
    missing = []
    for words in asked:
        kept[_folded(words)] -= 1
        if kept[_folded(words)] < 0:
            missing.append(words[:80])
    return missing


def _folded(words: str) -> str:
    return re.sub(r"\W+", " ", words).strip().casefold()
