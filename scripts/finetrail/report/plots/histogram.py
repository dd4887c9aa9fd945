"""Distributions of several series as numbers and as a picture: one row of bars each, the same bytes each time."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from finetrail.errors import FinetrailError

BINS = 24
PERCENTS = (0, 5, 50, 95, 100)
WIDTH, LEFT, ROW_HEIGHT, TOP = 640, 130, 64, 36
COLOURS = ("#2a6f97", "#c98a1b", "#2a7f4f", "#b23b3b", "#6a4c93", "#555555")


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return mean, minimum, 5 %, median, 95 % and maximum (nearest rank).

    Raises:
        FinetrailError: there is no value.
    """
    if not values:
        raise FinetrailError("there are no values to describe")
    ordered = sorted(values)
    ranks = {f"p{percent}": ordered[round(percent / 100 * (len(ordered) - 1))] for percent in PERCENTS}
    return {"mean": round(sum(values) / len(values), 4), **ranks}


def as_svg(series: Mapping[str, Sequence[float]], title: str, counted: str) -> str:
    """Draw the distribution of each series over one common axis.

    Args:
        series: name → values.
        title: what the values are.
        counted: what is counted.
    """
    values = [value for one in series.values() for value in one]
    low, high = min(values, default=0), max(values, default=1)
    span = (high - low) or 1
    height = TOP + ROW_HEIGHT * len(series) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    wide = (WIDTH - LEFT - 20) / BINS
    for row, (name, own) in enumerate(series.items()):
        bottom = TOP + ROW_HEIGHT * (row + 1) - 8
        bins = [0] * BINS
        for value in own:
            bins[min(BINS - 1, int(BINS * (value - low) / span))] += 1
        most = max(bins) or 1
        parts.append(f'<text x="{LEFT - 8}" y="{bottom - 10}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{bottom + 4}" text-anchor="end" fill="#777">{len(own)} {escape(counted)}</text>'
        )
        for number, count in enumerate(bins):
            if count:
                tall = round((ROW_HEIGHT - 18) * count / most, 1)
                left = round(LEFT + number * wide, 1)
                colour = COLOURS[row % len(COLOURS)]
                box = f'x="{left}" y="{bottom - tall}" width="{round(wide - 1, 1)}" height="{tall}"'
                parts.append(f'<rect {box} fill="{colour}"/>')
    end = TOP + ROW_HEIGHT * len(series) + 14
    parts.append(f'<text x="{LEFT}" y="{end}">{low:g}</text>')
    parts.append(f'<text x="{WIDTH - 20}" y="{end}" text-anchor="end">{high:g}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def points_svg(series: Mapping[str, Sequence[float]], title: str) -> str:
    """Draw the values of each series one after the other, as points; all have the same rows in the same order."""
    values = [value for one in series.values() for value in one]
    low, high = min([0.0, *values]), max([1.0, *values])
    count = max((len(one) for one in series.values()), default=1)
    height, bottom = 320, 280
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>',
        f'<line x1="40" y1="{bottom}" x2="{WIDTH - 10}" y2="{bottom}" stroke="#999"/>',
        f'<text x="34" y="{bottom}" text-anchor="end">{low:g}</text>',
        f'<text x="34" y="{TOP + 4}" text-anchor="end">{high:g}</text>',
    ]
    for number, (name, own) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for place, value in enumerate(own):
            x = round(44 + (WIDTH - 60) * (place + 0.5) / count, 1)
            y = round(bottom - (bottom - TOP) * (value - low) / (high - low), 1)
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}" fill-opacity="0.7"/>')
        parts.append(f'<text x="{44 + 110 * number}" y="{height - 10}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
