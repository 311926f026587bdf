"""Which position of a pooled cell is the largest, and for how much of a path, in one compiled pass.

The loops run over filters inside, which lie beside each other in memory, without a branch on their values.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


def route(
    start: np.ndarray, end: np.ndarray, multipliers: np.ndarray, *, nodes: np.ndarray, floor: bool, out: np.ndarray
) -> None:
    """Pass multipliers of a cell's maximum on to its positions, each as much as it was the largest.

    Values change evenly along a path. Of equal ones the first is the largest.

    Args:
        start, end: (1 or R, n, pool, F) and (R, n, pool, F), values at both ends of the paths.
        multipliers: (S, R, n, F), of the maximum in each segment.
        nodes: (S + 1,), ends of the segments on the path, 0..1, of the type of the values.
        floor: the maximum is one over the positions and 0.
        out: (R, n, pool, F), filled: the sum over segments of multiplier * length of the part of the segment on which
            the position is the largest.
    """
    _compiled(_route)(start, end, multipliers, nodes, floor, out)


def pick(
    start: np.ndarray,
    end: np.ndarray,
    multipliers: np.ndarray,
    *,
    nodes: np.ndarray,
    weights: np.ndarray,
    floor: bool,
    out: np.ndarray,
) -> None:
    """Pass multipliers of a cell's maximum on to the position that is the largest at each node.

    Args:
        start, end, floor: as for `route`.
        multipliers: (N, R, n, F), of the maximum at each node.
        nodes, weights: (N,), places on the path and weights, of the type of the values.
        out: (R, n, pool, F), filled: the weighted sum over nodes.
    """
    _compiled(_pick)(start, end, multipliers, nodes, weights, floor, out)


@functools.cache
def _compiled(loops: Callable[..., None]) -> Callable[..., None]:
    """The loops, compiled once per process; not cached on disk: installations may be read-only."""
    import numba

    compiled: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(loops)
    return compiled


def _pick(start: Any, end: Any, multipliers: Any, nodes: Any, weights: Any, floor: bool, out: Any) -> None:
    paths, cells, pool, filters = end.shape
    top = np.empty(filters, end.dtype)
    place_of_top = np.empty(filters, np.int32)
    none, all_ = end.dtype.type(0), end.dtype.type(1)
    lowest = none if floor else -end.dtype.type(np.inf)
    for path in range(paths):
        begin = start[path if len(start) > 1 else 0]
        for cell in range(cells):
            out[path, cell] = none
            for node in range(len(nodes)):
                after, weight = nodes[node], weights[node]
                before = all_ - after
                top[:] = lowest
                place_of_top[:] = -1
                for place in range(pool):
                    first, last = begin[cell, place], end[path, cell, place]
                    for f in range(filters):
                        value = first[f] * before + last[f] * after
                        larger = value > top[f]
                        top[f] = value if larger else top[f]
                        place_of_top[f] = place if larger else place_of_top[f]
                values = multipliers[node, path, cell]
                for place in range(pool):
                    total = out[path, cell, place]
                    for f in range(filters):
                        total[f] += weight * values[f] if place_of_top[f] == place else none


def _route(start: Any, end: Any, multipliers: Any, nodes: Any, floor: bool, out: Any) -> None:
    paths, cells, pool, filters = end.shape
    low = np.empty(filters, end.dtype)
    high = np.empty(filters, end.dtype)
    own = np.empty(filters, end.dtype)
    none, all_ = end.dtype.type(0), end.dtype.type(1)
    for path in range(paths):
        begin = start[path if len(start) > 1 else 0]
        for cell in range(cells):
            for place in range(pool):
                first, last = begin[cell, place], end[path, cell, place]
                total = out[path, cell, place]
                for f in range(filters):
                    own[f] = last[f] - first[f]
                    lead, gain = (first[f], own[f]) if floor else (all_, none)
                    meet = -lead / gain
                    low[f] = max(none, meet) if gain > none else none
                    up = min(all_, meet) if gain < none else all_
                    high[f] = -all_ if gain == none and lead <= none else up
                    total[f] = none
                for rival in range(pool):
                    if rival != place:
                        other, further = begin[cell, rival], end[path, cell, rival]
                        late = place > rival
                        for f in range(filters):
                            lead = first[f] - other[f]
                            gain = own[f] - (further[f] - other[f])
                            meet = -lead / gain
                            low[f] = max(low[f], meet) if gain > none else low[f]
                            up = min(high[f], meet) if gain < none else high[f]
                            beaten = lead < none or (lead == none and late)
                            high[f] = -all_ if gain == none and beaten else up
                for segment in range(len(nodes) - 1):
                    left, right = nodes[segment], nodes[segment + 1]
                    values = multipliers[segment, path, cell]
                    for f in range(filters):
                        share = min(high[f], right) - max(low[f], left)
                        total[f] += max(share, none) * values[f]
