"""Pair scores and distances of one sequence, by looking at every pair of cells of every pair of filters."""

import math

import numpy as np


def brute_force(value: np.ndarray, active: np.ndarray, *, pool: int) -> tuple[np.ndarray, np.ndarray]:
    """Score (P,) float32, NaN = not observed, and distance (P,) int16, -1 = not observed.

    Args:
        value: (n, n): from cell i of the smaller filter to cell u of the larger.
        active: bool (F, n).
        pool: bp per cell.
    """
    filters, cells = active.shape
    score, distance = [], []
    for f in range(filters):
        for g in range(f + 1, filters):
            best, apart = -math.inf, -1
            for i in range(cells):
                for u in range(cells):
                    if active[f, i] and active[g, u] and i != u and value[i, u] > best:
                        best, apart = float(value[i, u]), pool * abs(i - u)
            score.append(best if apart >= 0 else math.nan)
            distance.append(apart)
    return np.array(score, dtype=np.float32), np.array(distance, dtype=np.int16)


def largest_attention(attention: np.ndarray) -> np.ndarray:
    """(n, n): the largest attention between two cells over heads and both directions, from (h, n, n)."""
    heads, cells, _ = attention.shape
    out = np.zeros((cells, cells), dtype=np.float32)
    for i in range(cells):
        for u in range(cells):
            out[i, u] = max(max(attention[k, i, u], attention[k, u, i]) for k in range(heads))
    return out
