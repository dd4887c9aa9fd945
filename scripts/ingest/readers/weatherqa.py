"""Reader for illustrated forecasts: cases with a discussion and the charts that it was written from.

Recognised file by file, and case by case: WeatherQA's rows (``{case: {para_paths, annotations, time}}``, with charts
named ``md<serial>_<yyyymmdd>_<hh>_<parameter>.gif``), augmented cases (``{global_summary, elements}``, in a list, by
name, or one a line), and text products of the Weather Service, whose charts are found by that name. A chart's class is
the parameter in its file's name, whatever the folder is called.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from finetrail.rows.problems import Problems, lines
from finetrail.rows.records import Row, content_id, sha256_file
from finetrail.text.sentences import sentences
from ingest.readers.discussion_text import annotation_of, read_discussion, split_annotation
from ingest.readers.images import RowError

HINT = "Mend or remove these cases; nothing was written"
NAMED = re.compile(r"^(?P<case>(?:md|mpd)\d{4})_(?P<day>\d{8})_(?P<hour>\d\d)_(?P<parameter>[A-Za-z0-9]+)$")
DATED = re.compile(r"(?<!\d)(?P<day>(?:19|20)\d{6})(?!\d)")
DATED_CHART = re.compile(r"^\d{8}_.+?_(?P<parameter>[A-Za-z0-9]+)(?:_animated)?$")
KINDS = (".gif", ".png", ".jpg", ".jpeg", ".webp")
CAPTION_SENTENCES = 4


class Found(NamedTuple):
    """A case as its file has it, whichever layout that is."""

    name: str
    discussion: str
    summary: str | None
    elements: Sequence[Mapping[str, Any]]
    day: str | None
    time: str | None
    extra: Mapping[str, Any]
    line: int


class Charts:
    """The images under one folder: looked up, opened once, and hashed; what is not there is an answer, no error."""

    def __init__(self, root: Path | None) -> None:
        self._root = root.resolve() if root else None
        self._named: dict[str, list[str]] | None = None

    def of(self, name: str, parameter: str | None) -> Row | str:
        """Describe a chart.

        Args:
            name: its path under the folder.
            parameter: its class, where the record says it; else it is taken from the file's name.

        Returns:
            ``{"path", "sha256", "cond_name", "frames"}``, or what is wrong with it.
        """
        if self._root is None:
            return "no images folder is configured"
        try:
            path = (self._root / name).resolve()
            inside = path.is_relative_to(self._root)
            if not inside or not path.is_file():
                return "missing" if inside else "leads out of the images folder"
            frames = _frames(path)
        except (OSError, ValueError) as error:
            return f"cannot be read: {error}"
        found = parameter or parameter_of(path)
        if found is None:
            return "its name tells no parameter"
        relative = path.relative_to(self._root).as_posix()
        return {"path": relative, "sha256": sha256_file(path), "cond_name": found, "frames": frames}

    def named(self, case: str, day: str) -> list[str]:
        """Return the charts of a case by their files' names, in order."""
        if self._named is None:
            self._named = {}
            for path in sorted(self._root.rglob("*")) if self._root else []:
                match = NAMED.match(path.stem)
                if match and path.suffix.lower() in KINDS and self._root:
                    key = f"{match['case']}_{match['day']}"
                    self._named.setdefault(key, []).append(path.relative_to(self._root).as_posix())
        return self._named.get(f"{case}_{day}", [])


def parameter_of(path: Path) -> str | None:
    """Return the parameter that a chart's file name ends with; None where it has no such form."""
    match = NAMED.match(path.stem) or DATED_CHART.match(path.stem)
    return match["parameter"].lower() if match else None


def _frames(path: Path) -> int:
    from PIL import Image

    with Image.open(path) as opened:
        opened.load()
        return int(getattr(opened, "n_frames", 1))


def read_records(files: Sequence[Path], *, images_root: Path | None) -> Iterator[Row]:
    """Stream one record a case. A corrected product takes the place of what it corrects; charts that are missing are
    listed in the record.

    Raises:
        FinetrailError: after the last case, if any case or file is bad; it lists them all (20 in full).
    """
    problems = Problems("cases")
    charts = Charts(images_root)
    texts = [path for path in files if path.suffix.lower() == ".txt"]
    seen: dict[str, str] = {}
    for path in files:
        if path in texts:
            continue
        for found in _cases(path, problems):
            where = f"{path}:{found.line} ({found.name})"
            if found.name in seen:
                problems.add(where, f"the case is in {seen[found.name]} already")
                continue
            seen[found.name] = path.name
            yield _record(found, path, charts)
    for path, found in _products(texts, charts, problems):
        if found.name in seen:
            problems.add(f"{path} ({found.name})", f"the case is in {seen[found.name]} already")
            continue
        yield _record(found, path, charts)
    problems.raise_any(HINT)


def _record(found: Found, path: Path, charts: Charts) -> Row:
    """Make a record: what is said of each chart, and what cannot be shown."""
    images: list[Row] = []
    missing: list[Row] = []
    for element in found.elements:
        chart = charts.of(element["path"], element.get("cond_name"))
        if isinstance(chart, str):
            missing.append({"path": element["path"], "reason": chart})
        else:
            images.append(chart | {"caption": element.get("caption")})
    days = [match["day"] for image in images if (match := DATED.search(Path(image["path"]).name))]
    day = found.day or min(days, default=None)
    year = day[:4] if day else (found.name[:4] if re.match(r"(19|20)\d\d_", found.name) else None)
    return {
        "id": content_id("case", found.name, found.discussion, found.summary or ""),
        "group_keys": {"case": found.name, "day": day},
        "session_id": found.name,
        "turn": 0,
        "question": "",
        "answer": found.summary or "",
        "image": None,
        "history": [],
        "case": {
            "name": found.name,
            "discussion": found.discussion,
            "summary": found.summary,
            "time": found.time,
            "images": images,
            "missing": missing,
        },
        "origin": {"file": path.name, "line": found.line},
        "extra": {"year": year, **found.extra},
    }


def _cases(path: Path, problems: Problems) -> Iterator[Found]:
    """Yield the cases of a JSON or JSON Lines file."""
    for name, row, line in _rows(path, problems):
        try:
            yield _augmented(name, row, line) if "elements" in row else _original(name, row, line)
        except RowError as error:
            for cause in error.causes:
                problems.add(f"{path}:{line} ({name})", cause)


def _rows(path: Path, problems: Problems) -> Iterator[tuple[str, Row, int]]:
    """Yield name, content and line of each case; cases of one JSON value are counted from 1."""
    if path.suffix.lower() == ".jsonl":
        for line in lines(path, problems):
            if line.row.keys() & {"elements", "para_paths"}:
                yield _name_of(line.row, path, line.number), line.row, line.number
                continue
            for name, row in line.row.items():
                yield name, row if isinstance(row, dict) else {}, line.number
        return
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        problems.add(str(path), f"cannot be read: {error}")
        return
    if isinstance(content, dict) and "elements" in content:
        content = [content]
    if isinstance(content, list):
        content = {_name_of(row, path, number): row for number, row in enumerate(content, start=1)}
    if not isinstance(content, dict) or not content:
        problems.add(str(path), "holds no cases: expected an object or a list of objects")
        return
    for number, (name, row) in enumerate(content.items(), start=1):
        yield name, row if isinstance(row, dict) else {}, number


def _name_of(row: object, path: Path, number: int) -> str:
    """Return the name of a case in a list; its place where it has none."""
    named = (row.get("case") or row.get("id")) if isinstance(row, dict) else None
    return str(named or f"{path.stem}:{number}")


def _original(name: str, row: Row, line: int) -> Found:
    paths, text = row.get("para_paths"), row.get("annotations", "")
    causes = (
        []
        if isinstance(paths, list) and all(isinstance(one, str) for one in paths) and paths
        else ["neither `elements` nor `para_paths` is a list of charts"]
    )
    causes += [] if isinstance(text, str) else ["`annotations` is no text"]
    if causes:
        raise RowError(*causes)
    summary, whole = split_annotation(text)
    extra = {key: value for key, value in row.items() if key not in ("para_paths", "annotations", "time")}
    elements = [{"path": one.removeprefix("./")} for one in paths or []]
    return Found(name, whole, summary, elements, None, row.get("time"), extra, line)


def _augmented(name: str, row: Row, line: int) -> Found:
    summary, listed = row.get("global_summary"), row["elements"]
    causes = [] if isinstance(summary, str) and summary.strip() else ["`global_summary` is missing or empty"]
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise RowError(*causes, "`elements` is no list of objects")
    elements = []
    for number, one in enumerate(listed, start=1):
        path, caption, parameter = one.get("image_rel_path"), one.get("caption"), one.get("cond_name")
        if not isinstance(path, str) or not isinstance(caption, str) or not isinstance(parameter, str):
            causes.append(f"element {number} has no texts image_rel_path, cond_name and caption")
            continue
        count = len(sentences(caption))
        if count != CAPTION_SENTENCES:
            causes.append(f"element {number} ({parameter}): its caption has {count} sentences, not {CAPTION_SENTENCES}")
        elements.append({"path": path.removeprefix("./"), "cond_name": parameter, "caption": caption})
    if causes:
        raise RowError(*causes)
    extra = {key: value for key, value in row.items() if key not in ("global_summary", "elements", "case", "id")}
    return Found(name, "", " ".join(str(summary).split()), elements, None, None, extra, line)


def _products(paths: Sequence[Path], charts: Charts, problems: Problems) -> Iterator[tuple[Path, Found]]:
    """Yield the text products, of each number the latest one."""
    latest: dict[str, tuple[Path, Any]] = {}
    replaced: dict[str, list[str]] = {}
    for path in paths:
        try:
            product = read_discussion(path.read_text(encoding="utf-8", errors="replace"))
        except (OSError, RowError) as error:
            problems.add(str(path), str(error))
            continue
        before = latest.get(product.case)
        newer = before is None or (product.correction is not None, product.begins) >= (
            before[1].correction is not None,
            before[1].begins,
        )
        if before is not None:
            replaced.setdefault(product.case, []).append((before[0] if newer else path).name)
        if newer:
            latest[product.case] = (path, product)
    for case, (path, product) in latest.items():
        day = product.begins.strftime("%Y%m%d")
        elements = [{"path": name} for name in charts.named(case.partition("_")[2], day)]
        extra = {"corrects": replaced.get(case, []), "correction": product.correction, "areas": product.areas}
        time = product.begins.strftime("%m / %d, %HUTC")
        yield path, Found(case, annotation_of(product), product.summary, elements, day, time, extra, 1)
