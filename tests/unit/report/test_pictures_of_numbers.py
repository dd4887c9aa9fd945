"""Pictures of scores and counts: texts are texts, names are no markup, and the same numbers give the same bytes."""

import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")

from finetrail.metrics.score_distribution import summarise
from finetrail.report.plots.figure import GREEN, ORANGE, SKY, svg_figure
from finetrail.report.plots.series_picture import draw_distributions, draw_values
from finetrail.report.plots.verdict_picture import draw_verdicts

SVG = "{http://www.w3.org/2000/svg}"
SERIES = {"<a> & $b$": [1.0, 2.0, 3.0], "c": [2.0]}
Draw = Callable[[Path], None]


def drawn(draw: Draw, path: Path) -> str:
    """Draw twice, hold the two to be the same, and return the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(path)
    first = path.read_bytes()
    draw(path)
    assert path.read_bytes() == first
    return first.decode()


def texts(picture: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def bars(picture: str, colour: str) -> list[float]:
    """Return the lengths of the bars of a colour that a clip keeps inside the axes, so not those of the legend."""
    found = []
    for path in ElementTree.fromstring(picture).iter(f"{SVG}path"):
        if path.get("style") == f"fill: {colour}" and path.get("clip-path"):
            places = [float(line.split()[1]) for line in path.get("d", "").splitlines() if line[:1] in "ML"]
            found.append(max(places) - min(places))
    return found


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: draw_distributions(SERIES, path, title="<t>", measure="tokens", counted="rows"),
        lambda path: draw_values(SERIES, path, title="<t>", measure="tokens"),
    ],
    ids=["distributions", "values"],
)
def test_every_series_is_named_as_it_is(draw: Draw, tmp_path: Path) -> None:
    picture = drawn(draw, tmp_path / "p.svg")
    assert "<a>" not in picture and "<t>" not in picture
    said = texts(picture)
    assert "<t>" in said and "tokens" in said, "title and axis"
    for name in SERIES:
        assert any(text.startswith(name) for text in said)


def test_series_without_values_or_spread_are_drawn(tmp_path: Path) -> None:
    for number, series in enumerate(({}, {"a": []}, {"a": [5, 5]})):
        path = tmp_path / f"{number}.svg"
        assert drawn(
            lambda path, one=series: draw_distributions(one, path, title="t", measure="m", counted="c"),  # type: ignore[misc]
            path,
        )


def test_each_bin_of_scores_has_a_bar_in_the_colour_of_its_verdict(tmp_path: Path) -> None:
    summary = summarise([0.5, 7.5, 9.5, 9.6], 8.0, 7.0)
    picture = drawn(lambda path: draw_verdicts(summary, "a & b", path), tmp_path / "p.svg")
    good, doubtful, bad = (bars(picture, colour) for colour in (GREEN, SKY, ORANGE))
    assert good == [0.0, pytest.approx(2 * doubtful[0], rel=1e-3)]
    assert bad == [pytest.approx(doubtful[0], rel=1e-3), *[0.0] * 6]
    assert {"a & b", "2 (50.0%)", "9-10", "PASS", "NEEDS_REVIEW", "FAIL"} <= set(texts(picture))


def test_a_share_in_the_picture_is_rounded_once(tmp_path: Path) -> None:
    """836 of 1,003 are 83.3499 %, which six digits of the share turn into 83.35."""
    summary = summarise([9.0] * 836 + [7.0] * 167, 8.0, 7.0)
    assert "836 (83.3%)" in texts(drawn(lambda path: draw_verdicts(summary, "t", path), tmp_path / "p.svg"))


def test_a_picture_that_fails_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "p.svg"
    with pytest.raises(ValueError, match="broken"), svg_figure(path, "t", shows="s"):
        raise ValueError("broken")
    assert not path.exists()


def test_a_picture_says_what_it_shows(tmp_path: Path) -> None:
    with svg_figure(tmp_path / "p.svg", "A title", shows="Nothing & more."):
        pass
    picture = (tmp_path / "p.svg").read_text()
    assert "<title>A title</title>" in picture and "Nothing &amp; more." in picture
