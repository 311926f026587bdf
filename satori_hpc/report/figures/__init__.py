"""One look for all figures, and their way into the page."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1b1f24"
QUIET = "#8b929c"
FAINT = "#d5d9de"
ACCENT = "#0b66b0"
WARM = "#b5541c"  # only for contrast with the accent

_SETTINGS: Any = {  # matplotlib types every key on its own
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a TF name may hold a dollar sign
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text: it can be found and copied
    "svg.hashsalt": "satori-hpc",  # equal input, equal bytes
    "figure.dpi": 100,
}


@contextmanager
def look() -> Iterator[None]:
    """Apply the settings of our figures within a block; the user's own are kept."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def figure(width: float, height: float) -> Figure:
    """Return a figure of this size in inches, without a window or global state; use inside `look`."""
    canvas = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def to_svg(drawing: Figure, name: str) -> str:
    """Render the figure as an <svg> element for the page.

    Ids are prefixed with `name`, since those of two figures would meet in one page. No dates, no program names.
    """
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    drawing.savefig(buffer, format="svg", metadata=nothing, dpi=170)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href|href)="#', rf'\1="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    return text.replace("<svg ", '<svg focusable="false" aria-hidden="true" ', 1)
