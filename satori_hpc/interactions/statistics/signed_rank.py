"""One-sided Wilcoxon signed-rank tests of many columns at once: are values above zero more often, and by more?

Equal to `scipy.stats.wilcoxon(x, zero_method="wilcox", correction=False, alternative="greater", method="asymptotic")`
on each column without its missing values: zeros are dropped, the normal approximation is corrected for ties and has no
continuity correction. Sizes of negative and of positive values are two sorted lists, so the signed-rank sum is the rank
sum of one in both, and the merge of `interactions.statistics.mann_whitney` counts it exactly in integers.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from satori_hpc.interactions.columns import Columns, values_of
from satori_hpc.interactions.statistics import mann_whitney


@dataclass(frozen=True)
class SignedRank:
    """Test results of each column; all arrays (columns,).

    Attributes:
        n: int64, values, zeros among them.
        nonzero: int64, values that are ranked.
        w_plus: float64, sum of the ranks (of size) of the positive values; ties share the mean rank.
        auc: float64, w_plus / (nonzero (nonzero + 1) / 2): the share of ranks that is positive, 0.5 without any value
            but zeros. The matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-) is 2 auc - 1.
        auc_error: float64, standard deviation of auc if signs were thrown by a coin; NaN where nothing is ranked.
        median: float64, of all values.
        p: float64, of values being above zero; 1 where there are only zeros.
        neg_log10_p: float64, given also where p is too small for a float64.

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
    merge, count_ties = mann_whitney.compiled()
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
            neg_log10_p=np.where(there, mann_whitney.neg_log10_upper(z), np.nan),
        )


# Leave-one-out median-centring: a value minus the median of the other values of its row.
#
# The median without one entry follows from three numbers around the centre of the sorted row and from the side of the
# centre on which the entry is. So four numbers describe a row, and contrasts can be computed entry by entry.
# Rows with fewer than three values have no contrasts.

LEAST_VALUES = 3  # of a row: the median of fewer than two others is no median


class RowMedians(NamedTuple):
    """How rows are compared; all arrays (rows,), NaN where a row has too few values.

    Attributes:
        pivot: float32, to be compared with an entry.
        below, equal, above: float64, median of the others for an entry below the pivot, equal to it, and above it.
    """

    pivot: np.ndarray
    below: np.ndarray
    equal: np.ndarray
    above: np.ndarray


def row_medians(values: np.ndarray, *, least: float = -np.inf) -> RowMedians:
    """Describe every row of float32 (rows, columns), NaN = missing; values below `least` are dropped as if missing."""
    found = RowMedians(np.full(len(values), np.nan, np.float32), *np.full((3, len(values)), np.nan))
    limit = np.float32(least)
    for place, row in enumerate(values):
        there = row[row >= limit]  # no NaN is
        count = len(there)
        if count < LEAST_VALUES:
            continue
        half = (count - 1) // 2  # rank from 0 of the central one, or of the lower of two
        there.partition(half)
        low, high = float(there[:half].max()), float(there[half + 1 :].min())
        pivot = float(there[half])
        found.pivot[place] = pivot
        if count % 2:
            found.below[place], found.equal[place] = (pivot + high) / 2, (low + high) / 2
            found.above[place] = (low + pivot) / 2
        else:  # without an entry of the lower half the upper of the two central ones remains, and vice versa
            found.below[place] = found.equal[place] = high
            found.above[place] = pivot
    return found


def subtract(block: np.ndarray, rows: RowMedians, *, least: float = -np.inf) -> None:
    """Median-centre every value of a block in place, rounded to float32.

    Args:
        block: float32 (rows, columns), contiguous, NaN = missing.
        rows: of these rows, made with the same `least`.
        least: smaller values become missing.
    """
    compiled()(block, *rows, np.float32(least))


@functools.cache
def compiled() -> Callable[..., None]:
    """Return the loop below, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(_subtract)


def warm_up() -> None:
    """Compile now, for instance before threads start that would all wait for it."""
    subtract(np.zeros((1, 1), np.float32), row_medians(np.zeros((1, 1), np.float32)))


def _subtract(
    block: np.ndarray,
    pivot: np.ndarray,
    below: np.ndarray,
    equal: np.ndarray,
    above: np.ndarray,
    least: np.float32,
) -> None:
    for row in range(block.shape[0]):
        middle, if_below, if_equal, if_above = pivot[row], below[row], equal[row], above[row]
        for column in range(block.shape[1]):
            value = block[row, column]
            centre = if_above if value > middle else (if_below if value < middle else if_equal)
            block[row, column] = np.float32(value - centre) if value >= least else np.float32(np.nan)


# An empirical null: how large are the effects of non-interacting pairs?
#
# With thousands of sequences a test against "no effect at all" calls the smallest side effect. Most pairs have no more
# than side effects; how they scatter is read off the lower part of all effects, where true interactions are not. A pair
# is then compared with N(centre, scale^2 + sampling variance), which does not shrink with more sequences.
#
# Effects are on the scale of a normal distribution: if contrasts are N(d, 1), a signed-rank test has an expected
# auc of Phi(sqrt(2) d), so d = Phi^-1(auc) / sqrt(2); unlike auc it has no upper end where strong effects would crowd.

LEAST_PAIRS = 30  # fewer are too few to estimate the spread
LOW, HIGH = -3.0, 2.0  # in scales from the centre: values above may be true, values far below are outliers
STEPS = 200
PAIRS_PER_FREEDOM = 3  # measured: the scale of m pairs is as precise as a sd with so many degrees of freedom


@dataclass(frozen=True)
class Null:
    """Centre and scale of the effects of non-interacting pairs, on the scale of `effects`.

    Attributes:
        centre, scale: of a normal distribution; scale is without the sampling variance.
        freedom: degrees of freedom with which the scale is known.
    """

    centre: float
    scale: float
    freedom: float


def effects(auc: np.ndarray, auc_error: np.ndarray, nonzero: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (effect, its sampling error without any effect) of signed-rank tests, float64 (tests,).

    Args:
        auc, auc_error, nonzero: as in `SignedRank`.
    """
    edge = 0.5 / (nonzero * (nonzero + 1.0) / 2 + 1)  # as near to 0 and 1 as so many ranks can resolve
    return special.ndtri(np.clip(auc, edge, 1 - edge)) / np.sqrt(2), auc_error * np.sqrt(np.pi)


def fit(effect: np.ndarray, error: np.ndarray) -> Null | None:
    """Estimate centre and scale of the effects of non-interacting pairs.

    They are chosen so that the effects from `LOW` to `HIGH` scales around the centre have the mean and the variance
    of a normal distribution cut off there. True interactions above that do not count, however many, as long as most
    pairs are none.

    Args:
        effect, error: float64 (pairs,), finite.

    Returns:
        None where there are fewer than `LEAST_PAIRS`.
    """
    if len(effect) < LEAST_PAIRS:
        return None
    mean, variance = _cut_moments()
    noise = float(np.median(error)) ** 2
    centre = float(np.median(effect))
    under = centre - effect[effect <= centre]
    scale_squared = max(0.0, float(np.median(under) / special.ndtri(0.75)) ** 2 - noise)
    found = []
    for step in range(STEPS):
        deviate = (effect - centre) / np.sqrt(np.maximum(scale_squared + error**2, np.finfo(float).tiny))
        kept = deviate[(deviate >= LOW) & (deviate <= HIGH)]
        if not len(kept):
            break
        width = np.sqrt(scale_squared + noise)
        wider = np.sqrt(kept.var() / variance)
        centre += 0.7 * float(kept.mean() - mean * wider) * width
        scale_squared = max(0.0, width**2 * float(wider) ** 1.4 - noise)
        if step >= STEPS // 2:  # the last steps may go round in a circle, as effects go over the edges and back
            found.append((centre, np.sqrt(scale_squared)))
    if not found:
        return None
    centre, scale = np.mean(found, axis=0)
    return Null(centre=float(centre), scale=float(scale), freedom=len(effect) / PAIRS_PER_FREEDOM)


def neg_log10_p(effect: np.ndarray, error: np.ndarray, null: Null) -> np.ndarray:
    """Return -log10 of the chance of a larger effect under N(centre, scale^2 + error^2).

    The scale is an estimate, so the tail is that of Student's distribution (Wallace's approximation by a normal
    deviate, which stays finite in the farthest tail).
    """
    deviate = (effect - null.centre) / np.sqrt(np.maximum(null.scale**2 + error**2, np.finfo(float).tiny))
    nu = null.freedom
    normal = np.sign(deviate) * (8 * nu + 1) / (8 * nu + 3) * np.sqrt(nu * np.log1p(deviate**2 / nu))
    return mann_whitney.neg_log10_upper(normal)


def _cut_moments() -> tuple[float, float]:
    """Return mean and variance of a standard normal distribution cut off at LOW and HIGH."""
    at_low, at_high = (float(np.exp(-edge * edge / 2) / np.sqrt(2 * np.pi)) for edge in (LOW, HIGH))
    mass = float(special.ndtr(HIGH) - special.ndtr(LOW))
    mean = (at_low - at_high) / mass
    return mean, 1 + (LOW * at_low - HIGH * at_high) / mass - mean**2
