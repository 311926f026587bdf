"""The attribution logo: a sequence's letters in rows, as high as what they contribute; drawn straight into the page."""

import html

import numpy as np

from satori_hpc.report import style
from satori_hpc.report.inspect_data import Site

ROW = 100  # letters per row
LETTER = 9.6  # width of a letter, px
HEIGHT = 96.0  # from the highest to the lowest letter, px
LEFT, TOP, BOTTOM = 46.0, 17.0, 20.0  # room for the numbers, the names of sites and the positions
SMALLEST = 0.35  # px; what is lower would be a hairline


def rows(tokens: np.ndarray, values: np.ndarray, sites: list[Site], *, width: int) -> list[str]:
    """One <svg> per row of ROW letters, all on one scale; they need the shapes of `logos.letters` in the page.

    Args:
        tokens: uint8 (L,).
        values: float32 (L,); positive letters stand on the line, negative ones hang from it.
        sites: to mark.
        width: letters of a site.
    """
    high, low = max(float(values.max(initial=0.0)), 0.0), min(float(values.min(initial=0.0)), 0.0)
    scale = HEIGHT / ((high - low) or 1.0)
    line = TOP + high * scale  # y of zero
    starts = range(0, len(tokens), ROW)
    last = min(ROW, len(tokens))
    return [
        _row(tokens[s : s + ROW], values[s : s + ROW], first=s, sites=sites, width=width, line=line, scale=scale,
             letters=last, ends=(high, low))
        for s in starts
    ]  # fmt: skip


def _row(
    tokens: np.ndarray,
    values: np.ndarray,
    *,
    first: int,
    sites: list[Site],
    width: int,
    line: float,
    scale: float,
    letters: int,
    ends: tuple[float, float],
) -> str:
    total = LEFT + letters * LETTER + 4
    parts = [_mark(site, first, len(tokens), width) for site in sites]
    for place, (token, value) in enumerate(zip(tokens.tolist(), values.tolist(), strict=True)):
        size = abs(value) * scale
        if token > 3 or size < SMALLEST:
            continue
        top = line - size if value > 0 else line
        parts.append(
            f'<use href="#letter-{"ACGT"[token]}" transform="translate({LEFT + place * LETTER + 0.3:.1f} {top:.2f}) '
            f'scale({LETTER - 0.6:.1f} {size:.2f})"/>'
        )
    right = LEFT + len(tokens) * LETTER
    parts.append(f'<path d="M{LEFT} {line:.2f}H{right:.1f}" stroke="{style.QUIET}" stroke-width="0.8"/>')
    parts += [_tick(value, line - value * scale) for value in ends if abs(value) * scale > 10]  # clear of zero's
    parts.append(_tick(0.0, line))
    parts += [
        _text(LEFT + (place + 0.5) * LETTER, TOP + HEIGHT + 15, str(first + place), "middle")
        for place in range(0, len(tokens), 10)
    ]
    return (
        f'<svg class="letters" role="img" aria-label="Letters {first} to {first + len(tokens)}" '
        f'viewBox="0 0 {total:.0f} {TOP + HEIGHT + BOTTOM:.0f}" width="{total:.0f}" '
        f'height="{TOP + HEIGHT + BOTTOM:.0f}">{"".join(parts)}</svg>'
    )


def _mark(site: Site, first: int, count: int, width: int) -> str:
    """The part of a site that lies in a row, shaded; its name where it begins."""
    begin, end = max(site.start - first, 0), min(site.start + width - first, count)
    if begin >= end:
        return ""
    left = LEFT + begin * LETTER
    shade = (
        f'<rect x="{left:.1f}" y="{TOP:.0f}" width="{(end - begin) * LETTER:.1f}" height="{HEIGHT:.0f}" '
        f'fill="{style.WARM}" fill-opacity="0.11" stroke="{style.WARM}" stroke-opacity="0.3" stroke-width="0.7"/>'
    )
    if site.start < first:
        return shade
    most = max(4, int(width * LETTER / 6.4))
    name = site.name if len(site.name) <= most else site.name[: most - 1] + "…"
    room = (count - begin) * LETTER  # a name that would leave the picture ends where the picture ends
    if len(name) * 6.4 > room:
        return shade + _text(LEFT + count * LETTER, TOP - 4, name, "end", colour=style.WARM)
    return shade + _text(left, TOP - 4, name, "start", colour=style.WARM)


def _tick(value: float, y: float) -> str:
    return _text(LEFT - 5, y + 3.5, f"{value:.2g}".replace("-", "−"), "end")


def _text(x: float, y: float, text: str, anchor: str, *, colour: str = "#565e69") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{html.escape(text)}</text>"
