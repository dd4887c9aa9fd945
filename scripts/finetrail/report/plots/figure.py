"""The one door to matplotlib: SVG files whose bytes depend on what they show and on nothing else of the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that people with colour blindness tell apart (Okabe and Ito 2008), and signs for prints in grey.
BLUE, ORANGE, GREEN, PINK, SKY, BLACK = COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P")

_STYLE = {
    "svg.fonttype": "none",  # texts stay texts: they can be searched and read aloud
    "svg.hashsalt": "finetrail",  # names of parts are not drawn by lot
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "path.simplify": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that a layout is the same everywhere
    "font.size": 10,
    "axes.titlesize": 10,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
    "grid.linewidth": 0.3,
}


@contextmanager
def svg_figure(path: Path, title: str, *, shows: str, size: tuple[float, float] = (8, 4.5)) -> Iterator["Figure"]:
    """Yield a figure that is written when the block ends well.

    Args:
        path: the file; its suffix does not matter.
        title: stands above the picture, and is the file's title.
        shows: what the picture shows, in a sentence for those who cannot see it.
        size: width and height, in inches.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own matplotlibrc would change the bytes
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title)
        canvas = FigureCanvasSVG(figure)
        yield figure
        canvas.print_svg(path, metadata={"Title": title, "Description": shows, "Date": None, "Creator": None})
