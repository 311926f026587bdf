"""Pair scores, distances and positions of one sequence, by looking at every pair of bins of every pair of filters."""

import math

import numpy as np

MISSING = -32768


def brute_force(value: np.ndarray, active: np.ndarray, *, pool: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score (P,) float32, NaN = not observed; distance and position (P,) int16, MISSING = not observed.

    Args:
        value: (n, n): from bin i of the smaller filter to bin u of the larger.
        active: bool (F, n).
        pool: bp per bin.
    """
    filters, bins = active.shape
    score, distance, position = [], [], []
    for f in range(filters):
        for g in range(f + 1, filters):
            best, apart, start = math.nan, MISSING, MISSING
            for i in range(bins):
                for u in range(bins):
                    if active[f, i] and active[g, u] and i != u and not value[i, u] <= best:
                        best, apart, start = float(value[i, u]), pool * u - pool * i, pool * i
            score.append(best)
            distance.append(apart)
            position.append(start)
    return np.array(score, dtype=np.float32), np.array(distance, dtype=np.int16), np.array(position, dtype=np.int16)


def largest_attention(attention: np.ndarray) -> np.ndarray:
    """(n, n): the largest attention between two bins over heads and both directions, from (h, n, n)."""
    heads, bins, _ = attention.shape
    out = np.zeros((bins, bins), dtype=np.float32)
    for i in range(bins):
        for u in range(bins):
            out[i, u] = max(max(attention[k, i, u], attention[k, u, i]) for k in range(heads))
    return out
