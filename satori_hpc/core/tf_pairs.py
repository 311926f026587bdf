"""From interactions of filters to interactions of TFs."""

import numpy as np


def combine(tf_a: np.ndarray, tf_b: np.ndarray, *, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gather the tested filter pairs of each pair of two different TFs.

    The two names of a pair are sorted: (A, B) and (B, A) are one. A TF pair is called when any of its filter pairs is;
    it carries the numbers of its best filter pair (smallest q, then largest AUC).

    Args:
        tf_a, tf_b: str (rows,), names of the two filters of each tested pair, "" = no name.
        columns: q, p, auc, n_fg, median_distance, called of these filter pairs, (rows,).

    Returns:
        tf_a, tf_b, q, p, auc, filter_pairs, called_filter_pairs, n_fg (sum over the filter pairs), median_distance,
        called; one row per TF pair, sorted by q, then AUC falling, then names.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (first, second) in enumerate(zip(tf_a.tolist(), tf_b.tolist(), strict=True)):
        if first and second and first != second:
            groups.setdefault((min(first, second), max(first, second)), []).append(row)
    order = np.lexsort((-columns["auc"], columns["q"]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    best = {names: min(rows, key=lambda row: int(rank[row])) for names, rows in groups.items()}
    names = sorted(groups, key=lambda key: (columns["q"][best[key]], -columns["auc"][best[key]], key))
    called = columns["called"].astype(bool)
    chosen = np.array([best[key] for key in names], dtype=np.int64)
    return {
        "tf_a": np.array([first for first, _ in names], dtype=object),
        "tf_b": np.array([second for _, second in names], dtype=object),
        **{name: columns[name][chosen] for name in ("q", "p", "auc")},
        "filter_pairs": np.array([len(groups[key]) for key in names], dtype=np.int64),
        "called_filter_pairs": np.array([int(called[groups[key]].sum()) for key in names], dtype=np.int64),
        "n_fg": np.array([int(columns["n_fg"][groups[key]].sum()) for key in names], dtype=np.int64),
        "median_distance": columns["median_distance"][chosen],
        "called": np.array([bool(called[groups[key]].any()) for key in names], dtype=bool),
    }
