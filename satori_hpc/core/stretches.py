"""Where a genome may be cut so that no two peaks on different sides could have to do with each other."""

import numpy as np

from satori_hpc.core import intervals

CELL = 2**14  # bp


def reaches(
    chrom: np.ndarray, at: np.ndarray, end: np.ndarray, *, lengths: np.ndarray, size: int, order: str
) -> tuple[np.ndarray, np.ndarray]:
    """Leftmost and rightmost start of a window that a peak may come to lie in, int64 (n,) each.

    Windows that are replaced by one at the mean of their middles leave their range nowhere, and the middle of joined
    peaks lies in one of them.

    Args:
        chrom: int64 (n,).
        at: int64 (n,), where a peak's window starts in `extend_then_merge`; else where the peak does.
        end: int64 (n,), of the peaks.
        lengths: int64 (chromosomes,), bp.
        size: bp of a window.
        order: as in `windows.make`, or "as_given".
    """
    if order != "merge_then_extend":
        return at, at
    inside = lengths[chrom]
    return intervals.around(at, size, inside), intervals.around(end - 1, size, inside)


def apart(chrom: np.ndarray, first: np.ndarray, last: np.ndarray, *, distance: int) -> np.ndarray:
    """Whether a cut is possible before each peak, bool (n,): all before it are at least `distance` bp away.

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
    """Distance of reaches from which peaks have nothing to do with each other, bp: see `windows.make`."""
    return max(size - overlap, 1) if order == "extend_then_merge" else 1


class Cells:
    """The genome in cells of CELL bp, numbered through, to count peaks by where they are."""

    def __init__(self, lengths: np.ndarray) -> None:
        counts = lengths // CELL + 1
        self._first = np.cumsum(counts) - counts
        self.peaks = np.zeros(int(counts.sum()), dtype=np.int64)

    def of(self, chrom: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Number of the cell of each place, int64 (n,)."""
        found: np.ndarray = self._first[chrom] + at // CELL
        return found

    def count(self, chrom: np.ndarray, at: np.ndarray) -> None:
        np.add.at(self.peaks, self.of(chrom, at), 1)

    def batches(self, peaks: int) -> np.ndarray:
        """Cells with which batches begin: cells side by side, together of at most so many peaks, or one with more."""
        ends = np.cumsum(self.peaks)
        edges, before = [0], 0
        while ends[-1] - before > peaks:
            edge = max(int(np.searchsorted(ends, before + peaks, side="right")), edges[-1] + 1)
            if edge == len(ends):
                break
            edges.append(edge)
            before = int(ends[edge - 1])
        return np.array(edges)
