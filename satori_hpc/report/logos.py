"""Motif logos drawn straight into the page: four letter shapes once, then references to them.

A logo is a few hundred bytes this way; drawn by matplotlib, sixty of them would be megabytes and half a minute.
"""

from functools import lru_cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from satori_hpc.core import motif

COLOURS = {"A": "#2e8b3d", "C": "#1f5fbf", "G": "#d98a00", "T": "#c3342b"}
COLUMN = 13  # width of a position in the page, px
HEIGHT = 62  # of two bits, px
SMALLEST = 0.02  # bits; what is lower than a hairline is not drawn


@lru_cache(maxsize=1)
def letters() -> str:
    """The shapes of A, C, G and T, each filling the unit square, as an <svg> of symbols that shows nothing itself."""
    shapes = "".join(
        f'<path id="letter-{letter}" d="{_outline(letter)}" fill="{COLOURS[letter]}"/>' for letter in "ACGT"
    )
    return f'<svg width="0" height="0" class="shapes" aria-hidden="true" focusable="false"><defs>{shapes}</defs></svg>'


def _outline(letter: str) -> str:
    """SVG path of a bold letter, stretched to (0, 0)-(1, 1), with y pointing down."""
    path = TextPath((0, 0), letter, size=100, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    low, high = np.asarray(box.min), np.asarray(box.max)
    parts = []
    for points, code in path.iter_segments():
        if code == Path.CLOSEPOLY:
            parts.append("Z")
            continue
        unit = (np.asarray(points).reshape(-1, 2) - low) / (high - low)
        unit[:, 1] = 1 - unit[:, 1]
        command = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}[code]
        parts.append(command + " ".join(f"{x:.3g} {y:.3g}" for x, y in unit))
    return "".join(parts)


def logo(ppm: np.ndarray, description: str) -> str:
    """Information logo: the column is as high as its information (two bits fill the box), letters by their share.

    Args:
        ppm: (w, 4) letter probabilities, A, C, G, T.
        description: alternative text, already escaped for an attribute.

    Returns:
        an <svg> that needs the shapes of `letters` in the same page.
    """
    bits = motif.information(ppm)
    width = COLUMN * len(ppm)
    parts = []
    for position, column in enumerate(np.asarray(ppm)):
        top = HEIGHT
        for letter in np.argsort(column, kind="stable"):
            height = bits[position] * column[letter]
            if height < SMALLEST:
                continue
            high = height / 2 * HEIGHT
            top -= high
            parts.append(
                f'<use href="#letter-{"ACGT"[letter]}" '
                f'transform="translate({position * COLUMN + 0.5:g} {top:.2f}) scale({COLUMN - 1:g} {high:.2f})"/>'
            )
    axis = f'<path d="M0 {HEIGHT + 0.5}H{width}" stroke="#8b929c" stroke-width="1"/>'
    return (
        f'<svg class="logo" role="img" aria-label="{description}" viewBox="0 0 {width} {HEIGHT + 1}" '
        f'preserveAspectRatio="xMinYMax" '
        f'width="{width}" height="{HEIGHT + 1}">{"".join(parts)}{axis}</svg>'
    )
