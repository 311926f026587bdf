"""Where positives lie, and what else negatives must keep away from, by chromosome."""

import numpy as np

from satori_hpc.stores.annotation import Intervals
from satori_hpc.stores.spill import Spill

PIECE = 2**18  # rows read at a time, to find chromosomes


class Places:
    """Spills that are sorted by chromosome.

    Args:
        positives: windows, of window_parts.row.
        avoid: intervals, of genome_windows.AVOID.
        size: bp of a window.
        also: other intervals to keep away from, in any order.

    Attributes:
        chromosomes: numbers of those that have positives, rising.
    """

    def __init__(self, positives: Spill, avoid: Spill, *, size: int, also: Intervals | None = None) -> None:
        self._positives, self._avoid, self._also, self.size = positives, avoid, also, size
        self._rows, self._others = _by_chromosome(positives), _by_chromosome(avoid)
        self.chromosomes = sorted(self._rows)

    def rows(self, chrom: int) -> np.ndarray:
        """Rows of the positives."""
        return self._positives[self._rows[chrom]]

    def positives(self, chrom: int) -> np.ndarray:
        """Starts of the positives, int64."""
        return self.rows(chrom)["start"].copy()

    def taken(self, chrom: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What no negative may touch: chrom, start, end."""
        own, other = self.positives(chrom), self._avoid[self._others.get(chrom, slice(0, 0))]
        start = np.concatenate([own, other["start"]])
        end = np.concatenate([own + self.size, other["end"]])
        if self._also is not None:
            here = self._also[0] == chrom
            start, end = (
                np.concatenate([each, more[here]]) for each, more in zip((start, end), self._also[1:], strict=True)
            )
        return np.full(len(start), chrom, dtype=np.int64), start, end


def _by_chromosome(spill: Spill) -> dict[int, slice]:
    """Rows of each chromosome."""
    found: dict[int, slice] = {}
    done = 0
    for piece in spill.pieces(PIECE):
        numbers, first, count = np.unique(piece["chrom"], return_index=True, return_counts=True)
        for chrom, at, rows in zip(numbers.tolist(), first.tolist(), count.tolist(), strict=True):
            begin = found[chrom].start if chrom in found else done + at
            found[chrom] = slice(begin, done + at + rows)
        done += len(piece)
    return found
