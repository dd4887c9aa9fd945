"""Office equations (OMML, ECMA-376 part 1, chapter 22.1) on one line, as they are typed."""

from collections.abc import Callable
from typing import Any, NamedTuple

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
SUM = "\u222b"  # what an operator without a sign stands for
DEEPEST = 40  # levels of one equation


def linear(item: Any, depth: int = 0) -> str:
    """Return an equation, or a part of one, on one line.

    Raises:
        ValueError: it is nested too deeply.
    """
    if depth > DEEPEST:
        raise ValueError("an equation is nested too deeply")
    return "".join(_part(child, depth + 1) for child in item if isinstance(child.tag, str))


def _part(item: Any, depth: int) -> str:
    name = item.tag.removeprefix(M)
    if name == "r":
        return "".join(text.text or "" for text in item.iter(M + "t"))
    if name.endswith("Pr"):
        return ""
    form = FORMS.get(name)
    return form(_Parts(item, depth)) if form else linear(item, depth)


class _Parts(NamedTuple):
    """The parts of a fraction, a root, a sum and so on, by their names."""

    item: Any
    depth: int

    def of(self, name: str) -> str:
        """Return a part on one line; empty where it is not there."""
        held = self.item.find(M + name)
        return linear(held, self.depth) if held is not None else ""

    def each(self, name: str) -> list[str]:
        """Return all parts of a name."""
        return [linear(held, self.depth) for held in self.item.findall(M + name)]

    def sign(self, place: str, usual: str) -> str:
        """Return the sign that a property names."""
        found = self.item.find("/".join(M + name for name in place.split("/")))
        return str(found.get(M + "val", "")) if found is not None else usual


def _scripts(parts: _Parts) -> str:
    return parts.of("e") + _raised(parts.of("sub"), parts.of("sup"))


def _operator(parts: _Parts) -> str:
    return f"{parts.sign('naryPr/chr', SUM)}{_raised(parts.of('sub'), parts.of('sup'))} {parts.of('e')}"


def _brackets(parts: _Parts) -> str:
    return parts.sign("dPr/begChr", "(") + ", ".join(parts.each("e")) + parts.sign("dPr/endChr", ")")


def _matrix(parts: _Parts) -> str:
    return "; ".join(", ".join(_Parts(row, parts.depth).each("e")) for row in parts.item.findall(M + "mr"))


FORMS: dict[str, Callable[[_Parts], str]] = {
    "f": lambda parts: f"{_whole(parts.of('num'))}/{_whole(parts.of('den'))}",
    "sSup": _scripts,
    "sSub": _scripts,
    "sSubSup": _scripts,
    "rad": lambda parts: f"{_raised('', parts.of('deg'))}√{_whole(parts.of('e'))}",
    "nary": _operator,
    "d": _brackets,
    "m": _matrix,
    "func": lambda parts: f"{parts.of('fName')} {parts.of('e')}",
}


def _raised(low: str, high: str) -> str:
    return (f"_{_whole(low)}" if low else "") + (f"^{_whole(high)}" if high else "")


def _whole(text: str) -> str:
    """Put what is more than one word into brackets."""
    return text if text.isalnum() else f"({text})"
