"""Whether scores of one column are larger in examples of a group than in all others, for many groups at once.

Equal to `scipy.stats.mannwhitneyu(with, without, alternative="two-sided", method="asymptotic")` for each group. All
groups divide the same values, so these are ranked once.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from satori_hpc.interactions.statistics import mann_whitney

AT_ONCE = 2**25  # entries of the membership table in memory at a time


@dataclass(frozen=True)
class Difference:
    """Test results of each group; all arrays (groups,).

    Attributes:
        n_with, n_without: int64, values inside and outside the group.
        median_with, median_without: float64, NaN where there is none.
        auc: float64, chance that a value inside is above one outside; NaN, like p, where a side is empty.
        p: float64, two-sided.
        neg_log10_p: float64, given also where p is too small for a float64.
    """

    n_with: np.ndarray
    n_without: np.ndarray
    median_with: np.ndarray
    median_without: np.ndarray
    auc: np.ndarray
    p: np.ndarray
    neg_log10_p: np.ndarray


def compare(values: np.ndarray, members: np.ndarray) -> Difference:
    """Test every group against all other examples.

    Args:
        values: float32 (examples,), NaN = missing.
        members: bool (examples, groups).
    """
    groups = max(1, AT_ONCE // max(len(values), 1))
    parts = [
        _compare(values, members[:, first : first + groups]) for first in range(0, max(members.shape[1], 1), groups)
    ]
    return Difference(*(np.concatenate(each) for each in zip(*(vars(part).values() for part in parts), strict=True)))


def _compare(values: np.ndarray, members: np.ndarray) -> Difference:
    seen = np.flatnonzero(~np.isnan(values))
    order = seen[np.argsort(values[seen], kind="stable")]
    rising, inside = values[order].astype(np.float64), members[order]
    twice, ties = _ranks(rising)
    n_with = inside.sum(axis=0, dtype=np.int64)
    n_without = len(order) - n_with
    # Twice the ranks are whole numbers: sums of floats are exact.
    u = (twice @ inside.astype(np.float64) - n_with * (n_with + 1.0)) / 2
    product = n_with.astype(np.float64) * n_without
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = np.where(product > 0, u / product, np.nan)
    larger = np.where(product > 0, np.maximum(u, product - u), np.nan)
    z = mann_whitney.z_greater(larger, n_with, n_without, np.full(len(u), ties))
    return Difference(
        n_with=n_with,
        n_without=n_without,
        median_with=_medians(rising, inside, n_with),
        median_without=_medians(rising, ~inside, n_without),
        auc=auc,
        p=np.minimum(2 * special.ndtr(-z), 1.0),
        neg_log10_p=np.maximum(mann_whitney.neg_log10_upper(z) - np.log10(2), 0.0),
    )


def _ranks(rising: np.ndarray) -> tuple[np.ndarray, float]:
    """Return twice the mid-ranks, float64, of sorted values, and the sum of t^3 - t over the groups of t equal ones."""
    new = np.ones(len(rising), dtype=bool)
    new[1:] = rising[1:] != rising[:-1]
    first = np.flatnonzero(new)
    size = np.diff(np.append(first, len(rising))).astype(np.float64)
    return np.repeat(2 * first + size + 1, size.astype(np.int64)), float(np.sum(size**3 - size))


def _medians(rising: np.ndarray, inside: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return median of the sorted values inside each group."""
    if not len(rising):
        return np.full(len(count), np.nan)
    until = np.cumsum(inside, axis=0, dtype=np.int32)
    lower, upper = ((until >= np.maximum(k, 1)).argmax(axis=0) for k in ((count + 1) // 2, count // 2 + 1))
    return np.where(count > 0, (rising[lower] + rising[upper]) / 2, np.nan)
