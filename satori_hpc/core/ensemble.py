"""Several networks of one configuration, brought together pair of TFs by pair of TFs.

Filter 17 of one network has nothing to do with filter 17 of another: names of TFs are what networks have in common.
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Column here: column of a member's table of TF pairs, of which it is the median.
MEDIANS = {
    "median_q": "q",
    "median_neg_log10_p": "neg_log10_p",
    "median_auc": "auc",
    "median_effect": "effect",
    "median_distance": "median_distance",
}


def combine(members: Sequence[Mapping[str, np.ndarray]], *, needed: int) -> dict[str, np.ndarray]:
    """Gather the rows that the members have of each pair of TFs.

    Args:
        members: columns tf_a, tf_b, called and those of MEDIANS of each member's tested TF pairs, one row per pair,
            names sorted within it.
        needed: members that must call a pair for it to be called.

    Returns:
        tf_a, tf_b, seeds (members with a row of the pair), called_seeds, min_q, the columns of MEDIANS, called; one row
        per pair that any member has, those called by most members first, then by median q, median p, median AUC
        falling, names. It does not depend on the order of the members.
    """
    rows: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for number, table in enumerate(members):
        for row, pair in enumerate(zip(table["tf_a"].tolist(), table["tf_b"].tolist(), strict=True)):
            rows.setdefault(pair, []).append((number, row))
    names = sorted(rows)

    def values(column: str, pair: tuple[str, str]) -> np.ndarray:
        return np.array([members[number][column][row] for number, row in rows[pair]])

    called_seeds = np.array([values("called", pair).astype(bool).sum() for pair in names], dtype=np.int64)
    found = {
        "tf_a": np.array([first for first, _ in names], dtype=object),
        "tf_b": np.array([second for _, second in names], dtype=object),
        "seeds": np.array([len(rows[pair]) for pair in names], dtype=np.int64),
        "called_seeds": called_seeds,
        "min_q": np.array([values("q", pair).min() for pair in names], dtype=np.float64),
        **{
            name: np.array([np.median(values(column, pair)) for pair in names], dtype=np.float64)
            for name, column in MEDIANS.items()
        },
        "called": called_seeds >= needed,
    }
    order = np.lexsort(
        (
            np.arange(len(names)),
            -found["median_auc"],
            -found["median_neg_log10_p"],
            found["median_q"],
            -found["called_seeds"],
        )
    )
    return {name: column[order] for name, column in found.items()}
