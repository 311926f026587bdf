"""Coordinates of examples: in the genome or, if unknown, within their own sequence."""

from dataclasses import dataclass

import numpy as np

from satori_hpc.data.dataset import Dataset
from satori_hpc.run import tsv

STRANDS = np.array([".", "+", "-"])  # by strand 0, 1, -1


@dataclass(frozen=True)
class Places:
    """Genomic coordinates of some examples.

    Attributes:
        names: str (n,), of the examples.
        chrom: str (n,), the example's name where positions are within its sequence.
        start, end: int64 (n,), as long as its sequence.
        strand: int8 (n,), 1, -1, or 0 = unknown; 1 for positions within the sequence.
        own: bool (n,), whether interval and sequence differ in length, so that positions are within the sequence.
    """

    names: np.ndarray
    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    own: np.ndarray

    def take(self, order: np.ndarray) -> "Places":
        """Return the selected examples, in this order."""
        return Places(**{name: values[order] for name, values in vars(self).items()})

    def escaped(self) -> "Places":
        """Return a copy with names and chromosomes escaped as in all tables."""
        names, chrom = (np.array([tsv.escape(name) for name in each], object) for each in (self.names, self.chrom))
        return Places(names, chrom, self.start, self.end, self.strand, self.own)

    def in_order(self) -> np.ndarray:
        """Return int64 indices sorted by chromosome (its name as UTF-8), then start, then original order."""
        number = np.unique(self.chrom.astype(str), return_inverse=True)[1]
        order: np.ndarray = np.lexsort((np.arange(len(number)), self.start, number))
        return order


def places(data: Dataset, examples: np.ndarray) -> Places:
    """Return the coordinates of some examples.

    Args:
        data: the data set.
        examples: int64, rows of it.

    Raises:
        ArtefactError: it is damaged.
    """
    names = np.array(list(data.names(examples)), dtype=object)
    at = data.coordinates(examples)
    # With an interval of another length the sequence cannot be located; then sites are within the sequence.
    own = at.end - at.start != data.length
    return Places(
        names=names,
        chrom=np.where(own, names, at.chrom[:]),
        start=np.where(own, 0, at.start),
        end=np.where(own, data.length, at.end),
        strand=np.where(own, 1, at.strand).astype(np.int8),
        own=own,
    )


# From bins of the attention to positions in the sequence, and from there to the genome.
#
# Intervals are 0-based, half-open. A bin is `pool` positions of the activation track. Attention locates a site by its
# bin only, so its interval covers all windows of the bin.


def letters(start: np.ndarray, *, pool: int, width: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval that a site may occupy.

    Args:
        start: int (n,), start of the sites, or of the first window of their bins;
            bp.
        pool: bp that a place spans; 1 = sites are exact.
        width: int (n,), of the sites, bp.
        length: of the sequences, bp; intervals are clipped to it.

    Returns:
        start, end: int64 (n,).
    """
    start = start.astype(np.int64)
    return np.maximum(start, 0), np.minimum(start + pool - 1 + width, length)


def on_genome(
    start: np.ndarray, end: np.ndarray, *, example_start: np.ndarray, example_end: np.ndarray, strand: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the genome coordinates of positions within examples.

    Args:
        start, end: int64 (n,), positions in the example as the network read it.
        example_start, example_end: int64 (n,), the example's own interval, as long as its sequence.
        strand: int8 (n,), 1, -1 or 0 = unknown, treated as 1; a sequence of strand -1 is the reverse complement.

    Returns:
        start, end: int64 (n,), start < end also on the reverse strand.
    """
    backwards = strand < 0
    return (
        np.where(backwards, example_end - end, example_start + start),
        np.where(backwards, example_end - start, example_start + end),
    )
