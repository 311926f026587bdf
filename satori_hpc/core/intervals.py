"""Intervals of a genome as arrays: 0-based, half-open; chromosomes are numbers."""

import numpy as np


def midpoint(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """floor(1/2 + (start + end - 1) / 2), the middle letter; of an even length the right one of two."""
    return (start + end) // 2


def around(middle: np.ndarray, size: int, lengths: np.ndarray) -> np.ndarray:
    """Starts of windows of `size` about `middle`, moved inside their chromosome, which is at least as long.

    Args:
        middle: int64 (n,).
        size: bp.
        lengths: int64 (n,), of each one's chromosome.
    """
    return np.minimum(np.maximum(middle - size // 2, 0), lengths - size)


def overlaps_any(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, others: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Whether each interval shares at least a letter with any of `others`, bool (n,).

    Args:
        chrom, start, end: int64 (n,); empty intervals overlap nothing.
        others: the same of the others, in any order; they may overlap each other.
    """
    other_chrom, other_start, other_end = (values[others[2] > others[1]] for values in others)
    found = np.zeros(len(chrom), dtype=bool)
    for number in np.intersect1d(chrom, other_chrom):
        mine, theirs = np.flatnonzero(chrom == number), other_chrom == number
        starts, ends = np.sort(other_start[theirs]), np.sort(other_end[theirs])
        # Those that begin before my end, less those that end at or before my start, are those that I meet.
        before = np.searchsorted(starts, end[mine], side="left")
        over = np.searchsorted(ends, start[mine], side="right")
        found[mine] = (before > over) & (end[mine] > start[mine])
    return found


def union(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, *, touching: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The letters in any of the intervals, as intervals that do not overlap, sorted; int64 each.

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
    """The letters of the genome in none of the intervals, as sorted intervals; arguments as `union`, lengths in bp."""
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
