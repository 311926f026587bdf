"""Run one-sided Mann-Whitney tests of many columns at once, and Benjamini-Hochberg over the tested columns.

Equal to `scipy.stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")` on each column without its missing
values: normal approximation with tie and continuity correction. Algorithm: per column and side drop missing values,
map the float32 values to int32 of the same order, sort those (numpy's vector sort), and merge the two sorted sides,
counting wins and ties exactly in integers. The values may come block by block (`interactions.columns`).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from satori_hpc.interactions.columns import Columns, values_of


@dataclass(frozen=True)
class RankTest:
    """Test results of each column; all arrays (columns,).

    Attributes:
        n_fg, n_bg: int64, observed values on each side.
        median_fg, median_bg: float64, NaN where nothing was observed.
        max_fg: float32, NaN where nothing was observed.
        u: float64, Mann-Whitney's U of the foreground: wins + ties / 2 over all pairs of values.
        auc: float64, u / (n_fg n_bg): the chance that a foreground value is above a background value.
        p: float64, of foreground values being larger. NaN, like u and auc, where a side is empty.
        neg_log10_p: float64, given also where p is too small for a float64.
    """

    n_fg: np.ndarray
    n_bg: np.ndarray
    median_fg: np.ndarray
    median_bg: np.ndarray
    max_fg: np.ndarray
    u: np.ndarray
    auc: np.ndarray
    p: np.ndarray
    neg_log10_p: np.ndarray


def mann_whitney(foreground: np.ndarray, background: np.ndarray) -> RankTest:
    """Test every column of two arrays for larger values in the foreground.

    Args:
        foreground: float32 (examples, columns), NaN = missing; minus zero counts as zero.
        background: float32 (other examples, the same columns).

    Raises:
        ValueError: the columns do not match, or the values are not float32.
    """
    if foreground.shape[1] != background.shape[1]:
        raise ValueError(f"foreground has {foreground.shape[1]} columns, background {background.shape[1]}")
    columns = Columns(foreground.shape[1], rows=len(foreground) + len(background))
    for side, block in enumerate((foreground, background)):
        columns.add(side, np.ascontiguousarray(block))
    return compare(columns)


def compare(columns: Columns, *, sides: tuple[int, int] = (0, 1), replace_rare: bool = False) -> RankTest:
    """Test every gathered column for larger values in the foreground.

    Args:
        columns: the values of both sides.
        sides: which those are, the foreground first.
        replace_rare: as SATORI 1 did, compare with as many zeros as the foreground has values where the background has
            at most one; it then has no median, and `n_bg` still counts the observed values.
    """
    n_fg, n_bg = columns.counts(sides[0]), columns.counts(sides[1])
    replaced = (n_bg <= 1) & replace_rare
    compared = np.where(replaced, n_fg, n_bg)
    keys_of = [columns.sorted_keys(side) for side in sides]
    merged = np.empty(int((n_fg + compared).max(initial=0)), np.int32)
    merge, count_ties = compiled()
    wins_twice, ties = np.zeros(columns.width, np.int64), np.zeros(columns.width)
    middle = np.zeros((2, columns.width, 2), np.int32)  # keys of the two central values, by side
    largest = np.zeros(columns.width, np.int32)
    for column in range(columns.width):
        x = keys_of[0](column)
        y = np.zeros(len(x), np.int32) if replaced[column] else keys_of[1](column)
        out = merged[: len(x) + len(y)]
        wins = merge(x, y, out)
        equal, ties[column] = count_ties(x, out)
        wins_twice[column] = 2 * wins - equal
        for side, keys in enumerate((x, y)):
            if len(keys):
                middle[side, column] = keys[(len(keys) - 1) // 2], keys[len(keys) // 2]
        if len(x):
            largest[column] = x[-1]
    u = wins_twice / 2.0
    u[(n_fg == 0) | (compared == 0)] = np.nan
    medians = values_of(middle).astype(np.float64).mean(axis=2)
    z = z_greater(u, n_fg, compared, ties)
    with np.errstate(invalid="ignore", divide="ignore"):
        return RankTest(
            n_fg=n_fg,
            n_bg=n_bg,
            median_fg=np.where(n_fg > 0, medians[0], np.nan),
            median_bg=np.where((n_bg > 0) & ~replaced, medians[1], np.nan),
            max_fg=np.where(n_fg > 0, values_of(largest), np.float32(np.nan)),
            u=u,
            auc=u / (n_fg.astype(np.float64) * compared),
            p=special.ndtr(-z),
            neg_log10_p=neg_log10_upper(z),
        )


def z_greater(u: np.ndarray, n_fg: np.ndarray, n_bg: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return U as a standard normal deviate, with tie and continuity correction; large where the foreground is larger.

    Args:
        u: float64, U of the foreground.
        n_fg, n_bg: values on each side.
        ties: float64, sum of t^3 - t over the groups of t equal values.

    Returns:
        float64; minus infinity (p = 1) where all values are equal, NaN where u is.
    """
    first, second = n_fg.astype(np.float64), n_bg.astype(np.float64)
    n = first + second
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(first * second / 12 * ((n + 1) - ties / (n * (n - 1))))
        z: np.ndarray = (u - first * second / 2 - 0.5) / deviation
    return z


def neg_log10_upper(z: np.ndarray) -> np.ndarray:
    """Return -log10 of the upper tail of the standard normal distribution.

    Finite far beyond where the tail itself is 0.
    """
    out: np.ndarray = -special.log_ndtr(-z) / np.log(10) + 0.0  # no minus zero
    return out


def simes(neg_log10_p: np.ndarray) -> float:
    """Return -log10 of Simes' p-value of several tests of one hypothesis: the smallest n p_(i) / i; never below 0.

    It is the smallest Benjamini-Hochberg q-value among them.

    Args:
        neg_log10_p: float64 (n,), n > 0, each -log10 of a p-value, in any order.
    """
    falling = np.sort(neg_log10_p)[::-1]
    return max(0.0, float(np.max(falling + np.log10(np.arange(1, len(falling) + 1) / len(falling)))))


def q_values(p: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg q-values of one family of tests: min over p_(j) >= p_(i) of p_(j) n / j, at most 1.

    Equal to `scipy.stats.false_discovery_control`, which takes a second and 40 MB to load.
    """
    order = np.argsort(p)
    scaled = p[order] * (len(p) / np.arange(1, len(p) + 1))
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1)
    return q


MOST = 0.5  # share of true pairs among the tested ones that is worth a warning
LEAST_TESTS = 20  # fewer p-values are too few to estimate a share from


def share_true(p: np.ndarray) -> float | None:
    """Estimate the share of a family's tests that have an effect: 1 minus the share of the null (Storey 2002, at 1/2).

    Of p-values without an effect half are above 1/2, of one-sided ones perhaps more: the share is rather too small.

    Returns:
        None for fewer than `LEAST_TESTS`.
    """
    return max(0.0, 1 - 2 * float(np.mean(p > 0.5))) if len(p) >= LEAST_TESTS else None


class _Compiled(NamedTuple):
    merge: Callable[..., int]
    count_ties: Callable[..., tuple[int, float]]


@functools.cache
def compiled() -> _Compiled:
    """Return the loops below, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    return _Compiled(jit.compile_loops(_merge), jit.compile_loops(_count_ties))


def warm_up() -> None:
    """Compile now, for instance before threads start that would all wait for it."""
    columns = Columns(1, rows=2)
    columns.add(0, np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int16))
    columns.add(1, np.zeros((1, 1), np.float32))
    compare(columns)


def _merge(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> int:
    """Merge sorted x and y into `out`; how many pairs (x, y) have y at most x."""
    i, j, wins = 0, 0, 0
    while i < len(x) and j < len(y):  # without a branch on the values, which no processor could predict
        first, second = x[i], y[j]
        less = int(first < second)
        out[i + j] = min(first, second)
        wins += j * less
        i += less
        j += 1 - less
    wins += j * (len(x) - i)
    out[i + j : j + len(x)] = x[i:]
    out[len(x) + j :] = y[j:]
    return wins


def _count_ties(x: np.ndarray, merged: np.ndarray) -> tuple[int, float]:
    """Return (pairs (x, y) of equal values, sum of t^3 - t over groups of t ties) of sorted x merged with y."""
    begin, i, equal, ties = 0, 0, 0, 0.0
    while begin < len(merged) - 1:
        value = merged[begin]
        if value != merged[begin + 1]:  # nearly always
            begin += 1
            continue
        end = begin + 2
        while end < len(merged) and merged[end] == value:
            end += 1
        while i < len(x) and x[i] < value:
            i += 1
        first = i
        while i < len(x) and x[i] == value:
            i += 1
        size = float(end - begin)
        equal += (i - first) * (end - begin - (i - first))
        ties += size * size * size - size  # in float64: the cube of an integer would overflow
        begin = end
    return equal, ties
