"""Motif hits as a table, and the competition of hits that overlap."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

OVERLAP = 0.25  # share of the shorter of two hits; those that overlap by more compete


@dataclass(frozen=True, eq=False)
class Hits:
    """Where motifs match, one row per hit: arrays of equal length, sorted by example, start, motif.

    Attributes:
        example: int64, sequence of the hit.
        start, end: int64, bp from the left end of the sequence, 0-based, half open; the same on either strand.
        motif: int64, number of the motif in its bank.
        strand: int8, 1 or -1.
        score: int32, log-odds in hundredths of a bit.
        neg_log10_p: float64, -log10 of the probability that a random window scores so high.
    """

    example: np.ndarray
    start: np.ndarray
    end: np.ndarray
    motif: np.ndarray
    strand: np.ndarray
    score: np.ndarray
    neg_log10_p: np.ndarray

    def __len__(self) -> int:
        return len(self.example)

    def take(self, rows: np.ndarray) -> "Hits":
        """Select rows by a mask or row numbers; the table must remain sorted."""
        return Hits(**{name: column[rows] for name, column in vars(self).items()})

    def moved(self, by: int) -> "Hits":
        """Return the same hits with example numbers shifted."""
        return dataclasses.replace(self, example=self.example + by)

    def of_examples(self, count: int) -> np.ndarray:
        """Return offsets, int64 (count + 1,): the hits of example e are the rows offsets[e] to offsets[e + 1]."""
        return np.searchsorted(self.example, np.arange(count + 1)).astype(np.int64)


def stacked(tables: Iterable[Hits]) -> Hits:
    """Concatenate tables of hits, whose examples must be consecutive."""
    columns = {"example": "i8", "start": "i8", "end": "i8", "motif": "i8", "strand": "i1", "score": "i4"}
    empty = {name: np.zeros(0, dtype=kind) for name, kind in columns.items()}
    together = [Hits(**empty, neg_log10_p=np.zeros(0)), *tables]
    return Hits(**{name: np.concatenate([vars(table)[name] for table in together]) for name in vars(together[0])})


def compete(hits: Hits, *, overlap: float = OVERLAP) -> np.ndarray:
    """Resolve overlapping hits: the most significant one is kept.

    In each example hits are taken by -log10 p (rounded to 1e-6), then start, then motif. One that overlaps a winner
    by more than `overlap` of the shorter of the two loses to the first such winner; else it is a winner itself.

    Returns:
        int64 (hits,): the row of the winner that a hit belongs to, its own for winners.
    """
    order = np.lexsort((hits.motif, hits.start, -np.round(hits.neg_log10_p, 6), hits.example))
    return owners(hits.example, hits.start, hits.end, order, overlap=overlap)


def owners(
    example: np.ndarray, start: np.ndarray, end: np.ndarray, order: np.ndarray, *, overlap: float = OVERLAP
) -> np.ndarray:
    """Resolve overlapping intervals: int64 (n,), the winner that each belongs to, its own number for winners.

    Args:
        example, start, end: int64 (n,), half open; those of different examples do not overlap.
        order: int64 (n,), by example, the intervals that win first.
        overlap: share of the shorter of two that they may have in common.
    """
    owner = np.empty(len(order), dtype=np.int64)
    _compiled()(example, start, end, order, overlap, owner)
    return owner


def winners(hits: Hits, *, overlap: float = OVERLAP) -> Hits:
    """Return the hits that win the competition."""
    return hits.take(compete(hits, overlap=overlap) == np.arange(len(hits)))


@functools.cache
def _compiled() -> Callable[..., None]:
    """Return the loop below, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(_compete)


def _compete(
    example: np.ndarray, start: np.ndarray, end: np.ndarray, order: np.ndarray, overlap: float, owner: np.ndarray
) -> None:
    kept = np.empty(len(order), dtype=np.int64)  # winners of the example, best first
    count = 0
    for rank, hit in enumerate(order):
        if rank == 0 or example[hit] != example[order[rank - 1]]:
            count = 0
        owner[hit] = hit
        for winner in kept[:count]:
            shared = min(end[hit], end[winner]) - max(start[hit], start[winner])
            if shared > overlap * min(end[hit] - start[hit], end[winner] - start[winner]):
                owner[hit] = winner
                break
        if owner[hit] == hit:
            kept[count] = hit
            count += 1
