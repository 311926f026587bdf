"""The largest interaction value of every filter pair of a sequence, on the CPU: compiled loops that stay in the cache.

scoring.kernel holds the definition and the same computation for other devices. Value and entry travel in one 64-bit
key: the order-preserving image of the float32 value above, 2^32 - 1 - (cell of the smaller filter << 16 | cell of the
larger) below. The larger key is the larger value and, on ties, the first entry in row-major order.
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from satori_hpc import pairs
from satori_hpc.scoring.base import PairScores

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
    """The loops below, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(_fill)


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


# The largest interaction value of every filter pair, exactly, for a batch, without a loop over sequences or cells.
#
# For filters f < g that are active in the cells act[f] and act[g] of a sequence, the pair's score is the largest
# value[i, u] over i in act[f], u in act[g], i != u (SATORI 2.0, lqaf209). Its position is the start of cell i, its
# distance the way from there to the start of cell u, of the entry that gave the score. Value and entry travel together
# in one 64-bit key whose order is that of the value and then, on ties, row-major (i, u); so maxima may be taken in any
# order, and the result does not depend on it.
#
# On the CPU the maxima are taken by compiled loops (scoring.pair_kernel), which stay in the cache; elsewhere by tensor
# operations on whole batches. Both give the same bits.


def pair_scores(value: torch.Tensor, cells: torch.Tensor, *, active: torch.Tensor, pool: int) -> PairScores:
    """Score all pairs of a batch from its matrices of cell-to-cell values.

    Args:
        value: float32 (B,a,a), finite, of any sign: value[b,i,u] from cell cells[b,i] (of the smaller filter) to
            cell cells[b,u] (of the larger one).
        cells: int64 (B,a) from `occupied_cells`.
        active: bool (B,F,n), whether filter f is active in cell u.
        pool: width of a cell, bp.
    """
    if value.device.type != "cpu":
        return best_entries(value, find_sites(active, cells), pool=pool)
    batch, filters, _ = active.shape
    score = torch.full((batch, pairs.count(filters)), torch.nan)
    distance = torch.full(score.shape, MISSING, dtype=torch.int16)
    position = torch.full(score.shape, MISSING, dtype=torch.int16)
    sites = fill(
        value.numpy(),
        cells.numpy(),
        active=active.numpy(),
        pool=pool,
        score=score.numpy(),
        distance=distance.numpy(),
        position=position.numpy(),
    )
    return PairScores(score=score, distance=distance, position=position, sites=torch.from_numpy(sites))


def occupied_cells(active: torch.Tensor) -> torch.Tensor:
    """int64 (B,a): the cells of each sequence in which any filter is active, rising, filled up with cell 0.

    `a` is the most that any sequence has, at least 1.

    Args:
        active: bool (B,F,n).
    """
    occupied = active.any(dim=1)
    places = occupied.cumsum(dim=1)
    width = max(1, int(places[:, -1].max())) if len(occupied) else 1
    # Cells that are not occupied go to a column of their own, which is cut off.
    target = torch.where(occupied, places - 1, width)
    cells = torch.zeros(len(occupied), width + 1, dtype=torch.int64, device=active.device)
    numbers = torch.arange(active.shape[2], device=active.device).expand_as(target)
    return cells.scatter_(1, target, numbers)[:, :width].contiguous()


@dataclass(frozen=True)
class Sites:
    """Active (filter, cell) entries of a batch, sorted by sequence, filter and cell.

    A segment is the run of entries of one filter in one sequence. Segments are held in falling order of their
    length: those with a k-th entry then come first.

    Attributes:
        cells: int64 (B,a) from `occupied_cells`.
        entry: int64 (E,), sequence * a + place of the cell in `cells`.
        start: int64 (S,), first entry of each segment.
        reach: for k = 0, 1, ...: how many segments have more than k entries.
        sequence, filter, place: int64 (S,), the segment's sequence and filter, and its place among the sequence's.
        filter_at: int64 (B,A), the active filters of each sequence by place; A is the most that any sequence has.
        per_sequence: int64 (B,), entries of each sequence.
        filters: F.
    """

    cells: torch.Tensor
    entry: torch.Tensor
    start: torch.Tensor
    reach: list[int]
    sequence: torch.Tensor
    filter: torch.Tensor
    place: torch.Tensor
    filter_at: torch.Tensor
    per_sequence: torch.Tensor
    filters: int


def find_sites(active: torch.Tensor, cells: torch.Tensor) -> Sites:
    """Lay out the active entries of a batch.

    Args:
        active: bool (B,F,n).
        cells: int64 (B,a) from `occupied_cells`.
    """
    batch, filters, total = active.shape
    device = active.device
    width = cells.shape[1]
    where = active.reshape(-1).nonzero().squeeze(1)
    segment_code, cell = where // total, where % total
    code, length = torch.unique_consecutive(segment_code, return_counts=True)
    sequence_of_entry = segment_code // filters
    place_of_cell = active.any(dim=1).cumsum(dim=1) - 1

    sequence, filter_ = code // filters, code % filters
    per_sequence = torch.bincount(sequence, minlength=batch)
    place = torch.arange(len(code), device=device) - (per_sequence.cumsum(0) - per_sequence)[sequence]
    most = int(per_sequence.max()) if batch else 0
    filter_at = torch.zeros(batch, most, dtype=torch.int64, device=device)
    filter_at[sequence, place] = filter_

    order = torch.argsort(length, descending=True, stable=True)
    with_length = torch.bincount(length).flip(0).cumsum(0).flip(0)  # with_length[k] = segments of at least k entries
    return Sites(
        cells=cells,
        entry=sequence_of_entry * width + place_of_cell[sequence_of_entry, cell],
        start=(length.cumsum(0) - length)[order],
        reach=with_length[1:].tolist(),
        sequence=sequence[order],
        filter=filter_[order],
        place=place[order],
        filter_at=filter_at,
        per_sequence=torch.bincount(sequence_of_entry, minlength=batch),
        filters=filters,
    )


def best_entries(value: torch.Tensor, sites: Sites, *, pool: int) -> PairScores:
    """`pair_scores` by tensor operations, without a loop over sequences, filters or cells."""
    batch, width, _ = value.shape
    most = sites.filter_at.shape[1]
    numbers = pairs.count(sites.filters)
    score = torch.full((batch, numbers), torch.nan, device=value.device)
    distance = torch.full((batch, numbers), MISSING, dtype=torch.int16, device=value.device)
    position = torch.full_like(distance, MISSING)
    if most > 1:
        # First over the cells of the smaller filter, for every cell; then over the cells of the larger.
        by_filter = _segment_max(_keys(value, sites.cells).view(batch * width, width), sites)
        table = torch.full((batch * most, width), NOTHING, dtype=torch.int64, device=value.device)
        table.index_copy_(0, sites.sequence * most + sites.place, by_filter)
        columns = table.view(batch, most, width).transpose(1, 2).reshape(batch * width, most)
        best = _segment_max(columns, sites)

        # Of row (sequence, larger filter), the first `place` columns are the smaller filters.
        row_start = torch.arange(len(best), device=value.device) * most - (sites.place.cumsum(0) - sites.place)
        at = row_start.repeat_interleave(sites.place)
        at += torch.arange(len(at), device=value.device)
        found = best.view(-1).index_select(0, at)
        pair = _pair_numbers(sites).view(-1).index_select(0, at)
        best_value, smaller, larger = _decode(found)
        nothing = (found == NOTHING).nonzero().squeeze(1)
        score.view(-1).scatter_(0, pair, best_value.index_fill_(0, nothing, torch.nan))
        for out, cells in ((distance, larger - smaller), (position, smaller)):
            out.view(-1).scatter_(0, pair, (cells * pool).index_fill_(0, nothing, MISSING).to(torch.int16))
    return PairScores(score=score, distance=distance, position=position, sites=sites.per_sequence)


def _keys(value: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """int64 (B,a,a): order-preserving image of the value above, 2^32 - 1 - (row cell, column cell) below."""
    bits = (value + 0.0).view(torch.int32)  # + 0.0: minus zero equals zero
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    entry = (cells << 16)[:, :, None] | cells[:, None, :]
    keys = (ordered.to(torch.int64) << 32) + (LOW_BITS - entry)
    keys.diagonal(dim1=1, dim2=2).fill_(NOTHING)
    return keys


def _decode(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The value of each key, float32, and the cells of the smaller and the larger filter, int32."""
    ordered = (keys >> 32).to(torch.int32)
    value = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    entry = keys.to(torch.int32).bitwise_not_()  # the lower half, which held 2^32 - 1 - entry
    return value, entry >> 16, entry & 0xFFFF


def _pair_numbers(sites: Sites) -> torch.Tensor:
    """int64 (S,A): where the pair of a segment's filter and the sequence's filter at a place stands in (B,P)."""
    batch = len(sites.filter_at)
    first_pair = pairs.index(sites.filter_at, 0, filters=sites.filters)  # the pair's number less the larger filter
    first_pair += pairs.count(sites.filters) * torch.arange(batch, device=first_pair.device)[:, None]
    return first_pair.index_select(0, sites.sequence).add_(sites.filter[:, None])


def _segment_max(rows: torch.Tensor, sites: Sites) -> torch.Tensor:
    """int64 (S, columns): for each segment the maximum over the rows of its entries."""
    best = rows.index_select(0, sites.entry[sites.start])
    for k, reached in enumerate(sites.reach[1:], start=1):
        part = best[:reached]
        torch.maximum(part, rows.index_select(0, sites.entry[sites.start[:reached] + k]), out=part)
    return best
