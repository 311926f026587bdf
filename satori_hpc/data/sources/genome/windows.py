"""Make windows of one size from peaks of many labels; each has the union of the labels of its peaks.

Two orders of the same two steps are in use (SATORI 2.0, lqaf209, words the second and cites a pipeline that does the
first: Basset, Kelley et al. 2016). `extend_then_merge`: every peak becomes a window; then, among windows that hang
together, the adjacent two with the largest overlap are replaced by one at the weighted mean of their centres, again and
again, until no overlap is large enough. `merge_then_extend`: peaks that share enough are joined; each joined region
becomes a window.
"""

import functools
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

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
        """Select rows, by numbers or a mask."""
        return Regions(**{name: values[rows] for name, values in vars(self).items()})


def one_label(label: np.ndarray, labels: int) -> np.ndarray:
    """Label numbers (n,) as bits, uint64 (n, ceil(labels / 64))."""
    bits = np.zeros((len(label), -(-labels // WORD)), dtype=np.uint64)
    bits[np.arange(len(label)), label // WORD] = np.uint64(1) << (label % WORD).astype(np.uint64)
    return bits


def matrix(bits: np.ndarray, labels: int) -> np.ndarray:
    """Unpack bits (n, words) to uint8 (n, labels), 0 or 1."""
    little = np.ascontiguousarray(bits, dtype="<u8").view(np.uint8)
    return np.unpackbits(little, axis=1, count=labels, bitorder="little")


def make(
    peaks: Regions, *, lengths: np.ndarray, size: int, overlap: int, order: str, middle: np.ndarray | None = None
) -> Regions:
    """Make windows of `size` bp, sorted by chromosome, strand (1, 0, -1) and start; duplicates may occur.

    Args:
        peaks: each inside its chromosome, which is at least `size` long.
        lengths: int64 (chromosomes,), bp.
        size: bp of a window.
        overlap: bp that two must share to become one: at least this much of two windows, more than this of two peaks.
        order: one of ORDERS.
        middle: int64 (n,), centres of the windows in `extend_then_merge`; default: their midpoints.
    """
    if order == "merge_then_extend":
        return _merge_then_extend(peaks, lengths, size, overlap)
    middle = midpoint(peaks.start, peaks.end) if middle is None else middle
    return _extend_then_merge(peaks, middle, lengths, size, overlap)


def join(*parts: Regions) -> Regions:
    """Return all of them, one part after the other."""
    return Regions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def unite(regions: Regions) -> Regions:
    """Unite regions of equal interval and strand, with the labels of all.

    Sorted by chromosome, start, end and strand.
    """
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
    starts = around(middle, size, lengths[peaks.chrom])
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
    begin = around(midpoint(start, end), size, lengths[chrom])
    again = np.lexsort((begin, -strand.astype(np.int64), chrom))
    return Regions(chrom, begin, begin + size, strand, labels).take(again)


@functools.cache
def _compiled() -> Callable[..., None]:
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(_merge_groups)


@functools.cache
def _sweep() -> Callable[..., Any]:
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(_sweep_groups)


def _merge_groups(
    start: np.ndarray,
    labels: np.ndarray,
    alive: np.ndarray,
    edges: np.ndarray,
    lengths: np.ndarray,
    size: int,
    overlap: int,
) -> None:
    """Merge windows in place, cluster by cluster; `alive` marks the remaining ones, in order of position.

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
            # The mean of integer centres, rounded half up, in integers.
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
    """Return number of the joined region of each peak, of peaks sorted by chromosome, strand, start and end.

    A peak joins the previous region when it shares more than `overlap` bp with the peaks joined so far.
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


# Intervals of a genome as arrays: 0-based, half-open; chromosomes are numbers.


def midpoint(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return floor(1/2 + (start + end - 1) / 2), the central position; for an even length the right one of two."""
    return (start + end) // 2


def around(middle: np.ndarray, size: int, lengths: np.ndarray) -> np.ndarray:
    """Return starts of windows of `size` centred on `middle`, moved inside their chromosome, which is long enough.

    Args:
        middle: int64 (n,).
        size: bp.
        lengths: int64 (n,), of each one's chromosome.
    """
    return np.minimum(np.maximum(middle - size // 2, 0), lengths - size)


def overlaps_any(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, others: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return whether each interval overlaps any of `others`, bool (n,).

    Args:
        chrom, start, end: int64 (n,); empty intervals overlap nothing.
        others: the same of the others, in any order; they may overlap each other.
    """
    other_chrom, other_start, other_end = (values[others[2] > others[1]] for values in others)
    found = np.zeros(len(chrom), dtype=bool)
    for number in np.intersect1d(chrom, other_chrom):
        mine, theirs = np.flatnonzero(chrom == number), other_chrom == number
        starts, ends = np.sort(other_start[theirs]), np.sort(other_end[theirs])
        # Intervals starting before this end, minus those ending at or before this start, overlap it.
        before = np.searchsorted(starts, end[mine], side="left")
        over = np.searchsorted(ends, start[mine], side="right")
        found[mine] = (before > over) & (end[mine] > start[mine])
    return found


def union(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, *, touching: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the union of the intervals as sorted disjoint intervals; int64 each.

    Args:
        chrom, start, end: int64 (n,).
        touching: whether those that touch are merged, too.
    """
    order = np.lexsort((start, chrom))
    chrom, start, end = (values[order] for values in (chrom, start, end))
    full = end > start
    chrom, start, end = chrom[full], start[full], end[full]
    if not len(start):
        return chrom, start, end
    # How far one sees from the left, chromosome by chromosome: shifted apart so that none reaches into the next.
    shift = np.cumsum(np.concatenate([[0], chrom[1:] != chrom[:-1]])) * (int(end.max()) + 1)
    reach = np.maximum.accumulate(end + shift)
    apart = start[1:] + shift[1:] - reach[:-1] >= touching
    first = np.flatnonzero(np.concatenate([[True], apart]))
    last = np.append(first[1:], len(start)) - 1
    return chrom[first], start[first], reach[last] - shift[last]


def gaps(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the complement of the intervals in the genome, as sorted intervals.

    Arguments as `union`, lengths in bp.
    """
    chrom, start, end = union(chrom, start, end)
    numbers = np.arange(len(lengths))
    edges = np.concatenate([chrom, numbers])
    opens = np.concatenate([end, np.zeros(len(lengths), dtype=np.int64)])
    closes_chrom = np.concatenate([chrom, numbers])
    closes = np.concatenate([start, lengths])
    left, right = np.lexsort((opens, edges)), np.lexsort((closes, closes_chrom))
    found = edges[left], opens[left], closes[right]
    full = found[2] > found[1]
    return found[0][full], found[1][full], found[2][full]


# Where a genome may be cut so that no two peaks on different sides could have to do with each other.

BIN = 2**14  # bp


def reaches(
    chrom: np.ndarray, at: np.ndarray, end: np.ndarray, *, lengths: np.ndarray, size: int, order: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the leftmost and rightmost start of a window that a peak may end up in, int64 (n,) each.

    Windows merged at the mean of their centres stay within their range, and the midpoint of joined
    peaks is in one of them.

    Args:
        chrom: int64 (n,).
        at: int64 (n,), where a peak's window starts in `extend_then_merge`; else where the peak does.
        end: int64 (n,), of the peaks.
        lengths: int64 (chromosomes,), bp.
        size: bp of a window.
        order: as in `make`, or "as_given".
    """
    if order != "merge_then_extend":
        return at, at
    inside = lengths[chrom]
    return around(at, size, inside), around(end - 1, size, inside)


def apart(chrom: np.ndarray, first: np.ndarray, last: np.ndarray, *, distance: int) -> np.ndarray:
    """Return whether a cut is possible before each peak, bool (n,): all before it are at least `distance` bp away.

    Args:
        chrom, first: int64 (n,), by which the peaks are sorted.
        last: int64 (n,), not below `first`.
        distance: bp, at least 1.
    """
    if not len(chrom):
        return np.zeros(0, dtype=bool)
    # How far one sees from the left, the chromosomes shifted apart so that none reaches into the next.
    shift = np.cumsum(np.concatenate([[0], chrom[1:] != chrom[:-1]])) * (int(last.max()) + distance + 1)
    reach = np.maximum.accumulate(last + shift)
    return np.concatenate([[True], first[1:] + shift[1:] - reach[:-1] >= distance])


def distance(*, size: int, overlap: int, order: str) -> int:
    """Return the distance of reaches beyond which peaks are independent, bp: see `make`."""
    return max(size - overlap, 1) if order == "extend_then_merge" else 1


class Bins:
    """The genome in numbered bins of BIN bp, to count peaks by position."""

    def __init__(self, lengths: np.ndarray) -> None:
        counts = lengths // BIN + 1
        self._first = np.cumsum(counts) - counts
        self.peaks = np.zeros(int(counts.sum()), dtype=np.int64)

    def of(self, chrom: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Return the bin number of each position, int64 (n,)."""
        found: np.ndarray = self._first[chrom] + at // BIN
        return found

    def count(self, chrom: np.ndarray, at: np.ndarray) -> None:
        np.add.at(self.peaks, self.of(chrom, at), 1)

    def batches(self, peaks: int) -> np.ndarray:
        """Return the first bins of batches: adjacent bins with at most so many peaks together, or one with more."""
        ends = np.cumsum(self.peaks)
        edges, before = [0], 0
        while ends[-1] - before > peaks:
            edge = max(int(np.searchsorted(ends, before + peaks, side="right")), edges[-1] + 1)
            if edge == len(ends):
                break
            edges.append(edge)
            before = int(ends[edge - 1])
        return np.array(edges)
