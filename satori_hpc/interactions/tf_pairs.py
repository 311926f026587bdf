"""From interactions of filters to interactions of TFs."""

import numpy as np

from satori_hpc.interactions.statistics import mann_whitney
from satori_hpc.motifs import names as tf_names

COLUMNS = ("q", "p", "neg_log10_p", "auc", "effect", "n_fg", "median_distance", "called")


def combine(
    tf_a: np.ndarray, tf_b: np.ndarray, *, columns: dict[str, np.ndarray], pooled_alpha: float | None = None
) -> dict[str, np.ndarray]:
    """Gather the tested filter pairs of each pair of two different TFs.

    Names that are compared as one (`tf_names.compared`) are one TF, which is no pair with itself. The two names of a
    pair are sorted: (A, B) and (B, A) are one. A TF pair carries the numbers of its best filter pair (smallest q, then
    smallest p, then largest AUC). As published it is called when any of its filter pairs is, so that
    with many filters per TF false calls add up. Pooled, its p-value is that of all its filter pairs together (Simes),
    its q-value is Benjamini-Hochberg's over the TF pairs, and that decides.

    Args:
        tf_a, tf_b: str (rows,), names of the two filters of each tested pair, "" = no name.
        columns: COLUMNS of these filter pairs, (rows,).
        pooled_alpha: call pooled TF pairs at or below this q-value; None = as published.

    Returns:
        tf_a, tf_b, q, p, neg_log10_p, auc, effect, filter_pairs, called_filter_pairs, n_fg, median_distance, called;
        one row per TF pair, sorted by q, then p, then AUC falling, then names.
    """
    tf = {name: tf_names.compared(name) for name in {*tf_a.tolist(), *tf_b.tolist()}}
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (first, second) in enumerate(zip(tf_a.tolist(), tf_b.tolist(), strict=True)):
        if first and second and tf[first] != tf[second]:
            groups.setdefault((min(first, second), max(first, second)), []).append(row)
    order = np.lexsort((-columns["auc"], -columns["neg_log10_p"], columns["q"]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    names = sorted(groups)
    chosen = np.array([min(groups[key], key=lambda row: int(rank[row])) for key in names], dtype=np.int64)
    called = columns["called"].astype(bool)
    found = {
        "tf_a": np.array([first for first, _ in names], dtype=object),
        "tf_b": np.array([second for _, second in names], dtype=object),
        **{name: columns[name][chosen] for name in ("q", "p", "neg_log10_p", "auc", "effect")},
        "filter_pairs": np.array([len(groups[key]) for key in names], dtype=np.int64),
        "called_filter_pairs": np.array([int(called[groups[key]].sum()) for key in names], dtype=np.int64),
        "n_fg": columns["n_fg"][chosen],
        "median_distance": columns["median_distance"][chosen],
        "called": np.array([bool(called[groups[key]].any()) for key in names], dtype=bool),
    }
    if pooled_alpha is not None:
        pooled = np.array([mann_whitney.simes(columns["neg_log10_p"][groups[key]]) for key in names], dtype=np.float64)
        found |= {"neg_log10_p": pooled, "p": 10.0**-pooled}
        found["q"] = mann_whitney.q_values(found["p"])
        found["called"] = found["q"] <= pooled_alpha
    by_rank = np.lexsort((np.arange(len(names)), -found["auc"], -found["neg_log10_p"], found["q"]))
    return {name: values[by_rank] for name, values in found.items()}
