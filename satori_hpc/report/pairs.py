"""Figures of the interactions: volcano plot and distances."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from satori_hpc.report import style

LABELS = 10


def pair_name(row: pd.Series) -> str:
    """A filter pair in words: the TFs, or the filter where there is no name."""
    first, second = (row[f"tf_{side}"] or f"filter {row[f'filter_{side}']}" for side in "ab")
    return " – ".join(sorted((first, second)))


def minus_log10_q(tested: pd.DataFrame) -> np.ndarray:
    """-log10 q of tested pairs, also where q is too small for a float64.

    There it follows from the logarithm of p: q is p times the number of tests over its rank (Benjamini-Hochberg).
    """
    q, strength = tested["q"].to_numpy(dtype=float), tested["neg_log10_p"].to_numpy(dtype=float)
    rank = 1 + np.argsort(np.argsort(-strength, kind="stable"), kind="stable")
    with np.errstate(divide="ignore"):
        return np.where(q > 0, -np.log10(q), strength - np.log10(len(q) / rank))


def volcano(table: pd.DataFrame, alpha: float, *, effect: str, name: str) -> str:
    """AUC against -log10 q of every tested filter pair; called ones coloured, the strongest labelled; an <svg>.

    Args:
        table: interaction table by filter pair.
        alpha: q-value of the call.
        effect: what the AUC is, in words.
        name: prefix of the ids, different for each figure of the page.
    """
    tested = table[table["tested"] & table["q"].notna()].reset_index(drop=True)
    x, y = tested["auc"].to_numpy(dtype=float), minus_log10_q(tested)
    called = tested["called"].to_numpy(dtype=bool)
    with style.look():
        drawing = style.figure(7.6, 4.2)
        axis = drawing.subplots()
        axis.scatter(x[~called], y[~called], s=7, color=style.FAINT, linewidth=0, rasterized=True)
        axis.scatter(x[called], y[called], s=10, color=style.ACCENT, alpha=0.75, linewidth=0, rasterized=True)
        axis.axhline(-np.log10(max(alpha, 1e-300)), color=style.QUIET, linestyle=":", linewidth=1)
        axis.axvline(0.5, color=style.QUIET, linestyle=":", linewidth=1)
        axis.set(xlabel=effect, ylabel="−log10 q")
        axis.set_title(f"{called.sum():,} of {len(tested):,} tested filter pairs called (q ≤ {alpha:g})")
        axis.set_ylim(bottom=min(0.0, float(y.min(initial=0.0))), top=float(y.max(initial=1.0)) * 1.12)
        _label_strongest(axis, tested, x, y)
        return style.to_svg(drawing, name)


def _label_strongest(axis: Axes, tested: pd.DataFrame, x: np.ndarray, y: np.ndarray) -> None:
    """Name the strongest called TF pairs in a column beside the plot, where no point is hidden by a name."""
    chosen: dict[frozenset[str], int] = {}
    for i in np.lexsort((-x, -y)):
        row = tested.iloc[i]
        pair = frozenset((row["tf_a"], row["tf_b"]))
        if row["called"] and row["tf_a"] and row["tf_b"] and len(pair) == 2:
            chosen.setdefault(pair, int(i))
        if len(chosen) == LABELS:
            break
    low, high = axis.get_ylim()
    step = (high - low) / 16
    place = high
    for i in chosen.values():  # strongest first, from the top down, each as near to its point as there is room
        place = min(float(y[i]), place - step)
        axis.annotate(
            pair_name(tested.iloc[i]), (x[i], y[i]), xytext=(1.03, place), textcoords=("axes fraction", "data"),
            ha="left", va="center", fontsize=7.5, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": style.QUIET, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 2},
        )  # fmt: skip


def distances(strongest: list[tuple[str, np.ndarray]], pool: int, *, name: str) -> str:
    """Small multiples: how far apart the two sites stood in the examples of each interaction; an <svg>.

    Args:
        strongest: (pair in words, distances in bp).
        pool: resolution of a distance, bp.
        name: prefix of the ids.
    """
    columns = min(3, len(strongest))
    rows = -(-len(strongest) // columns)
    largest = max(float(values.max(initial=pool)) for _, values in strongest)
    width = pool * max(1, round(largest / pool / 40))
    bins = np.arange(-width / 2, largest + 1.5 * width, width)
    with style.look():
        drawing = style.figure(2.65 * columns, 1.75 * rows)
        grid = np.atleast_1d(drawing.subplots(rows, columns, sharex=True)).ravel()
        for axis in grid[len(strongest) :]:
            axis.set_axis_off()
        for axis, (pair, values) in zip(grid, strongest, strict=False):
            axis.hist(values, bins=bins, color=style.ACCENT, linewidth=0)
            middle = float(np.median(values)) if len(values) else 0.0
            axis.axvline(middle, color=style.WARM, linewidth=1)
            axis.set_title(pair if len(pair) <= 34 else pair[:33] + "…", fontsize=8)
            axis.annotate(
                f"{len(values):,} examples\nmedian {middle:.0f} bp", (0.98, 0.95), xycoords="axes fraction",
                ha="right", va="top", fontsize=7,
            )  # fmt: skip
            axis.margins(x=0.01)
        drawing.supxlabel("distance between the two sites, bp", fontsize=8.5)
        drawing.supylabel("examples", fontsize=8.5)
        return style.to_svg(drawing, name)
