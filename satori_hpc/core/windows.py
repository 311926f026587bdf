"""From peaks of many labels to windows of one size, each with the union of the labels of its peaks.

Two orders of the same two steps are in use (SATORI 2.0, lqaf209, words the second and cites a pipeline that does the
first: Basset, Kelley et al. 2016). `extend_then_merge`: every peak becomes a window; then, among windows that hang
together, the adjacent two with the largest overlap are replaced by one at the weighted mean of their middles, again and
again, until no overlap is large enough. `merge_then_extend`: peaks that share enough are joined; each joined region
becomes a window.
"""

import functools
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from satori_hpc.core import intervals

ORDERS = ("extend_then_merge", "merge_then_extend")
WORD = 64  # labels in a word of `labels`


@dataclass(frozen=True)
class Regions:
    """Intervals with labels.

    Attributes:
        chrom: int64 (n,), number of the chromosome.
        start, end: int64 (n,), 0-based, half-open.
        strand: int8 (n,), 1, -1 or 0; regions of different strands do not merge.
        labels: uint64 (n, ceil(T / 64)), a bit per label.
    """

    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.chrom)

    def take(self, rows: np.ndarray) -> "Regions":
        """Some of them, by row numbers or a mask."""
        return Regions(**{name: values[rows] for name, values in vars(self).items()})


def one_label(label: np.ndarray, labels: int) -> np.ndarray:
    """Label numbers (n,) as bits, uint64 (n, ceil(labels / 64))."""
    bits = np.zeros((len(label), -(-labels // WORD)), dtype=np.uint64)
    bits[np.arange(len(label)), label // WORD] = np.uint64(1) << (label % WORD).astype(np.uint64)
    return bits


def matrix(bits: np.ndarray, labels: int) -> np.ndarray:
    """Bits (n, words) as uint8 (n, labels), 0 or 1."""
    little = np.ascontiguousarray(bits, dtype="<u8").view(np.uint8)
    return np.unpackbits(little, axis=1, count=labels, bitorder="little")


def make(
    peaks: Regions, *, lengths: np.ndarray, size: int, overlap: int, order: str, middle: np.ndarray | None = None
) -> Regions:
    """Windows of `size` bp, sorted by chromosome, strand (1, 0, -1) and start; the same place may come twice.

    Args:
        peaks: each inside its chromosome, which is at least `size` long.
        lengths: int64 (chromosomes,), bp.
        size: bp of a window.
        overlap: bp that two must share to become one: at least this much of two windows, more than this of two peaks.
        order: one of ORDERS.
        middle: int64 (n,), what peaks are extended about in `extend_then_merge`; default: their middles.
    """
    if order == "merge_then_extend":
        return _merge_then_extend(peaks, lengths, size, overlap)
    middle = intervals.midpoint(peaks.start, peaks.end) if middle is None else middle
    return _extend_then_merge(peaks, middle, lengths, size, overlap)


def join(*parts: Regions) -> Regions:
    """All of them, one part after the other."""
    return Regions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def unite(regions: Regions) -> Regions:
    """Regions of equal place and strand as one, with the labels of all; sorted by chromosome, start, end and strand."""
    order = np.lexsort((-regions.strand.astype(np.int64), regions.end, regions.start, regions.chrom))
    found = regions.take(order)
    if not len(found):
        return found
    columns = (found.chrom, found.start, found.end, found.strand)
    new = np.concatenate([[True], np.any([values[1:] != values[:-1] for values in columns], axis=0)])
    first = np.flatnonzero(new)
    labels = np.bitwise_or.reduceat(found.labels, first, axis=0)
    chrom, start, end, strand = (values[first] for values in columns)
    return Regions(chrom, start, end, strand, labels)


def _extend_then_merge(peaks: Regions, middle: np.ndarray, lengths: np.ndarray, size: int, overlap: int) -> Regions:
    starts = intervals.around(middle, size, lengths[peaks.chrom])
    order = np.lexsort((starts, -peaks.strand.astype(np.int64), peaks.chrom))
    chrom, strand, start = peaks.chrom[order], peaks.strand[order], starts[order]
    labels = peaks.labels[order].copy()
    apart = (chrom[1:] != chrom[:-1]) | (strand[1:] != strand[:-1]) | (start[:-1] + size - overlap <= start[1:])
    edges = np.concatenate([[0], np.flatnonzero(apart) + 1, [len(start)]]).astype(np.int64)
    alive = np.ones(len(start), dtype=np.bool_)
    _compiled()(start, labels, alive, edges, lengths[chrom], size, overlap)
    kept = np.flatnonzero(alive)
    return Regions(chrom[kept], start[kept], start[kept] + size, strand[kept], labels[kept])


def _merge_then_extend(peaks: Regions, lengths: np.ndarray, size: int, overlap: int) -> Regions:
    order = np.lexsort((peaks.end, peaks.start, -peaks.strand.astype(np.int64), peaks.chrom))
    sorted_peaks = peaks.take(order)
    group = _sweep()(sorted_peaks.chrom, sorted_peaks.strand, sorted_peaks.start, sorted_peaks.end, overlap)
    count = int(group[-1]) + 1 if len(group) else 0
    first = np.searchsorted(group, np.arange(count))
    start = sorted_peaks.start[first]
    end = np.zeros(count, dtype=np.int64)
    np.maximum.at(end, group, sorted_peaks.end)
    labels = np.zeros((count, peaks.labels.shape[1]), dtype=np.uint64)
    np.bitwise_or.at(labels, group, sorted_peaks.labels)
    chrom, strand = sorted_peaks.chrom[first], sorted_peaks.strand[first]
    begin = intervals.around(intervals.midpoint(start, end), size, lengths[chrom])
    again = np.lexsort((begin, -strand.astype(np.int64), chrom))
    return Regions(chrom, begin, begin + size, strand, labels).take(again)


@functools.cache
def _compiled() -> Callable[..., None]:
    import numba  # here: slow to load

    compiled: Callable[..., None] = numba.njit(nogil=True)(_merge_groups)
    return compiled


@functools.cache
def _sweep() -> Callable[..., Any]:
    import numba  # here: slow to load

    compiled: Callable[..., Any] = numba.njit(nogil=True)(_sweep_groups)
    return compiled


def _merge_groups(
    start: np.ndarray,
    labels: np.ndarray,
    alive: np.ndarray,
    edges: np.ndarray,
    lengths: np.ndarray,
    size: int,
    overlap: int,
) -> None:
    """Merge windows in place, group by group; `alive` tells what is left, in order of place.

    The couple with the largest overlap, of equals the first from the left, is found by a heap: entries whose couple has
    changed since they were made are known by an old `version` and passed over. That costs n log n where looking at all
    couples every time costs n^2, and on a genome with many labels a group may be a whole chromosome.
    """
    total = len(start)
    before = np.arange(-1, total - 1)
    after = np.arange(1, total + 1)
    version = np.zeros(total, dtype=np.int64)
    words = labels.shape[1]
    one = np.uint64(1)
    for group in range(len(edges) - 1):
        first, last = edges[group], edges[group + 1]
        if last - first < 2:
            continue
        heap = [(np.int64(0), np.int64(0), np.int64(0)) for _ in range(0)]
        for left in range(first, last - 1):
            shared = size - (start[left + 1] - start[left])
            if shared >= overlap:
                heap.append((np.int64(-shared), np.int64(left), np.int64(0)))
        heapq.heapify(heap)
        while len(heap) > 0:
            _, at, made = heapq.heappop(heap)
            left = int(at)
            if not alive[left] or version[left] != made:
                continue
            right = after[left]
            weights = np.zeros(2, dtype=np.int64)
            for side in range(2):
                place = left if side == 0 else right
                count = 1
                for word in range(words):
                    bits = labels[place, word]
                    while bits != 0:
                        bits &= bits - one
                        count += 1
                weights[side] = count
            # The mean of whole middles, rounded half up, in whole numbers.
            sum_ = 2 * (weights[0] * (start[left] + size // 2) + weights[1] * (start[right] + size // 2))
            both = weights[0] + weights[1]
            middle = (sum_ + both) // (2 * both)
            start[left] = min(max(middle - size // 2, 0), lengths[left] - size)
            for word in range(words):
                labels[left, word] |= labels[right, word]
            alive[right] = False
            after[left] = after[right]
            version[left] += 1
            if after[left] < last:
                before[after[left]] = left
                shared = size - (start[after[left]] - start[left])
                if shared >= overlap:
                    heapq.heappush(heap, (np.int64(-shared), np.int64(left), version[left]))
            if left > first:
                neighbour = before[left]
                version[neighbour] += 1
                shared = size - (start[left] - start[neighbour])
                if shared >= overlap:
                    heapq.heappush(heap, (np.int64(-shared), np.int64(neighbour), version[neighbour]))


def _sweep_groups(
    chrom: np.ndarray, strand: np.ndarray, start: np.ndarray, end: np.ndarray, overlap: int
) -> np.ndarray:
    """Number of the joined region of each peak, of peaks sorted by chromosome, strand, start and end.

    A peak joins the region before it when it shares more than `overlap` letters with the peaks joined so far.
    """
    group = np.zeros(len(chrom), dtype=np.int64)
    if len(chrom) == 0:
        return group
    number = 0
    open_end = end[0]
    for place in range(1, len(chrom)):
        same = chrom[place] == chrom[place - 1] and strand[place] == strand[place - 1]
        if same and min(open_end, end[place]) - start[place] > overlap:
            open_end = max(open_end, end[place])
        else:
            number += 1
            open_end = end[place]
        group[place] = number
    return group
