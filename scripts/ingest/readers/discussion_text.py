"""Mesoscale discussions of the US National Weather Service, as text products of any age.

Read from https://www.weather.gov/documentation and the products themselves: control characters around the text (SOH,
RS, CR, ETX, and `^^` where a gateway spelled one out), upper case until 2016, lines of 69 characters, sections that a
name and three dots begin, corrections (`COR` in the header, `CORRECTED FOR ...`), and no summary in some.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ingest.readers.images import RowError

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\^\^")
NUMBER = re.compile(r"^MESOSCALE (?P<rain>PRECIPITATION )?DISCUSSION (?P<number>\d+)", re.I | re.M)
ISSUED = re.compile(
    r"^(?P<clock>\d{3,4}) (?P<half>[AP]M) \w{3,4} \w{3} (?P<month>\w{3}) (?P<day>\d\d?) (?P<year>\d{4})", re.I | re.M
)
VALID = re.compile(r"^VALID (?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)Z - \d{6}Z", re.I | re.M)
HEADER_CORRECTION = re.compile(r"^(?:\w{6} \w{4} \d{6} CC[A-Z]|.*MCD \d{6} COR)\s*$", re.M)
CORRECTED = re.compile(r"^CORRECTED FOR (?P<what>.*)$", re.I | re.M)
SECTION = re.compile(
    r"^(?P<name>AREAS AFFECTED|CONCERNING|PROBABILITY OF WATCH ISSUANCE|SUMMARY|DISCUSSION)\.\.\.", re.I | re.M
)
END = re.compile(r"^(?:\.\..+\.\.\s+\d\d/\d\d/\d{4}|\.\.\.PLEASE SEE .*|ATTN\.\.\..*|LAT\.\.\.LON.*)$", re.I | re.M)
POLYGON = re.compile(r"^LAT\.\.\.LON\s+(?P<points>(?:\d{8}\s*)+)", re.M)
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class Discussion(NamedTuple):
    """A discussion and what it says of itself.

    Attributes:
        kind: ``md`` (Storm Prediction Center) or ``mpd`` (Weather Prediction Center).
        number: within its year.
        begins: when it begins to be valid, in UTC.
        correction: what a correction corrects; None of a first issue.
        areas, concerning, probability, summary: as named; None where the product has no such section.
        discussion: the reasoning.
        points: corners of the area, as (latitude north, longitude west) in degrees.
    """

    kind: str
    number: int
    begins: datetime
    correction: str | None
    areas: str | None
    concerning: str | None
    probability: str | None
    summary: str | None
    discussion: str
    points: list[tuple[float, float]]

    @property
    def case(self) -> str:
        """The name of the case, as the data set names it."""
        return f"{self.begins.year}_{self.kind}{self.number:04d}"


def read_discussion(text: str) -> Discussion:
    """Read one product.

    Raises:
        RowError: it is no mesoscale discussion: no number, no time, or no text.
    """
    plain = "\n".join(
        line.rstrip() for line in CONTROL.sub("", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    )
    named = NUMBER.search(plain)
    if named is None:
        raise RowError("no line `MESOSCALE DISCUSSION <number>`: this is no mesoscale discussion")
    begins = _begins(plain)
    sections = _sections(plain)
    body = sections.get("discussion") or _unnamed(plain)
    if not body:
        raise RowError("the product has no text behind its header")
    corrected = CORRECTED.search(plain)
    correction = corrected["what"].strip().lower() if corrected else None
    if correction is None and HEADER_CORRECTION.search(plain):
        correction = "not said"
    return Discussion(
        kind="mpd" if named["rain"] else "md",
        number=int(named["number"]),
        begins=begins,
        correction=correction,
        areas=sections.get("areas affected"),
        concerning=sections.get("concerning"),
        probability=sections.get("probability of watch issuance"),
        summary=sections.get("summary"),
        discussion=body,
        points=_points(plain),
    )


def annotation_of(discussion: Discussion) -> str:
    """Write a discussion as the data set's `annotations` do: the sections in one line."""
    named = {
        "Areas affected": discussion.areas,
        "Concerning": discussion.concerning,
        "Probability of Watch Issuance": discussion.probability,
        "SUMMARY": discussion.summary,
        "DISCUSSION": discussion.discussion,
    }
    return " ".join(f"{name}...{text}" for name, text in named.items() if text)


def split_annotation(text: str) -> tuple[str | None, str]:
    """Return the summary of an annotation, None where it has none, and the whole in one line."""
    whole = " ".join(CONTROL.sub("", text).split())
    found = re.search(r"\bSUMMARY\.\.\.(?P<text>.*?)(?=\bDISCUSSION\.\.\.|$)", whole, re.I)
    return (found["text"].strip() or None) if found else None, whole


def _begins(plain: str) -> datetime:
    """Find the day whose number the valid time has, next to the day of issue; months and years may end between."""
    issued, valid = ISSUED.search(plain), VALID.search(plain)
    if issued is None or valid is None:
        missing = "time of issue" if issued is None else "line `VALID ddhhmmZ - ddhhmmZ`"
        raise RowError(f"the product has no {missing}")
    try:
        day = datetime(int(issued["year"]), MONTHS.index(issued["month"].upper()) + 1, int(issued["day"]), tzinfo=UTC)
        near = [day + timedelta(days=shift) for shift in (0, 1, -1)]
        (found, *_) = [moment for moment in near if moment.day == int(valid["day"])]
        return found.replace(hour=int(valid["hour"]), minute=int(valid["minute"]))
    except ValueError as error:
        raise RowError(f"its times do not fit together: {issued[0]!r} and {valid[0]!r}") from error


def _sections(plain: str) -> dict[str, str]:
    """Cut the product at the names of its sections and at what ends its text."""
    starts = list(SECTION.finditer(plain))
    sections: dict[str, str] = {}
    for found, after in zip(starts, [*starts[1:], None], strict=True):
        piece = plain[found.end() : after.start() if after else len(plain)]
        text = _one_line(END.split(piece)[0], first_only=found["name"].upper() not in ("SUMMARY", "DISCUSSION"))
        if text:
            sections.setdefault(found["name"].lower(), text)
    return sections


def _unnamed(plain: str) -> str:
    """Return the text of a product that names no discussion: what follows its valid time."""
    valid = VALID.search(plain)
    return _one_line(END.split(plain[valid.end() :])[0]) if valid else ""


def _one_line(text: str, *, first_only: bool = False) -> str:
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    if not first_only:
        # A name alone is the forecaster's.
        signed = len(paragraphs) > 1 and paragraphs[-1].replace("/", "").isalpha()
        return " ".join(paragraphs[:-1] if signed else paragraphs).strip()
    # Some products leave the blank line out before the valid time.
    return re.split(r" VALID \d", paragraphs[0], flags=re.I)[0].strip(" .")


def _points(plain: str) -> list[tuple[float, float]]:
    """Read corners as eight digits: hundredths of degrees north and west, the hundred left out of longitudes."""
    found = POLYGON.search(plain)
    pairs = [(int(word[:4]) / 100, int(word[4:]) / 100) for word in found["points"].split()] if found else []
    return [(north, west if west > 50 else west + 100) for north, west in pairs]
