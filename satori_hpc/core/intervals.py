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
