"""Figure of labels: which of them carry which interaction."""

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from satori_hpc.report import pairs, style

INTERACTIONS, LABELS = 24, 40  # shown at most
LENGTH = 34  # letters of a name
_SHADES = LinearSegmentedColormap.from_list("differential", [style.WARM, "#ffffff", style.ACCENT])


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """AUC by interaction and label, of those with the smallest q; NaN = not tested. Labels in order of their names.

    Args:
        table: of interactions by label, sorted by q; an interaction is a pair of filters.
    """
    tested = table[table["tested"].astype(bool)]
    names = [f"{_short(pairs.pair_name(row))} ({row['filter_a']}, {row['filter_b']})" for _, row in tested.iterrows()]
    tested = tested.assign(interaction=names)
    shown = list(dict.fromkeys(tested["interaction"]))[:INTERACTIONS]
    rows = tested[tested["interaction"].isin(shown)]
    labels = list(dict.fromkeys(rows["label"]))[:LABELS]
    labels.sort(key=lambda label: (len(label), label) if label.isdecimal() else (0, label))
    return rows.pivot(index="interaction", columns="label", values="auc").reindex(index=shown, columns=labels)


def heat_map(table: pd.DataFrame, *, name: str) -> str:
    """AUC of every interaction, with a label against without; a dot where they differ; an <svg>.

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
    with style.look():
        drawing = style.figure(left + 0.24 * len(columns) + 1.6, bottom + 0.19 * len(names) + 0.9)
        axis = drawing.subplots()
        axis.set_facecolor(style.FAINT)
        reach = max(0.05, float(np.nanmax(np.abs(auc.to_numpy() - 0.5))))
        image = axis.imshow(auc.to_numpy(), cmap=_SHADES, vmin=0.5 - reach, vmax=0.5 + reach, aspect="auto")
        dots = [(x, y) for y, key in enumerate(keys) for x, label in enumerate(auc.columns) if (*key, label) in marked]
        if dots:
            axis.scatter([x for x, _ in dots], [y for _, y in dots], s=7, color=style.INK, linewidth=0)
        axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.tick_params(length=0)
        drawing.colorbar(image, ax=axis, label="AUC", shrink=0.9, aspect=30)
        return style.to_svg(drawing, name)


def _short(text: str) -> str:
    return text if len(text) <= LENGTH else text[: LENGTH - 1] + "…"
