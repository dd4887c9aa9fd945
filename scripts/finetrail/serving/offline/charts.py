"""How the offline teacher describes a chart: by where its coloured pixels are, and which colour most of them have.

It reads pixels and knows no weather: what the pattern means is said in the words that the prompt has for the parameter.
"""

import colorsys
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from finetrail.serving.offline.sections import UnknownRequest, section
from finetrail.serving.offline.words import coverage, sentences, stems
from finetrail.vision.rgb import as_rgb

SIDE = 60  # pixels of the picture that is looked at
LEAST_COLOUR = 0.2  # saturation from which a pixel is coloured
STRONG = 0.75  # of the largest saturation: where the shading is strongest
BROAD = 0.12  # share of the chart that a broad area covers
LONGEST = 28  # words of a sentence that is quoted
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")
HUES = ("red", "orange", "yellow", "green", "green", "teal", "blue", "blue", "violet", "violet", "pink", "red")


def describe_image(prompt: str, images: Sequence[bytes]) -> dict[str, Any]:
    """Two sentences of what is seen, and one of what it is said to mean.

    Raises:
        UnknownRequest: there is not exactly one image, or it cannot be decoded.
    """
    if len(images) != 1:
        raise UnknownRequest(f"expected one image, found {len(images)}")
    name, _, meaning = section(prompt, "parameter").partition(":")
    meaning = meaning.strip() or name.strip()
    coloured = _coloured(images[0])
    physical = f"Such a pattern of {meaning} marks where the air favours storms most."
    if not coloured:
        plain = "No coloured area stands out on the chart."
        return {"visual_1": plain, "visual_2": "Lines and signs are all that it shows.", "physical": physical}
    share = len(coloured) / (SIDE * SIDE)
    most = max(saturation for _, _, _, saturation in coloured)
    strongest = [(x, y) for x, y, _, saturation in coloured if saturation >= STRONG * most]
    across = sum(x for x, _ in strongest) / len(strongest)
    down = sum(y for _, y in strongest) / len(strongest)
    place = f"{ROWS[min(2, int(3 * down / SIDE))]} {COLUMNS[min(2, int(3 * across / SIDE))]}"
    colour = _name(coloured)
    size = "broad" if share >= BROAD else "compact"
    return {
        "visual_1": f"A {size} area of {colour} shading lies in the {place} of the chart.",
        "visual_2": f"The {colour} deepens toward the {place}, and the rest of the map stays pale.",
        "physical": physical,
    }


def main_colour(content: bytes) -> str | None:
    """Return the name of the colour that most coloured pixels of an image have; None for one in grey.

    Raises:
        UnknownRequest: it cannot be decoded.
    """
    coloured = _coloured(content)
    return _name(coloured) if coloured else None


def _name(coloured: Sequence[tuple[int, int, float, float]]) -> str:
    counts = Counter(HUES[int(12 * hue) % 12] for _, _, hue, _ in coloured).most_common()
    return min(name for name, count in counts if count == counts[0][1])


def _coloured(content: bytes) -> list[tuple[int, int, float, float]]:
    """Return x, y, hue and saturation of the coloured pixels, of the picture made small."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as opened:
            small = as_rgb(opened).resize((SIDE, SIDE))
    except (OSError, ValueError) as error:
        raise UnknownRequest(f"the image cannot be decoded: {error}") from error
    found = []
    raw = small.tobytes()
    for place in range(SIDE * SIDE):
        red, green, blue = (raw[3 * place + part] / 255 for part in range(3))
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        if saturation >= LEAST_COLOUR and value >= LEAST_COLOUR:
            found.append((place % SIDE, place // SIDE, hue, saturation))
    return found


def link_sentence(prompt: str, seed: int | None) -> dict[str, Any]:
    """Name the parameter beside the sentence of the discussion that shares most words with the caption."""
    meaning, caption = section(prompt, "parameter"), section(prompt, "caption")
    told = _told(section(prompt, "discussion"))
    wanted = stems(f"{meaning} {caption}")
    best = max(told, key=lambda text: (round(coverage(wanted, stems(text)), 6), -told.index(text)), default="")
    return {
        "link": f"This bears on the discussion, where {_quoted(best)}." if best else "The discussion is silent on it."
    }


def summary(prompt: str, seed: int | None) -> dict[str, Any]:
    """The discussion's own summary where it has one, else its first sentence."""
    text = section(prompt, "discussion")
    _, found, own = text.partition("SUMMARY...")
    own = own.partition("DISCUSSION...")[0] if found else text.partition("DISCUSSION...")[2] or text
    told = [" ".join(piece.split()) for piece in sentences(own)]
    return {"summary": " ".join(told[: 3 if found else 1])}


def _told(text: str) -> list[str]:
    _, _, body = text.partition("SUMMARY...")
    return [piece for piece in sentences((body or text).replace("DISCUSSION...", " ")) if len(piece.split()) > 3]


def _quoted(sentence: str) -> str:
    """Make a sentence a clause: no full stop inside, and not too long."""
    words = sentence.replace("...", ", ").split()[:LONGEST]
    clause = " ".join(words).rstrip(".!?,;:").replace(". ", ", ")
    return f"{clause[:1].lower()}{clause[1:]}" if not clause[:2].isupper() else clause
