"""One-sided Mann-Whitney tests of many columns at once, and Benjamini-Hochberg over what was tested.

Equal to `scipy.stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")` on each column without its missing
values: normal approximation with tie and continuity correction. The way is: per column and side drop what is missing,
map the float32 values to int32 of the same order, sort those (numpy's vector sort), and merge the two sorted sides,
counting wins and ties exactly in integers.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

TILE = 8  # columns gathered together


@dataclass(frozen=True)
class RankTest:
    """What the test says of each column; all arrays (columns,).

    Attributes:
        n_fg, n_bg: int64, observed values on each side.
        median_fg, median_bg: float64, NaN where nothing was observed.
        max_fg: float32, NaN where nothing was observed.
        u: float64, Mann-Whitney's U of the foreground: wins + ties / 2 over all pairs of values.
        auc: float64, u / (n_fg n_bg): the chance that a foreground value is above a background value.
        p: float64, of foreground values being larger. NaN, like u and auc, where a side is empty.
    """

    n_fg: np.ndarray
    n_bg: np.ndarray
    median_fg: np.ndarray
    median_bg: np.ndarray
    max_fg: np.ndarray
    u: np.ndarray
    auc: np.ndarray
    p: np.ndarray


def mann_whitney(foreground: np.ndarray, background: np.ndarray) -> RankTest:
    """Test every column for larger values in the foreground.

    Args:
        foreground: float32 (examples, columns), NaN = missing; minus zero counts as zero.
        background: float32 (other examples, the same columns).

    Raises:
        ValueError: the columns do not match, or the values are not float32.
    """
    if foreground.shape[1] != background.shape[1]:
        raise ValueError(f"foreground has {foreground.shape[1]} columns, background {background.shape[1]}")
    keys_fg, n_fg = _sorted_keys(foreground)
    keys_bg, n_bg = _sorted_keys(background)
    wins_twice, ties = _compiled().merge(keys_fg, n_fg, keys_bg, n_bg)
    u = wins_twice / 2.0
    u[(n_fg == 0) | (n_bg == 0)] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return RankTest(
            n_fg=n_fg,
            n_bg=n_bg,
            median_fg=_medians(keys_fg, n_fg),
            median_bg=_medians(keys_bg, n_bg),
            max_fg=_values_at(keys_fg, n_fg - 1, n_fg > 0),
            u=u,
            auc=u / (n_fg.astype(np.float64) * n_bg),
            p=p_greater(u, n_fg, n_bg, ties),
        )


def medians(block: np.ndarray) -> np.ndarray:
    """float64 (columns,): median of each column's values that are not negative, NaN where there are none.

    Args:
        block: int16 (rows, columns), negative = missing.
    """
    keys, counts = _compiled().gather_present(np.ascontiguousarray(block), TILE)
    _sort(keys, counts)
    present = counts > 0
    low, high = (_at(keys, place, present).astype(np.float64) for place in ((counts - 1) // 2, counts // 2))
    return np.where(present, (low + high) / 2, np.nan)


def p_greater(u: np.ndarray, n_fg: np.ndarray, n_bg: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """p-values of U under the normal approximation, with tie and continuity correction.

    Args:
        u: float64, U of the foreground.
        n_fg, n_bg: values on each side.
        ties: float64, sum of t^3 - t over the groups of t equal values.

    Returns:
        float64; 1 where all values are equal, NaN where u is.
    """
    first, second = n_fg.astype(np.float64), n_bg.astype(np.float64)
    n = first + second
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(first * second / 12 * ((n + 1) - ties / (n * (n - 1))))
        z = (u - first * second / 2 - 0.5) / deviation
    p: np.ndarray = np.clip(special.ndtr(-z), 0, 1)
    return p


def q_values(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q-values of one family of tests."""
    q: np.ndarray = stats.false_discovery_control(p, method="bh") if len(p) else np.empty(0)
    return q


def _sorted_keys(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int32 (columns, rows): the ordered images of each column's observed values, sorted, and how many they are."""
    if block.dtype != np.float32:
        raise ValueError(f"expected float32, found {block.dtype}")
    block = np.ascontiguousarray(block)
    keys, counts = _compiled().gather(block, TILE)
    _sort(keys, counts)
    return keys, counts


def _sort(keys: np.ndarray, counts: np.ndarray) -> None:
    """Sort the first values of each row in place, by numpy's vector sort, which compiled code cannot reach."""
    for row, count in zip(keys, counts.tolist(), strict=True):
        row[:count].sort()


def _decode(keys: np.ndarray) -> np.ndarray:
    return np.where(keys < 0, -keys | np.int32(-(2**31)), keys).view(np.float32)


def _at(keys: np.ndarray, place: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Each row's key at a place; any number where it has none."""
    if not keys.shape[1]:
        return np.zeros(len(keys), dtype=keys.dtype)
    return np.take_along_axis(keys, np.where(present, place, 0)[:, None], axis=1)[:, 0]


def _values_at(keys: np.ndarray, place: np.ndarray, present: np.ndarray) -> np.ndarray:
    """float32: each column's value at a place of its sorted values, NaN where it has none."""
    return np.where(present, _decode(_at(keys, place, present)), np.float32(np.nan))


def _medians(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    present = counts > 0
    low, high = (_values_at(keys, place, present).astype(np.float64) for place in ((counts - 1) // 2, counts // 2))
    return (low + high) / 2


class _Compiled(NamedTuple):
    gather: Callable[..., Any]
    gather_present: Callable[..., Any]
    merge: Callable[..., Any]


@functools.cache
def _compiled() -> _Compiled:
    """The loops below, compiled once per process; not cached on disk: installations may be read-only."""
    import numba

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = numba.njit(nogil=True)(function)
        return compiled

    wins, wins_with_ties = compile_(_wins), compile_(_wins_with_ties)

    def merge(
        keys_fg: np.ndarray, n_fg: np.ndarray, keys_bg: np.ndarray, n_bg: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        wins_twice = np.zeros(len(n_fg), np.int64)
        ties = np.zeros(len(n_fg), np.float64)
        for column in range(len(n_fg)):
            x, y = keys_fg[column, : n_fg[column]], keys_bg[column, : n_bg[column]]
            wins_twice[column], any_tie = wins(x, y)
            if any_tie:
                wins_twice[column], ties[column] = wins_with_ties(x, y)
        return wins_twice, ties

    return _Compiled(compile_(_gather), compile_(_gather_present), compile_(merge))


def warm_up() -> None:
    """Compile now, for instance before threads start that would all wait for it."""
    mann_whitney(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    medians(np.zeros((1, 1), np.int16))


def _gather(block: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Transpose, drop what is missing, and map values to integers of the same order, in one pass."""
    rows, columns = block.shape
    bits = block.view(np.int32)
    keys = np.empty((columns, rows), np.int32)
    counts = np.zeros(columns, np.int64)
    for begin in range(0, columns, tile):
        end = min(begin + tile, columns)
        for row in range(rows):
            for column in range(begin, end):
                value = bits[row, column]
                magnitude = value & 0x7FFFFFFF
                # Written even when missing, to be overwritten by the next: a store is cheaper than a branch.
                count = counts[column]
                keys[column, count] = magnitude if value >= 0 else -magnitude
                counts[column] = count + (magnitude <= 0x7F800000)
    return keys, counts


def _gather_present(block: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Transpose int16 values and drop negative ones."""
    rows, columns = block.shape
    keys = np.empty((columns, rows), np.int16)
    counts = np.zeros(columns, np.int64)
    for begin in range(0, columns, tile):
        end = min(begin + tile, columns)
        for row in range(rows):
            for column in range(begin, end):
                count = counts[column]
                keys[column, count] = block[row, column]
                counts[column] = count + (block[row, column] >= 0)
    return keys, counts


def _wins(x: np.ndarray, y: np.ndarray) -> tuple[int, bool]:
    """(2 U of sorted x over sorted y if there are no ties, whether there are any)."""
    i, j, wins, equal = 0, 0, 0, 0
    while i < len(x) and j < len(y):  # without a branch on the values, which no processor could predict
        equal += x[i] == y[j]
        less = int(x[i] < y[j])
        wins += j * less
        i += less
        j += 1 - less
    for side in (x, y):
        for k in range(len(side) - 1):
            equal += side[k] == side[k + 1]
    return 2 * (wins + j * (len(x) - i)), equal > 0


def _wins_with_ties(x: np.ndarray, y: np.ndarray) -> tuple[int, float]:
    """(2 U of sorted x over sorted y, sum of t^3 - t over the groups of t equal values)."""
    i, j, wins_twice, ties = 0, 0, 0, 0.0
    while i < len(x) or j < len(y):
        value = y[j] if i == len(x) or (j < len(y) and y[j] < x[i]) else x[i]
        first_i, first_j = i, j
        while i < len(x) and x[i] == value:
            i += 1
        while j < len(y) and y[j] == value:
            j += 1
        wins_twice += (i - first_i) * (first_j + j)
        size = float(i - first_i + j - first_j)
        ties += size * size * size - size  # in float64: the cube of an integer would overflow
    return wins_twice, ties
