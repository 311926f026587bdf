"""Draw attention: value distributions, maps of examples, and pair scores by class."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from satori_hpc.report import figures
from satori_hpc.report.data import AttentionMap, Method, Site, SiteMap

MAX_MARKS = 26
CURVE_POINTS = 301
_SHADES = LinearSegmentedColormap.from_list("satori", ["#ffffff", "#cfe1f2", "#6aaad6", figures.ACCENT, "#08264a"])


def _log_bins(values: np.ndarray, count: int) -> np.ndarray:
    low, high = np.quantile(values, 0.0005), values.max()
    return np.geomspace(max(float(low), 1e-9), float(high) * 1.0001 + 1e-12, count)


def distribution(sample: np.ndarray, positions: int, methods: list[Method]) -> str:
    """Draw attention values of top examples, and pair scores by class; an <svg>.

    Args:
        sample: attention values, any shape; values of 0 are not drawn, their share is given.
        positions: a row without preference has 1 / positions everywhere.
        methods: those with pair scores on both sides are drawn, unless all of them are 0.
    """
    scored = [
        m for m in methods if len(m.foreground) and len(m.background) and (m.foreground.any() or m.background.any())
    ]
    count = 1 + len(scored)
    columns = count if count < 4 else 3
    rows = -(-count // columns)
    with figures.look():
        drawing = figures.figure(3.7 * columns + 0.2, 2.8 * rows)
        panels = np.atleast_1d(drawing.subplots(rows, columns)).ravel().tolist()
        values = sample[sample > 0].ravel()
        panels[0].hist(values, bins=_log_bins(values, 60).tolist(), color=figures.ACCENT, linewidth=0)
        panels[0].axvline(1 / positions, color=figures.WARM, linewidth=1.2)
        panels[0].annotate(
            f"uniform: 1/{positions}", (1 / positions, 1), xycoords=("data", "axes fraction"), xytext=(4, -9),
            textcoords="offset points", color=figures.WARM, fontsize=7.5,
        )  # fmt: skip
        panels[0].set(xscale="log", yscale="log", xlabel="attention value", ylabel="values")
        panels[0].set_title("All attention values, top examples" + zeros_in_words(sample))
        _plain_ticks(panels[0].xaxis)
        _plain_ticks(panels[0].yaxis)
        for axis, method in zip(panels[1:], scored, strict=False):
            _by_class(axis, method)
        for axis in panels[count:]:
            axis.set_axis_off()
        return figures.to_svg(drawing, "distribution")


def _by_class(axis: Axes, method: Method) -> None:
    """Draw cumulative distributions of the pair scores of both classes.

    Positive scores have a logarithmic axis, where curves begin at the share of zeros; signed ones an axis that
    is linear in the centre, with half of them.
    """
    signed = bool((method.foreground < 0).any() or (method.background < 0).any())
    for values, colour, label in (
        (method.background, figures.QUIET, "background"),
        (method.foreground, figures.ACCENT, "foreground"),
    ):
        axis.plot(*cumulative(values, signed=signed), color=colour, label=label + zeros_in_words(values))
    if method.cutoff is not None and (signed or method.cutoff > 0):
        axis.axvline(method.cutoff, color=figures.INK, linestyle=":", linewidth=1, label="cut-off")
    if signed:
        middle = float(np.median(np.abs(np.concatenate([method.foreground, method.background]))))
        axis.set_xscale("symlog", linthresh=max(middle, 1e-9), linscale=1.5)
        axis.set_xticks(_signed_ticks(middle, float(max(np.abs(axis.get_xlim())))))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xscale("log")
        _plain_ticks(axis.xaxis)
    axis.set(ylim=(0, 1.02), xlabel=f"pair score ({method.name})", ylabel="fraction of scores below")
    axis.set_title("Pair scores by class")
    axis.legend(loc="upper left")


def cumulative(values: np.ndarray, *, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a cumulative distribution: scores, and the share of values (zeros included) at or below.

    Args:
        values: float (N,), N > 0.
        signed: whether scores at or below 0 can be drawn; else the curve begins above the share of the zeros.
    """
    shares = np.linspace(0, 1, CURVE_POINTS)
    at = np.quantile(values, shares)
    if signed or not (values == 0).any():
        return at, shares
    above = values[values > 0]
    first = [above.min()] if len(above) else []
    drawn = at > 0
    return np.concatenate([first, at[drawn]]), np.concatenate([[(values == 0).mean()] * len(first), shares[drawn]])


def zeros_in_words(values: np.ndarray) -> str:
    """Return the share of zeros, to follow a name; "" if there are none."""
    zeros = float((values == 0).mean()) if values.size else 0.0
    return f" ({100 * zeros:.1f} % are 0)" if zeros else ""


def _signed_ticks(middle: float, most: float) -> list[float]:
    """Return 0 and, on either side, at most two powers of ten between the linear centre and the end."""
    low, high = int(np.ceil(np.log10(max(middle, 1e-9)))), int(np.floor(np.log10(max(most, 1e-9))))
    decades = [10.0**power for power in sorted({low, (low + high + 1) // 2}) if power <= high]
    return [*(-value for value in reversed(decades)), 0.0, *decades]


def _plain_ticks(axis: Axis) -> None:
    """Label ticks of a logarithmic axis with plain numbers: our figures parse no mathematics in text."""
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def thin_marks(marks: list[tuple[int, str]], positions: int) -> list[tuple[int, str]]:
    """Thin the axis marks: merge neighbours of one name, and keep labels apart.

    Args:
        marks: (position, name), ordered by position.
        positions: length of the axis.
    """
    gap = max(1, positions // MAX_MARKS)
    kept: list[tuple[int, str]] = []
    for position, name in marks:
        if kept and position - kept[-1][0] < gap:
            if name not in kept[-1][1].split(" / ") and kept[-1][1].count(" / ") < 1:
                kept[-1] = (kept[-1][0], f"{kept[-1][1]} / {name}")
        else:
            kept.append((position, name))
    return kept


def heat_map(
    attention: AttentionMap, *, bar: str = "attention, largest over heads", name: str = "attention-map"
) -> str:
    """Return one example's attention with its motif sites at the axes; an <svg> holding a bitmap and real text.

    Args:
        attention: what is drawn.
        bar: label of the colour bar.
        name: prefix of the ids, different for each figure of the page.
    """
    shown = np.maximum(attention.values, 1e-6)
    norm = LogNorm(vmin=float(np.quantile(shown, 0.05)), vmax=float(shown.max()))
    return _map(attention, shown, norm, _SHADES, bar=bar, name=name)


def attribution_map(attribution: AttentionMap, *, bar: str, name: str) -> str:
    """Draw a map as `heat_map`, of signed values: the contribution of the attention between two positions.

    A few entries hold nearly all of it, so colours saturate at the 99.9 % quantile of the magnitudes.
    """
    most = float(np.quantile(np.abs(attribution.values), 0.999)) or float(np.abs(attribution.values).max()) or 1.0
    norm = Normalize(vmin=-most, vmax=most)
    return _map(attribution, attribution.values, norm, SIGNED, bar=bar, name=name)


def _map(
    attention: AttentionMap, shown: np.ndarray, norm: Normalize, shades: LinearSegmentedColormap, *, bar: str, name: str
) -> str:
    def to_bp(position: Any) -> Any:
        return position * attention.pool

    def to_position(bp: Any) -> Any:
        return bp / attention.pool

    marks = thin_marks(attention.marks, len(shown))
    places, names = [place for place, _ in marks], [text for _, text in marks]
    with figures.look():
        drawing = figures.figure(7.2, 6.4)
        axis = drawing.subplots()
        image = axis.imshow(shown, cmap=shades, norm=norm, interpolation="nearest", aspect="equal")
        for place in places:
            axis.axhline(place, color=figures.WARM, linewidth=0.35, alpha=0.6)
            axis.axvline(place, color=figures.WARM, linewidth=0.35, alpha=0.6)
        axis.set_xticks(places, names, rotation=90, fontsize=7)
        axis.set_yticks(places, names, fontsize=7)
        axis.tick_params(length=2)
        axis.set(xlabel="key position", ylabel="query position")
        for spine in axis.spines.values():
            spine.set_visible(True)
        ruler = axis.secondary_xaxis("top", functions=(to_bp, to_position))
        ruler.set_xlabel("bp", fontsize=8)
        scale = drawing.colorbar(image, ax=axis, shrink=0.7, pad=0.02)
        scale.set_label(bar)
        if isinstance(norm, LogNorm):
            _plain_ticks(scale.ax.yaxis)
        scale.outline.set_visible(False)
        return figures.to_svg(drawing, name)


# Maps of pairwise effects of sites, and of attention attribution: signed values around white.

LONGEST = 18  # characters of a name at an axis
BROWN_TO_BLUE = ["#7a2f08", figures.WARM, "#f0c7ae", "#ffffff", "#bcd8ee", figures.ACCENT, "#08305c"]
SIGNED = LinearSegmentedColormap.from_list("signed", BROWN_TO_BLUE)
NOTHING = "#e7eaee"


def label(site: Site) -> str:
    """Label a site on an axis: its name and start."""
    name = site.name if len(site.name) <= LONGEST else site.name[: LONGEST - 1] + "…"
    return f"{name}, {site.start}"


def observed(map_: SiteMap) -> int:
    """Count the ordered pairs of sites with a value."""
    return int(np.isfinite(map_.values).sum())


def draw(map_: SiteMap, *, rows: str, columns: str, bar: str, name: str) -> str:
    """Draw the values of every pair of sites, grey where there is none; an <svg>.

    Args:
        map_: the map to draw; at least one value.
        rows, columns, bar: labels of the axes and of the colour bar.
        name: prefix of the ids, different for each figure of the page.
    """
    names = [label(site) for site in map_.sites]
    most = float(np.nanmax(np.abs(map_.values))) or 1.0
    side = float(np.clip(0.23 * len(names), 2.2, 6.2))
    with figures.look():
        drawing = figures.figure(side + 2.6, side + 1.4)
        axis = drawing.subplots()
        axis.set_facecolor(NOTHING)
        image = axis.imshow(
            np.ma.masked_invalid(map_.values), cmap=SIGNED, vmin=-most, vmax=most, interpolation="nearest"
        )
        small = 7.5 if len(names) <= 28 else 5.5
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=small)
        axis.set_yticks(range(len(names)), names, fontsize=small)
        axis.set(xlabel=columns, ylabel=rows)
        axis.tick_params(length=2)
        for spine in axis.spines.values():
            spine.set_visible(True)
        scale = drawing.colorbar(image, ax=axis, shrink=0.8, pad=0.02)
        scale.set_label(bar)
        scale.outline.set_visible(False)
        return figures.to_svg(drawing, name)


def strongest(map_: SiteMap, *, most: int, ordered: bool) -> list[tuple[Site, Site, float]]:
    """Return (row's site, column's site, value), by descending magnitude.

    In unordered pairs the first site comes first.

    Args:
        map_: with NaN where there is no pair.
        most: pairs to give.
        ordered: (i, u) and (u, i) are two things.
    """
    values = map_.values if ordered else np.where(np.tri(len(map_.sites), dtype=bool), np.nan, map_.values)
    size = np.where(np.isfinite(values), np.abs(values), -1.0).ravel()
    order = np.argsort(-size, kind="stable")[:most]
    found = [divmod(int(place), len(map_.sites)) for place in order if size[place] >= 0]
    return [(map_.sites[i], map_.sites[u], float(values[i, u])) for i, u in found]
