"""The way back through a softmax, from gradients or secants, in one compiled pass over each row.

Between two rows of weights a and b, of logarithms apart by d, the rise of a weight over that of its logarithm is their
logarithmic mean, (b - a) / d; where d is small a series of it in d / 2 around the arithmetic mean. A softmax is these
slopes and a shift of the logarithms that is the same for all of a row: multipliers lose their mean weighted by slopes.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

SMALL = 0.25  # of d / 2, up to which the series is exact to 1e-8


def back(multipliers: np.ndarray, weights: np.ndarray, scores: np.ndarray, log_sums: np.ndarray, *, step: int) -> None:
    """Turn multipliers of weights into multipliers of scores, in place.

    Args:
        multipliers: (rows, n).
        weights, scores: (rows + step, n), of the softmax and what it is taken of; row i goes from i to i + step.
        log_sums: (rows + step,), logarithms of the sums of the scores' exponentials.
        step: rows between the ends of a segment; 0: derivatives.
    """
    _compiled()(multipliers, weights, scores, log_sums, step)


@functools.cache
def _compiled() -> Callable[..., None]:
    """The loop, compiled once per process; not cached on disk: installations may be read-only."""
    import numba

    # Sums may be taken in another order, so that they are taken in vectors.
    compiled: Callable[..., None] = numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})(_back)
    return compiled


def _back(multipliers: Any, weights: Any, scores: Any, log_sums: Any, step: int) -> None:
    rows, cells = multipliers.shape
    real = multipliers.dtype.type
    half, small, one = real(0.5), real(SMALL), real(1)
    third, fifth, seventh, ninth = real(1 / 3), real(2 / 15), real(17 / 315), real(62 / 2835)
    slope = np.empty(cells, multipliers.dtype)
    for row in range(rows):
        first, last, own = weights[row], weights[row + step], multipliers[row]
        before, after, apart = scores[row], scores[row + step], log_sums[row + step] - log_sums[row]
        total, weighted = real(0), real(0)
        for cell in range(cells):
            gap = after[cell] - before[cell] - apart
            x = half * gap
            square = x * x
            series = one - square * (third - square * (fifth - square * (seventh - square * ninth)))
            even = series * half * (first[cell] + last[cell])
            uneven = (last[cell] - first[cell]) / gap
            found = even if abs(x) < small else uneven
            slope[cell] = found
            total += found
            weighted += found * own[cell]
        shift = weighted / total
        for cell in range(cells):
            own[cell] = (own[cell] - shift) * slope[cell]
