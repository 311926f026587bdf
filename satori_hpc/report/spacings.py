"""Figure of spacings: where the two sites of an interaction stand, in the foreground against the background."""

import numpy as np
from matplotlib.axes import Axes

from satori_hpc.report import style
from satori_hpc.report.data import Spacing

BINS = 60
TESTS = {"preferred": "spacing", "helical": "turn of the helix", "order": "order", "arrangement": "strands"}


def told(found: Spacing, alpha: float) -> str:
    """What the tests say of an interaction, in words."""
    said = [f"{TESTS[name]} q = {q:.2g}" for name, q in found.q.items() if q <= alpha]
    return ", ".join(said) or "like the background"


def spacings(found: list[Spacing], pool: int, *, alpha: float, name: str) -> str:
    """Small multiples: shares by spacing, the foreground as bars, the background as a line; an <svg>.

    Args:
        found: at least one.
        pool: resolution of a spacing, bp.
        alpha: q-value at which a test counts.
        name: prefix of the ids.
    """
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    reach = max(int(np.abs(each.at[(each.foreground + each.background) > 0]).max(initial=pool)) for each in found)
    width = pool * max(1, round(2 * reach / pool / BINS))
    edges = width * np.arange(-(reach // width) - 1, reach // width + 2) - width / 2
    with style.look():
        drawing = style.figure(2.65 * columns, 1.9 * rows)
        grid = np.atleast_1d(drawing.subplots(rows, columns, sharex=True)).ravel()
        for axis in grid[len(found) :]:
            axis.set_axis_off()
        for axis, each in zip(grid, found, strict=False):
            _panel(axis, each, edges, alpha)
        drawing.supxlabel("start of the second site less start of the first, bp", fontsize=8.5)
        drawing.supylabel("share of examples, %", fontsize=8.5)
        return style.to_svg(drawing, name)


def _panel(axis: Axes, found: Spacing, edges: np.ndarray, alpha: float) -> None:
    shares = []
    for counts in (found.foreground, found.background):
        binned = np.histogram(found.at, bins=np.append(edges, edges[-1] + 1), weights=counts)[0][:-1]
        shares.append(100 * binned / max(counts.sum(), 1))
    axis.axvspan(*found.window, color=style.FAINT, linewidth=0)
    axis.stairs(shares[0], edges, fill=True, color=style.ACCENT)
    axis.stairs(shares[1], edges, color=style.WARM, linewidth=1)
    axis.set_title(found.name if len(found.name) <= 34 else found.name[:33] + "…", fontsize=8)
    text = f"{int(found.foreground.sum()):,} / {int(found.background.sum()):,} examples\n"
    text += told(found, alpha).replace(", ", "\n")
    axis.annotate(text, (0.98, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=6.5)
    axis.margins(x=0.01)
    axis.set_ylim(top=1.5 * max(share.max() for share in shares))  # room for the text
