"""Pictures as SVG whose bytes depend on what they show and on nothing else of the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Letters are drawn as outlines of matplotlib's own font, names of parts are no draw.
_STYLE = {"svg.fonttype": "path", "svg.hashsalt": "finetrail", "font.family": "DejaVu Sans", "path.simplify": False}


@contextmanager
def svg_figure(path: Path, size: tuple[float, float]) -> Iterator["Figure"]:
    """Yield a figure that is written when the block ends well.

    Args:
        path: the file; its suffix does not matter.
        size: width and height, in inches.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user's would change the bytes
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size, layout="constrained")
        canvas = FigureCanvasSVG(figure)
        yield figure
        canvas.print_svg(path, metadata={"Date": None, "Creator": None})


@contextmanager
def svg_picture(path: Path) -> Iterator["Axes"]:
    """Yield the axes of a picture that is written when the block ends well.

    Args:
        path: the file; its suffix does not matter.
    """
    with svg_figure(path, (8, 4.5)) as figure:
        yield figure.add_subplot()
