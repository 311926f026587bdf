"""The largest interaction value of every filter pair of a sequence, on the CPU: compiled loops that stay in the cache.

scoring.kernel holds the definition and the same computation for other devices. Value and entry travel in one 64-bit
key: the order-preserving image of the float32 value above, 2^32 - 1 - (cell of the smaller filter << 16 | cell of the
larger) below. The larger key is the larger value and, on ties, the first entry in row-major order.
"""

import functools
import threading
from collections.abc import Callable

import numpy as np

LOW_BITS = 2**32 - 1
NOTHING = -(2**63)  # below the key of every number
MISSING = -(2**15)  # distance and position of a pair that was not observed
_COMPILING = threading.Lock()


def fill(
    value: np.ndarray,
    cells: np.ndarray,
    *,
    active: np.ndarray,
    pool: int,
    score: np.ndarray,
    distance: np.ndarray,
    position: np.ndarray,
) -> np.ndarray:
    """Write score, distance and position of every observed pair; what is not observed keeps what is there.

    Returns int64 (B,): the active (filter, cell) entries of each sequence.

    Args:
        value: float32 (B,a,a), finite: from cell cells[b,i] of the smaller filter to cell cells[b,u] of the larger.
        cells: int64 (B,a), the cells in which any filter is active, rising; the rest of a row is not read.
        active: bool (B,F,n), where the filters are active.
        pool: width of a cell, bp.
        score: float32 (B,P), written.
        distance: int16 (B,P), written: start of the larger filter's cell minus start of the smaller's, bp.
        position: int16 (B,P), written: start of the smaller filter's cell, bp.
    """
    bits = (value + np.float32(0)).view(np.int32)  # + 0: minus zero equals zero
    where = np.flatnonzero(active)
    batch, filters, total = active.shape
    with _COMPILING:  # several threads may come here at once
        scan = _compiled()
    scan(bits, cells, where, filters, total, pool, score.view(np.int32), distance, position)
    return np.bincount(where // (filters * total), minlength=batch).astype(np.int64, copy=False)


@functools.cache
def _compiled() -> Callable[..., None]:
    """Compile once per process, when first needed; not cached on disk, since installations may be read-only."""
    import numba

    return numba.njit(nogil=True)(_fill)


def _fill(
    bits: np.ndarray,
    cells: np.ndarray,
    where: np.ndarray,
    filters: int,
    total: int,
    pool: int,
    score_bits: np.ndarray,
    distance: np.ndarray,
    position: np.ndarray,
) -> None:
    batch, width, _ = bits.shape
    keys = np.empty((width, width), np.int64)
    place_of_cell = np.empty(total, np.int64)
    filter_at = np.empty(filters, np.int64)
    start = np.empty(filters + 1, np.int64)
    entry_cell = np.empty(filters * width, np.int64)
    entry_filter = np.empty(filters * width, np.int64)
    to_larger = np.empty((width, filters), np.int64)
    best = np.empty(filters, np.int64)
    at = 0
    for b in range(batch):
        # The active entries, by filter and cell.
        used = 0
        while used < width and (used == 0 or cells[b, used] > cells[b, used - 1]):
            place_of_cell[cells[b, used]] = used
            used += 1
        found, entries = 0, 0
        while at < len(where) and where[at] < (b + 1) * filters * total:
            f = where[at] // total - b * filters
            if entries == 0 or f != filter_at[found - 1]:
                filter_at[found] = f
                start[found] = entries
                found += 1
            entry_cell[entries] = place_of_cell[where[at] % total]
            entry_filter[entries] = found - 1
            entries += 1
            at += 1
        start[found] = entries
        if found < 2:
            continue
        for i in range(used):
            above = np.int64(LOW_BITS) - (cells[b, i] << 16)
            for u in range(used):
                ordered = np.int64(bits[b, i, u] ^ ((bits[b, i, u] >> 31) & 0x7FFFFFFF))
                keys[i, u] = (ordered << 32) + (above - cells[b, u])
            keys[i, i] = NOTHING
            # First over the cells of the larger filter.
            for g in range(found):
                to_larger[i, g] = keys[i, entry_cell[start[g]]]
            for e in range(entries):
                to_larger[i, entry_filter[e]] = max(to_larger[i, entry_filter[e]], keys[i, entry_cell[e]])
        # Then over the cells of the smaller, and out.
        for j in range(found - 1):
            row = entry_cell[start[j]]
            for g in range(j + 1, found):
                best[g] = to_larger[row, g]
            for e in range(start[j] + 1, start[j + 1]):
                row = entry_cell[e]
                for g in range(j + 1, found):
                    best[g] = max(best[g], to_larger[row, g])
            f = filter_at[j]
            first_pair = f * (2 * filters - f - 1) // 2 - f - 1
            for g in range(j + 1, found):
                key = best[g]
                if key != NOTHING:
                    pair = first_pair + filter_at[g]
                    ordered = key >> 32
                    entry = LOW_BITS - (key & LOW_BITS)
                    score_bits[b, pair] = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
                    smaller, larger = (entry >> 16) * pool, (entry & 0xFFFF) * pool
                    distance[b, pair] = larger - smaller
                    position[b, pair] = smaller
