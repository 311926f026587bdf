"""What overlapping windows say of the same place, brought together from left to right.

Windows come in the order of their starts, some at a time. What lies left of the next window is final; the rest waits.
So memory follows from the windows that overlap, not from the chromosome.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Depth:
    """Values of single letters, added up over the windows that cover them.

    Attributes:
        position: int64 (n,), rising.
        total: float64 (n,), sum of the values there.
        count: int64 (n,), how many there are.
    """

    position: np.ndarray
    total: np.ndarray
    count: np.ndarray

    @staticmethod
    def empty() -> "Depth":
        return Depth(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.count

    def add(self, start: np.ndarray, values: np.ndarray) -> "Depth":
        """With further windows; sums are taken in the order in which windows come, whatever their number at a time.

        Args:
            start: int64 (windows,), first letter of each.
            values: float (windows, length).
        """
        covered = (start[:, None] + np.arange(values.shape[1])).ravel()
        position, place = np.unique(np.concatenate([self.position, covered]), return_inverse=True)
        total = np.bincount(place, np.concatenate([self.total, values.ravel().astype(np.float64)]), len(position))
        count = np.bincount(place[len(self.position) :], minlength=len(position))
        count[place[: len(self.position)]] += self.count
        return Depth(position, total, count)

    def split(self, before: int | None) -> tuple["Depth", "Depth"]:
        """(what lies left of a position, the rest); None: all, nothing."""
        cut = len(self.position) if before is None else int(np.searchsorted(self.position, before))
        left, right = (
            Depth(self.position[part], self.total[part], self.count[part]) for part in (slice(cut), slice(cut, None))
        )
        return left, right


def distinct(*keys: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which entries to keep so that no key comes twice.

    Args:
        keys: (n,) each; the first sorts first.
        strength: float (n,); of equal keys the largest stays, and of equal ones the first.

    Returns:
        int64, entries to keep, by key; int64, how many entries have that key.
    """
    order = np.lexsort((np.arange(len(strength)), -strength, *keys[::-1]))
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    first = np.flatnonzero(new)
    return order[first], np.diff(np.append(first, len(order)))
