"""One-sided Wilcoxon signed-rank tests of many columns at once: are values above zero more often, and by more?

Equal to `scipy.stats.wilcoxon(x, zero_method="wilcox", correction=False, alternative="greater", method="asymptotic")`
on each column without its missing values: zeros are dropped, the normal approximation is corrected for ties and has no
continuity correction. Sizes of negative and of positive values are two sorted lists, so the signed-rank sum is the rank
sum of one in both, and the merge of `core.rank_test` counts it exactly in integers.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from satori_hpc.core import rank_test
from satori_hpc.core.columns import Columns, values_of


@dataclass(frozen=True)
class SignedRank:
    """What the test says of each column; all arrays (columns,).

    Attributes:
        n: int64, values, zeros among them.
        nonzero: int64, values that are ranked.
        w_plus: float64, sum of the ranks (of size) of the positive values; ties share the mean rank.
        auc: float64, w_plus / (nonzero (nonzero + 1) / 2): the share of ranks that is positive, 0.5 without any value
            but zeros. The matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-) is 2 auc - 1.
        auc_error: float64, standard deviation of auc if signs were thrown by a coin; NaN where nothing is ranked.
        median: float64, of all values.
        p: float64, of values being above zero; 1 where there are only zeros.
        neg_log10_p: float64, told also where p is too small for a float64.

    w_plus, auc, median and the p-values are NaN where there is no value.
    """

    n: np.ndarray
    nonzero: np.ndarray
    w_plus: np.ndarray
    auc: np.ndarray
    auc_error: np.ndarray
    median: np.ndarray
    p: np.ndarray
    neg_log10_p: np.ndarray


def wilcoxon(values: np.ndarray) -> SignedRank:
    """Test every column of an array, float32 (rows, columns), NaN = missing.

    Raises:
        ValueError: the values are not float32.
    """
    columns = Columns(values.shape[1], rows=len(values))
    columns.add(0, np.ascontiguousarray(values))
    return test(columns, 0)


def test(columns: Columns, side: int) -> SignedRank:
    """Test every gathered column of one side of `columns`."""
    n = columns.counts(side)
    keys_of = columns.sorted_keys(side)
    merge, count_ties = rank_test.compiled()
    merged = np.empty(int(n.max(initial=0)), np.int32)
    nonzero = np.zeros(columns.width, np.int64)
    w_twice, ties = np.zeros(columns.width, np.int64), np.zeros(columns.width)
    middle = np.zeros((columns.width, 2), np.int32)
    for column in range(columns.width):
        keys = keys_of(column)
        if not len(keys):
            continue
        middle[column] = keys[(len(keys) - 1) // 2], keys[len(keys) // 2]
        # The key of -x is minus the key of x, and zero has the key 0.
        negative = np.ascontiguousarray(-keys[: np.searchsorted(keys, 0, side="left")][::-1])
        positive = keys[np.searchsorted(keys, 0, side="right") :]
        out = merged[: len(negative) + len(positive)]
        wins = merge(positive, negative, out)
        equal, ties[column] = count_ties(positive, out)
        nonzero[column] = len(out)
        w_twice[column] = 2 * wins - equal + len(positive) * (len(positive) + 1)
    there = n > 0
    w_plus = np.where(there, w_twice / 2.0, np.nan)
    ranked = nonzero.astype(np.float64)
    total = ranked * (ranked + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(total * (2 * ranked + 1) / 12 - ties / 48)
        z = np.where(nonzero > 0, (w_plus - total / 2) / error, -np.inf)
        return SignedRank(
            n=n,
            nonzero=nonzero,
            w_plus=w_plus,
            auc=np.where(there, np.where(nonzero > 0, w_plus / total, 0.5), np.nan),
            auc_error=np.where(nonzero > 0, error / total, np.nan),
            median=np.where(there, values_of(middle).astype(np.float64).mean(axis=1), np.nan),
            p=np.where(there, special.ndtr(-z), np.nan),
            neg_log10_p=np.where(there, rank_test.neg_log10_upper(z), np.nan),
        )
