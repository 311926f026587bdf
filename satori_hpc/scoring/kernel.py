"""The largest interaction value of every filter pair, exactly, for a batch, without a loop over sequences or cells.

For filters f < g that are active in the cells act[f] and act[g] of a sequence, the pair's score is the largest
value[i, u] over i in act[f], u in act[g], i != u (SATORI 2.0, lqaf209). Its position is the start of cell i, its
distance the way from there to the start of cell u, of the entry that gave the score. Value and entry travel together
in one 64-bit key whose order is that of the value and then, on ties, row-major (i, u); so maxima may be taken in any
order, and the result does not depend on it.

On the CPU the maxima are taken by compiled loops (core.pair_maxima), which stay in the cache; elsewhere by tensor
operations on whole batches. Both give the same bits.
"""

from dataclasses import dataclass

import torch

from satori_hpc.core import pair_maxima, pairs
from satori_hpc.scoring.base import PairScores

MISSING = pair_maxima.MISSING
NOTHING = pair_maxima.NOTHING
LOW_BITS = pair_maxima.LOW_BITS


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
    sites = pair_maxima.fill(
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
