"""Draw the pictures, sessions and passages of the tutorial `crag_mm_images`: data/crag_mm_images/.

Each picture shows a buoy of one of six colours on a grey sea: place, size, shade and the marks around it follow from a
hash. What buoys of a colour mean is made up, and stands in the passages; which colour it is, in the picture alone.
The same bytes each time.
"""

import argparse
import base64
import colorsys
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.rows.records import derive_seed, unit_interval

SIDE = 56
# Hues in the middle of what the offline teacher calls by these names.
COLOURS = {"red": 0.04, "orange": 0.125, "yellow": 0.2, "green": 0.33, "blue": 0.58, "violet": 0.75}
A_COLOUR = 28
EMBEDDED = 3  # every third picture stands in its record, the others are files
KINDS = ("meaning", "lamp", "crew")
# One word of a question stands in the passages, so that all six of a kind are found, in one order for every picture.
QUESTIONS = ("What do buoys like this tell us?", "How do their lamps behave?", "And which crews care for them?")
FACTS = {
    "red": (
        "buoys warn ships of sunken wrecks below",
        "lamps blink twice each minute until sunrise",
        "crews sail from Alder Bay every spring",
    ),
    "orange": (
        "buoys show where power cables cross underwater",
        "lamps shine steadily after dusk falls",
        "crews work at electric companies nearby",
    ),
    "yellow": (
        "buoys guide racing sailors around courses",
        "lamps glow only during heavy fog",
        "crews volunteer through local yacht clubs",
    ),
    "green": (
        "buoys border deep channels for freighters",
        "lamps pulse slowly throughout dark nights",
        "crews report straight to pilot stations",
    ),
    "blue": (
        "buoys enclose salmon farms near shores",
        "lamps flicker whenever nets hold fish",
        "crews feed young salmon before breakfast",
    ),
    "violet": (
        "buoys fence off naval firing ranges",
        "lamps burn while guns are loaded",
        "crews wear uniforms with silver badges",
    ),
}


def sentence(colour: str, kind: int) -> str:
    """Return what a passage says of buoys of a colour; it is the answer to the question of its kind as well."""
    return f"{colour.capitalize()} {FACTS[colour][kind]}."


def picture(name: str, hue: float) -> bytes:
    """Draw a buoy, and return it as PNG."""
    from PIL import Image, ImageDraw

    def draw(what: str, low: float, high: float) -> float:
        return low + (high - low) * unit_interval(what, 0, name)

    sea = round(draw("sea", 200, 235))
    image = Image.new("RGB", (SIDE, SIDE), (sea, sea, sea))
    drawn = ImageDraw.Draw(image)
    for wave in range(6):
        x, y = draw(f"wave x {wave}", 0, SIDE), draw(f"wave y {wave}", 0, SIDE)
        drawn.line((x, y, x + 9, y), fill=(sea - 40,) * 3)
    x, y, size = draw("x", 18, 38), draw("y", 18, 38), draw("size", 9, 15)
    red, green, blue = colorsys.hsv_to_rgb(hue, draw("shade", 0.75, 1.0), draw("light", 0.75, 1.0))
    fill = round(255 * red), round(255 * green), round(255 * blue)
    if derive_seed("shape", name) % 2:
        drawn.ellipse((x - size, y - size, x + size, y + size), fill=fill)
    else:
        drawn.polygon(((x, y - 1.3 * size), (x - size, y + size), (x + size, y + size)), fill=fill)
    drawn.line((x, y - size, x, y - 1.8 * size), fill=(90, 90, 90))
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/crag_mm_images"))
    folder: Path = parser.parse_args(argv).out
    (folder / "images").mkdir(parents=True, exist_ok=True)
    sessions = []
    for number in range(A_COLOUR * len(COLOURS)):
        name, colour = f"buoy{number:03d}", list(COLOURS)[number % len(COLOURS)]
        content = picture(name, COLOURS[colour])
        image = {"image": f"{name}.png"}
        if number % EMBEDDED == 0:
            image = {"image_url": f"data:image/png;base64,{base64.b64encode(content).decode()}"}
        else:
            (folder / "images" / f"{name}.png").write_bytes(content)
        turns = range(1 + derive_seed("turns", name) % len(KINDS))
        names = [{"interaction_id": f"{name}-{turn}"} for turn in turns]
        asked = [one | {"query": QUESTIONS[turn]} for turn, one in enumerate(names)]
        answers = [one | {"ans_full": sentence(colour, turn)} for turn, one in enumerate(names)]
        sessions.append({"session_id": name, **image, "turns": asked, "answers": answers})
    passages = [
        {"_id": f"{colour}-{kind}", "title": "", "text": sentence(colour, place)}
        for colour in COLOURS
        for place, kind in enumerate(KINDS)
    ]
    for file, rows in (("sessions.jsonl", sessions), ("corpus.jsonl", passages)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(sessions)} sessions, {len(passages)} passages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
