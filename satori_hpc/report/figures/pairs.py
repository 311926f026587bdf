"""Figures of the interactions: volcano plot and distances."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from satori_hpc.report import figures
from satori_hpc.report.data import Spacing

LABELS = 10


def pair_name(row: pd.Series) -> str:
    """Name a filter pair: by the TFs, or by the filter number if there is no name."""
    first, second = (row[f"tf_{side}"] or f"filter {row[f'filter_{side}']}" for side in "ab")
    return " – ".join(sorted((first, second)))


def minus_log10_q(tested: pd.DataFrame) -> np.ndarray:
    """Return -log10 q of tested pairs, also where q is too small for a float64.

    There it follows from the logarithm of p: q is p times the number of tests over its rank (Benjamini-Hochberg).
    """
    q, strength = tested["q"].to_numpy(dtype=float), tested["neg_log10_p"].to_numpy(dtype=float)
    rank = 1 + np.argsort(np.argsort(-strength, kind="stable"), kind="stable")
    with np.errstate(divide="ignore"):
        return np.where(q > 0, -np.log10(q), strength - np.log10(len(q) / rank))


def volcano(table: pd.DataFrame, alpha: float, *, effect: str, name: str) -> str:
    """Draw AUC against -log10 q of every tested filter pair; called ones coloured, the strongest labelled; an <svg>.

    Args:
        table: interaction table by filter pair.
        alpha: q-value of the call.
        effect: axis label of the AUC.
        name: prefix of the ids, different for each figure of the page.
    """
    tested = table[table["tested"] & table["q"].notna()].reset_index(drop=True)
    x, y = tested["auc"].to_numpy(dtype=float), minus_log10_q(tested)
    called = tested["called"].to_numpy(dtype=bool)
    with figures.look():
        drawing = figures.figure(7.6, 4.2)
        axis = drawing.subplots()
        axis.scatter(x[~called], y[~called], s=7, color=figures.FAINT, linewidth=0, rasterized=True)
        axis.scatter(x[called], y[called], s=10, color=figures.ACCENT, alpha=0.75, linewidth=0, rasterized=True)
        axis.axhline(-np.log10(max(alpha, 1e-300)), color=figures.QUIET, linestyle=":", linewidth=1)
        axis.axvline(0.5, color=figures.QUIET, linestyle=":", linewidth=1)
        axis.set(xlabel=effect, ylabel="−log10 q")
        axis.set_title(f"{called.sum():,} of {len(tested):,} tested filter pairs called (q ≤ {alpha:g})")
        axis.set_ylim(bottom=min(0.0, float(y.min(initial=0.0))), top=float(y.max(initial=1.0)) * 1.12)
        _label_strongest(axis, tested, x, y)
        return figures.to_svg(drawing, name)


def _label_strongest(axis: Axes, tested: pd.DataFrame, x: np.ndarray, y: np.ndarray) -> None:
    """Label the strongest called TF pairs in a column next to the plot, where labels hide no points."""
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
            arrowprops={"arrowstyle": "-", "color": figures.QUIET, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 2},
        )  # fmt: skip


def distances(strongest: list[tuple[str, np.ndarray]], pool: int, *, name: str) -> str:
    """Draw small multiples: distances between the two sites of each interaction; an <svg>.

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
    with figures.look():
        drawing = figures.figure(2.65 * columns, 1.75 * rows)
        grid = np.atleast_1d(drawing.subplots(rows, columns, sharex=True)).ravel()
        for axis in grid[len(strongest) :]:
            axis.set_axis_off()
        for axis, (pair, values) in zip(grid, strongest, strict=False):
            axis.hist(values, bins=bins, color=figures.ACCENT, linewidth=0)
            middle = float(np.median(values)) if len(values) else 0.0
            axis.axvline(middle, color=figures.WARM, linewidth=1)
            axis.set_title(pair if len(pair) <= 34 else pair[:33] + "…", fontsize=8)
            axis.annotate(
                f"{len(values):,} examples\nmedian {middle:.0f} bp", (0.98, 0.95), xycoords="axes fraction",
                ha="right", va="top", fontsize=7,
            )  # fmt: skip
            axis.margins(x=0.01)
        drawing.supxlabel("distance between the two sites, bp", fontsize=8.5)
        drawing.supylabel("examples", fontsize=8.5)
        return figures.to_svg(drawing, name)


# Figure of spacings: the two sites of an interaction, in the foreground against the background.

BINS = 60
TESTS = {"preferred": "spacing", "helical": "helical phase", "order": "order", "arrangement": "strands"}


def told(found: Spacing, alpha: float) -> str:
    """Summarise the tests of an interaction."""
    said = [f"{TESTS[name]} q = {q:.2g}" for name, q in found.q.items() if q <= alpha]
    return ", ".join(said) or "like the background"


def spacings(found: list[Spacing], pool: int, *, alpha: float, name: str) -> str:
    """Draw small multiples: shares by spacing, the foreground as bars, the background as a line; an <svg>.

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
    with figures.look():
        drawing = figures.figure(2.65 * columns, 1.9 * rows)
        grid = np.atleast_1d(drawing.subplots(rows, columns, sharex=True)).ravel()
        for axis in grid[len(found) :]:
            axis.set_axis_off()
        for axis, each in zip(grid, found, strict=False):
            _panel(axis, each, edges, alpha)
        drawing.supxlabel("start of the second site minus start of the first, bp", fontsize=8.5)
        drawing.supylabel("fraction of examples, %", fontsize=8.5)
        return figures.to_svg(drawing, name)


def _panel(axis: Axes, found: Spacing, edges: np.ndarray, alpha: float) -> None:
    shares = []
    for counts in (found.foreground, found.background):
        binned = np.histogram(found.at, bins=np.append(edges, edges[-1] + 1), weights=counts)[0][:-1]
        shares.append(100 * binned / max(counts.sum(), 1))
    axis.axvspan(*found.window, color=figures.FAINT, linewidth=0)
    axis.stairs(shares[0], edges, fill=True, color=figures.ACCENT)
    axis.stairs(shares[1], edges, color=figures.WARM, linewidth=1)
    axis.set_title(found.name if len(found.name) <= 34 else found.name[:33] + "…", fontsize=8)
    text = f"{int(found.foreground.sum()):,} / {int(found.background.sum()):,} examples\n"
    text += told(found, alpha).replace(", ", "\n")
    axis.annotate(text, (0.98, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=6.5)
    axis.margins(x=0.01)
    axis.set_ylim(top=1.5 * max(share.max() for share in shares))  # room for the text


# Figure of labels: which of them carry which interaction.

INTERACTIONS, SHOWN_LABELS = 24, 40  # shown at most
LENGTH = 34  # characters of a name
_SHADES = LinearSegmentedColormap.from_list("differential", [figures.WARM, "#ffffff", figures.ACCENT])


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """Return AUC by interaction and label, of those with the smallest q.

    NaN = not tested. Labels in order of their names.

    Args:
        table: of interactions by label, sorted by q; an interaction is a pair of filters.
    """
    tested = table[table["tested"].astype(bool)]
    names = [f"{_short(pair_name(row))} ({row['filter_a']}, {row['filter_b']})" for _, row in tested.iterrows()]
    tested = tested.assign(interaction=names)
    shown = list(dict.fromkeys(tested["interaction"]))[:INTERACTIONS]
    rows = tested[tested["interaction"].isin(shown)]
    labels = list(dict.fromkeys(rows["label"]))[:SHOWN_LABELS]
    labels.sort(key=lambda label: (len(label), label) if label.isdecimal() else (0, label))
    return rows.pivot(index="interaction", columns="label", values="auc").reindex(index=shown, columns=labels)


def heat_map(table: pd.DataFrame, *, name: str) -> str:
    """Draw AUC of every interaction, with a label against without; a dot where they differ; an <svg>.

    Args:
        table: as of `strongest`, with at least one test.
        name: prefix of the ids.
    """
    auc = strongest(table)
    differs = table[table["differs"].astype(bool)]
    marked = {(row["filter_a"], row["filter_b"], row["label"]) for _, row in differs.iterrows()}
    keys = [tuple(map(int, text[text.rindex("(") + 1 : -1].split(", "))) for text in auc.index]  # filters
    names, columns = list(auc.index), [_short(label) for label in auc.columns]
    left, bottom = (0.07 * max(map(len, each)) for each in (names, columns))  # inches that the names need
    with figures.look():
        drawing = figures.figure(left + 0.24 * len(columns) + 1.6, bottom + 0.19 * len(names) + 0.9)
        axis = drawing.subplots()
        axis.set_facecolor(figures.FAINT)
        reach = max(0.05, float(np.nanmax(np.abs(auc.to_numpy() - 0.5))))
        image = axis.imshow(auc.to_numpy(), cmap=_SHADES, vmin=0.5 - reach, vmax=0.5 + reach, aspect="auto")
        dots = [(x, y) for y, key in enumerate(keys) for x, label in enumerate(auc.columns) if (*key, label) in marked]
        if dots:
            axis.scatter([x for x, _ in dots], [y for _, y in dots], s=7, color=figures.INK, linewidth=0)
        axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.tick_params(length=0)
        drawing.colorbar(image, ax=axis, label="AUC", shrink=0.9, aspect=30)
        return figures.to_svg(drawing, name)


def _short(text: str) -> str:
    return text if len(text) <= LENGTH else text[: LENGTH - 1] + "…"
