"""The k largest values of many columns, whose rows come in blocks; memory does not grow with the rows."""

import numpy as np


class Strongest:
    """The largest values of each column, falling; equal values by row, the first rows before the later ones.

    Args:
        columns: how many there are.
        keep: k, values to keep of each.
        floor: smaller values do not count.

    Attributes:
        score: float32 (columns, keep), -inf where a column has fewer values.
        row: int64 (columns, keep), -1 there.
    """

    def __init__(self, columns: int, keep: int, *, floor: float = -np.inf) -> None:
        self.keep = keep
        self.score = np.full((columns, keep), -np.inf, dtype=np.float32)
        self.row = np.full((columns, keep), -1, dtype=np.int64)
        below = np.nextafter(np.float32(floor), np.float32(-np.inf))
        self._least = np.full(columns, below, dtype=np.float32)  # what is not above it cannot get in

    def add(self, block: np.ndarray, columns: np.ndarray, *, first_row: int) -> None:
        """Take in rows that lie behind all rows that came before.

        Args:
            block: float32 (rows, n), NaN = no value.
            columns: int64 (n,), which columns these are, each once.
            first_row: number of the block's first row.
        """
        hits = block > self._least[columns]
        crowded = np.flatnonzero(hits.sum(axis=0) > self.keep)
        if len(crowded):  # few of them can stay; finding their least first is faster than to sort all
            values = np.where(hits[:, crowded], block[:, crowded], np.float32(-np.inf))
            place = len(values) - self.keep
            hits[:, crowded] &= block[:, crowded] >= np.partition(values, place, axis=0)[place]
        column, row = np.nonzero(hits.T)
        if not len(column):
            return
        touched, owner = np.unique(column, return_inverse=True)
        numbers = columns[touched]
        owners = np.concatenate([np.repeat(np.arange(len(touched)), self.keep), owner])
        scores = np.concatenate([self.score[numbers].ravel(), block[row, column]])
        rows = np.concatenate([self.row[numbers].ravel(), first_row + row])
        order = np.lexsort((rows, -scores, owners))
        best = order[_place_in_run(owners[order]) < self.keep]
        self.score[numbers] = scores[best].reshape(-1, self.keep)
        self.row[numbers] = rows[best].reshape(-1, self.keep)
        self._least[numbers] = np.maximum(self._least[numbers], self.score[numbers, -1])


def merge(group: np.ndarray, row: np.ndarray, score: np.ndarray, *, keep: int) -> np.ndarray:
    """Choose the `keep` rows of each group that score highest; a row that a group has several times counts once.

    Args:
        group: int64 (n,).
        row: int64 (n,).
        score: float32 (n,); of a row's several entries in a group the largest counts, and of equal ones the first.

    Returns:
        int64, which entries are chosen, by group, then score falling, then row.
    """
    order = np.lexsort((np.arange(len(group)), -score, row, group))
    again = (np.diff(group[order]) == 0) & (np.diff(row[order]) == 0)
    once = order[np.concatenate([np.ones(min(1, len(order)), dtype=bool), ~again])]
    ranked = once[np.lexsort((row[once], -score[once], group[once]))]
    chosen: np.ndarray = ranked[_place_in_run(group[ranked]) < keep]
    return chosen


def _place_in_run(values: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal values; equal values must be beside each other."""
    places = np.arange(len(values))
    starts = np.ones(len(values), dtype=bool)
    starts[1:] = values[1:] != values[:-1]
    return places - np.maximum.accumulate(np.where(starts, places, 0))
