"""What a value is above the median of the other values of its row.

The median without one entry follows from three numbers around the middle of the sorted row and from the side of the
middle on which the entry lies. So a row is described by four numbers, and its contrasts can be told entry by entry.
Rows with fewer than three values have no contrasts.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LEAST_VALUES = 3  # of a row: the median of fewer than two others is no median


class Middles(NamedTuple):
    """How rows are compared; all arrays (rows,), NaN where a row has too few values.

    Attributes:
        pivot: float32, what an entry is compared with.
        below, equal, above: float64, median of the others for an entry below the pivot, equal to it, and above it.
    """

    pivot: np.ndarray
    below: np.ndarray
    equal: np.ndarray
    above: np.ndarray


def middles(values: np.ndarray, *, least: float = -np.inf) -> Middles:
    """Describe every row of float32 (rows, columns), NaN = missing; values below `least` are dropped as if missing."""
    found = Middles(np.full(len(values), np.nan, np.float32), *np.full((3, len(values)), np.nan))
    limit = np.float32(least)
    for place, row in enumerate(values):
        there = row[row >= limit]  # no NaN is
        count = len(there)
        if count < LEAST_VALUES:
            continue
        half = (count - 1) // 2  # rank from 0 of the middle one, or of the lower of two
        there.partition(half)
        low, high = float(there[:half].max()), float(there[half + 1 :].min())
        pivot = float(there[half])
        found.pivot[place] = pivot
        if count % 2:
            found.below[place], found.equal[place] = (pivot + high) / 2, (low + high) / 2
            found.above[place] = (low + pivot) / 2
        else:  # without an entry of the lower half the upper of the two middle ones is left, and the other way round
            found.below[place] = found.equal[place] = high
            found.above[place] = pivot
    return found


def subtract(block: np.ndarray, rows: Middles, *, least: float = -np.inf) -> None:
    """Replace every value of a block by its contrast, rounded to float32, in place.

    Args:
        block: float32 (rows, columns), contiguous, NaN = missing.
        rows: of these rows, made with the same `least`.
        least: smaller values become missing.
    """
    compiled()(block, *rows, np.float32(least))


@functools.cache
def compiled() -> Callable[..., None]:
    """The loop below, compiled once per process; not cached on disk: installations may be read-only."""
    import numba

    wrapped: Callable[..., Any] = numba.njit(nogil=True)(_subtract)
    return wrapped


def warm_up() -> None:
    """Compile now, for instance before threads start that would all wait for it."""
    subtract(np.zeros((1, 1), np.float32), middles(np.zeros((1, 1), np.float32)))


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
