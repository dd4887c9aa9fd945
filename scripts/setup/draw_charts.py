"""Draw synthetic weather charts for bundled discussions: data/weatherqa/images/<year>/<parameter>/….gif.

Each chart shows the area of a real discussion (its LAT...LON corners) and a made-up field of one parameter: colours and
signs belong to the parameter, the place and the size of the strongest shading to a hash of case and parameter. They say
SYNTHETIC, and so do their files' comments. The same discussions give the same bytes.
"""

import argparse
import colorsys
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.rows.records import derive_seed, unit_interval
from ingest.readers.discussion_text import Discussion, read_discussion

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

PARAMETERS = (
    "bigsfc", "effh", "epvl", "fzlv", "laps", "lclh", "lllr", "mcon", "mcsm", "pchg",
    "rgnlrad", "sbcp", "scp", "shr6", "srh1", "stor", "swbt", "tadv", "thea", "ttd",
)  # fmt: skip
WIDTH, HEIGHT, MARGIN = 240, 180, 24
RINGS = 4
Point = tuple[float, float]


def area_on_chart(points: Sequence[Point]) -> list[Point]:
    """Map corners (degrees north and west) onto the inner part of the chart, north up."""
    norths, wests = [north for north, _ in points], [west for _, west in points]
    scale = max(max(norths) - min(norths), max(wests) - min(wests)) or 1.0
    wide, high = WIDTH - 4 * MARGIN, HEIGHT - 3 * MARGIN
    return [
        (2 * MARGIN + (max(wests) - west) / scale * wide, 1.5 * MARGIN + (max(norths) - north) / scale * high)
        for north, west in points
    ]


def colour(parameter: str, ring: int) -> tuple[int, int, int]:
    """Return the colour of a ring of shading, 0 the weakest; hues differ among parameters."""
    hue = PARAMETERS.index(parameter) * 0.618034 % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.35 + 0.2 * ring, 1.0 - 0.08 * ring)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_chart(discussion: Discussion, parameter: str, path: Path) -> None:
    """Write one chart."""
    from PIL import Image, ImageDraw, ImageFont

    case = f"{discussion.case} {parameter}"
    place = derive_seed("place of the field", case) % 9
    centre = (
        WIDTH * (1 + 2 * (place % 3)) / 6 + 16 * (unit_interval("x", 0, case) - 0.5),
        HEIGHT * (1 + 2 * (place // 3)) / 6 + 12 * (unit_interval("y", 0, case) - 0.5),
    )
    radius = 18 + 22 * unit_interval("size of the field", 0, case)
    chart = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    drawn = ImageDraw.Draw(chart)
    for ring in range(RINGS):
        shrink = radius * (RINGS - ring) / RINGS
        box = (centre[0] - 1.4 * shrink, centre[1] - shrink, centre[0] + 1.4 * shrink, centre[1] + shrink)
        drawn.ellipse(box, fill=colour(parameter, ring))
    _draw_signs(drawn, parameter, derive_seed("signs", parameter))
    if discussion.points:
        drawn.polygon(area_on_chart(discussion.points), outline=(90, 90, 90))
    drawn.rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=(60, 60, 60))
    drawn.text((4, HEIGHT - 14), "SYNTHETIC", fill=(120, 120, 120), font=ImageFont.load_default_imagefont())
    path.parent.mkdir(parents=True, exist_ok=True)
    palette: Any = Image.Palette.ADAPTIVE
    chart.convert("P", palette=palette, colors=32).save(path, comment=f"synthetic chart of {case}".encode())


def _draw_signs(drawn: "ImageDraw", parameter: str, seed: int) -> None:
    """Draw what tells the parameter beside its hue: lines at an angle, barbs or rings, in one grey."""
    kind, angle = PARAMETERS.index(parameter) % 4, math.pi * (seed % 180) / 180
    along = (math.cos(angle), math.sin(angle))
    for row in range(3):
        for column in range(4):
            x, y = WIDTH * (column + 0.5) / 4, HEIGHT * (row + 0.5) / 3
            end = (x + 10 * along[0], y + 10 * along[1])
            if kind == 0:
                drawn.ellipse((x - 4, y - 4, x + 4, y + 4), outline=(150, 150, 150))
                continue
            drawn.line((x, y, *end), fill=(150, 150, 150), width=1 + (kind == 2))
            if kind == 3:
                drawn.line((*end, end[0] - 4 * along[1], end[1] + 4 * along[0]), fill=(150, 150, 150))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw all charts of the given discussions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("discussions", type=Path, nargs="+", help="text products")
    parser.add_argument("--images", type=Path, required=True, help="the images folder")
    args = parser.parse_args(argv)
    read = [read_discussion(path.read_text(encoding="utf-8")) for path in args.discussions]
    cases = {one.case: one for one in sorted(read, key=lambda one: (one.case, one.begins))}
    drawn = 0
    for discussion in cases.values():
        stem = f"{discussion.kind}{discussion.number:04d}_{discussion.begins:%Y%m%d_%H}"
        for parameter in PARAMETERS:
            folder = args.images / str(discussion.begins.year) / parameter
            draw_chart(discussion, parameter, folder / f"{stem}_{parameter}.gif")
            drawn += 1
    print(f"{drawn} charts of {len(cases)} discussions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
