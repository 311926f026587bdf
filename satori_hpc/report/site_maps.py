"""Maps of what sites do to each other, and of what attention adds: signed values around white."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from satori_hpc.report import style
from satori_hpc.report.inspect_data import Site, SiteMap

LONGEST = 18  # characters of a name at an axis
BROWN_TO_BLUE = ["#7a2f08", style.WARM, "#f0c7ae", "#ffffff", "#bcd8ee", style.ACCENT, "#08305c"]
SIGNED = LinearSegmentedColormap.from_list("signed", BROWN_TO_BLUE)
NOTHING = "#e7eaee"


def label(site: Site) -> str:
    """A site at an axis: its name, and where it starts."""
    name = site.name if len(site.name) <= LONGEST else site.name[: LONGEST - 1] + "…"
    return f"{name}, {site.start}"


def observed(map_: SiteMap) -> int:
    """How many ordered pairs of sites have a value."""
    return int(np.isfinite(map_.values).sum())


def draw(map_: SiteMap, *, rows: str, columns: str, bar: str, name: str) -> str:
    """The values of every pair of sites, grey where there is none; an <svg>.

    Args:
        map_: what is drawn; at least one value.
        rows, columns, bar: what stands at the axes and at the colour bar.
        name: prefix of the ids, different for each figure of the page.
    """
    names = [label(site) for site in map_.sites]
    most = float(np.nanmax(np.abs(map_.values))) or 1.0
    side = float(np.clip(0.23 * len(names), 2.2, 6.2))
    with style.look():
        drawing = style.figure(side + 2.6, side + 1.4)
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
        return style.to_svg(drawing, name)


def strongest(map_: SiteMap, *, most: int, ordered: bool) -> list[tuple[Site, Site, float]]:
    """(row's site, column's site, value), the largest in size first; of unordered pairs the first site comes first.

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
