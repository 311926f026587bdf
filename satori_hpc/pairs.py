"""Pairs of filters, numbered along the upper triangle, row by row: (0,1), (0,2), ..., (0,F-1), (1,2), ..."""

from typing import Any

import numpy as np

SUM_VALUES = 2**20


def count(filters: int) -> int:
    """Count the unordered pairs of different filters."""
    return filters * (filters - 1) // 2


def filters_of(filters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two filters of every pair.

    Args:
        filters: F, the number of filters.

    Returns:
        filter_a, filter_b: int32 (P,), filter_a < filter_b, in the order of the pair numbers.
    """
    first, second = np.triu_indices(filters, k=1)
    return first.astype(np.int32), second.astype(np.int32)


def index(filter_a: Any, filter_b: Any, *, filters: int) -> Any:
    """Return the numbers of the pairs (filter_a, filter_b), where filter_a < filter_b.

    Args:
        filter_a: the smaller filter: a number, or an int64 array or tensor.
        filter_b: the larger one, likewise.
        filters: F, the number of filters.
    """
    return filter_a * (2 * filters - filter_a - 1) // 2 + filter_b - filter_a - 1


def observed(score: np.ndarray) -> tuple[int, float]:
    """Return (number, sum in float64) of the scores (rows, P) that are not NaN, by blocks of rows to bound memory."""
    observed, total = 0, 0.0
    rows = max(1, SUM_VALUES // score.shape[1])
    for first in range(0, len(score), rows):
        block = score[first : first + rows]
        present = block[~np.isnan(block)]
        observed += len(present)
        total += float(present.sum(dtype=np.float64))
    return observed, total
