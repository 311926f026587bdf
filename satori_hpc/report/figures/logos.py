"""Draw motif logos as SVG: four letter shapes once, then references to them.

A logo is a few hundred bytes this way; drawn by matplotlib, sixty of them would be megabytes and half a minute.
"""

import html
from functools import lru_cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from satori_hpc.motifs import motif
from satori_hpc.report import figures
from satori_hpc.report.data import Site

COLOURS = {"A": "#2e8b3d", "C": "#1f5fbf", "G": "#d98a00", "T": "#c3342b"}
COLUMN = 13  # width of a position in the page, px
HEIGHT = 62  # of two bits, px
SMALLEST = 0.02  # bits; smaller heights are not drawn


@lru_cache(maxsize=1)
def letters() -> str:
    """Return the shapes of A, C, G and T, each filling the unit square, as an invisible <svg> of symbols."""
    shapes = "".join(
        f'<path id="letter-{letter}" d="{_outline(letter)}" fill="{COLOURS[letter]}"/>' for letter in "ACGT"
    )
    return f'<svg width="0" height="0" class="shapes" aria-hidden="true" focusable="false"><defs>{shapes}</defs></svg>'


def _outline(letter: str) -> str:
    """Return the SVG path of a bold letter, stretched to (0, 0)-(1, 1), with y pointing down."""
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


def logo(ppm: np.ndarray, description: str, *, before: int = 0, columns: int = 0) -> str:
    """Draw an information logo: column height is information (two bits fill the box), letter height its share.

    Args:
        ppm: (w, 4) base probabilities, A, C, G, T.
        description: alternative text, already escaped for an attribute.
        before, columns: empty columns before it, and columns of the whole drawing (at least those of the motif), so
            that logos drawn below each other are aligned.

    Returns:
        an <svg> that needs the shapes of `letters` in the same page.
    """
    width = COLUMN * max(columns, before + len(ppm))
    return (
        f'<svg class="logo" role="img" aria-label="{description}" viewBox="0 0 {width} {HEIGHT + 1}" '
        f'preserveAspectRatio="xMinYMax" '
        f'width="{width}" height="{HEIGHT + 1}">{stacks(ppm, before)}</svg>'
    )


def stacks(ppm: np.ndarray, before: int = 0) -> str:
    """Draw the columns of an information logo, and their axis, from column `before` of the drawing on."""
    bits = motif.information(ppm)
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
                f'transform="translate({(before + position) * COLUMN + 0.5:g} {top:.2f}) '
                f'scale({COLUMN - 1:g} {high:.2f})"/>'
            )
    left, right = before * COLUMN, (before + len(ppm)) * COLUMN
    axis = f'<path d="M{left} {HEIGHT + 0.5}H{right}" stroke="#8b929c" stroke-width="1"/>'
    return "".join(parts) + axis


# The attribution logo: a sequence's letters in rows, with heights given by their contributions.

ROW = 100  # letters per row
LETTER = 9.6  # width of a letter, px
LETTERS_HEIGHT = 96.0  # from the highest to the lowest letter, px
LEFT, TOP, BOTTOM = 46.0, 17.0, 20.0  # room for the numbers, the names of sites and the positions
SMALLEST_LETTER = 0.35  # px; smaller heights are not drawn


def rows(tokens: np.ndarray, values: np.ndarray, sites: list[Site]) -> list[str]:
    """Return one <svg> per row of ROW letters, all on one scale; the page must contain the shapes of `letters`.

    Args:
        tokens: uint8 (L,).
        values: float32 (L,); positive letters are above the line, negative ones below.
        sites: to mark.
    """
    high, low = max(float(values.max(initial=0.0)), 0.0), min(float(values.min(initial=0.0)), 0.0)
    scale = LETTERS_HEIGHT / ((high - low) or 1.0)
    line = TOP + high * scale  # y of zero
    starts = range(0, len(tokens), ROW)
    last = min(ROW, len(tokens))
    return [
        _row(tokens[s : s + ROW], values[s : s + ROW], first=s, sites=sites, line=line, scale=scale,
             letters=last, ends=(high, low))
        for s in starts
    ]  # fmt: skip


def _row(
    tokens: np.ndarray,
    values: np.ndarray,
    *,
    first: int,
    sites: list[Site],
    line: float,
    scale: float,
    letters: int,
    ends: tuple[float, float],
) -> str:
    total = LEFT + letters * LETTER + 4
    parts = [_mark(site, first, len(tokens)) for site in sites]
    for place, (token, value) in enumerate(zip(tokens.tolist(), values.tolist(), strict=True)):
        size = abs(value) * scale
        if token > 3 or size < SMALLEST_LETTER:
            continue
        top = line - size if value > 0 else line
        parts.append(
            f'<use href="#letter-{"ACGT"[token]}" transform="translate({LEFT + place * LETTER + 0.3:.1f} {top:.2f}) '
            f'scale({LETTER - 0.6:.1f} {size:.2f})"/>'
        )
    right = LEFT + len(tokens) * LETTER
    parts.append(f'<path d="M{LEFT} {line:.2f}H{right:.1f}" stroke="{figures.QUIET}" stroke-width="0.8"/>')
    parts += [_tick(value, line - value * scale) for value in ends if abs(value) * scale > 10]  # clear of zero's
    parts.append(_tick(0.0, line))
    parts += [
        _text(LEFT + (place + 0.5) * LETTER, TOP + LETTERS_HEIGHT + 15, str(first + place), "middle")
        for place in range(0, len(tokens), 10)
    ]
    return (
        f'<svg class="letters" role="img" aria-label="Letters {first} to {first + len(tokens)}" '
        f'viewBox="0 0 {total:.0f} {TOP + LETTERS_HEIGHT + BOTTOM:.0f}" width="{total:.0f}" '
        f'height="{TOP + LETTERS_HEIGHT + BOTTOM:.0f}">{"".join(parts)}</svg>'
    )


def _mark(site: Site, first: int, count: int) -> str:
    """Draw the part of a site within a row, shaded; with its name at the start."""
    begin, end = max(site.start - first, 0), min(site.start + site.width - first, count)
    if begin >= end:
        return ""
    left = LEFT + begin * LETTER
    shade = (
        f'<rect x="{left:.1f}" y="{TOP:.0f}" width="{(end - begin) * LETTER:.1f}" height="{LETTERS_HEIGHT:.0f}" '
        f'fill="{figures.WARM}" fill-opacity="0.11" stroke="{figures.WARM}" stroke-opacity="0.3" stroke-width="0.7"/>'
    )
    if site.start < first:
        return shade
    most = max(4, int(site.width * LETTER / 6.4))
    name = site.name if len(site.name) <= most else site.name[: most - 1] + "…"
    room = (count - begin) * LETTER  # a name that would leave the picture ends where the picture ends
    if len(name) * 6.4 > room:
        return shade + _text(LEFT + count * LETTER, TOP - 4, name, "end", colour=figures.WARM)
    return shade + _text(left, TOP - 4, name, "start", colour=figures.WARM)


def _tick(value: float, y: float) -> str:
    return _text(LEFT - 5, y + 3.5, f"{value:.2g}".replace("-", "−"), "end")


def _text(x: float, y: float, text: str, anchor: str, *, colour: str = "#565e69") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{html.escape(text)}</text>"
