"""An opened image as models are shown it: what a person sees, in three channels of 8 bits."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of PNG with 16 bits of grey
WIDEST = 65_535


def as_rgb(picture: "Image") -> "Image":
    """Return an image as RGB: what is transparent shows white behind it, 16 bits are scaled to 8.

    Pillow alone would show the colour that a transparent pixel hides, often black, and make white of every grey above
    255 of 65,535. Of an animation it is the present frame.
    """
    from PIL import Image as Pillow

    hidden = picture.info.get("transparency")
    if picture.mode in WIDE:
        grey = picture.convert("I")
        scaled = grey.point(lambda value: value * (255 / WIDEST)).convert("L").convert("RGB")
        if not isinstance(hidden, int):
            return scaled
        import numpy as np

        seen = Pillow.fromarray(np.where(np.asarray(grey) == hidden, 0, 255).astype(np.uint8))
        return Pillow.composite(scaled, Pillow.new("RGB", picture.size, "white"), seen)
    if hidden is None and picture.mode not in ("RGBA", "RGBa", "LA", "La", "PA"):
        return picture.convert("RGB")
    shown = picture.convert("RGBA")
    white = Pillow.new("RGBA", shown.size, "white")
    white.alpha_composite(shown)
    return white.convert("RGB")
