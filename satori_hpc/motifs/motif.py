"""Represent motifs as arrays: counts, base probabilities, information, strands, similarity. The order is A, C, G, T."""

import math
from dataclasses import dataclass

import numpy as np

LETTERS = "ACGT"
UNIFORM = np.full(4, 0.25)
IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T",
    "AC": "M", "AG": "R", "AT": "W", "CG": "S", "CT": "Y", "GT": "K",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Motif:
    """A position probability matrix and its origin.

    Attributes:
        name: a TF ("Arnt") or a filter ("filter12"). Any characters; never part of a path.
        ppm: (w, 4) float64 base probabilities, each row sums to 1.
        sites: number of binding sites.
        identifier: its number in the database ("MA0004.1"), or "".
        counts: (w, 4) float64 base counts, when known.
        family: of the TF, as the collection names it, or "". That of a composite names the families of both TFs.
    """

    name: str
    ppm: np.ndarray
    sites: int
    identifier: str = ""
    counts: np.ndarray | None = None
    family: str = ""

    @property
    def width(self) -> int:
        return len(self.ppm)


def probabilities(counts: np.ndarray, pseudocount: float) -> np.ndarray:
    """Return base probabilities of counts: (count + c) / (N + 4 c), with N the sum of the column.

    Args:
        counts: (..., 4) base counts; the last axis is the base.
        pseudocount: c, added to every count; 0 gives plain frequencies.

    Returns:
        float64 array of the same shape; a column with no counts and no pseudo-count is uniform.
    """
    padded = np.asarray(counts, dtype=np.float64) + pseudocount
    totals = padded.sum(axis=-1, keepdims=True)
    return np.where(totals > 0, padded / np.where(totals > 0, totals, 1.0), 0.25)


def information(ppm: np.ndarray, background: np.ndarray = UNIFORM) -> np.ndarray:
    """Return information of each column, bits: the Kullback-Leibler divergence from the background to the column.

    With the uniform background this is 2 + sum q log2 q, between 0 and 2.

    Args:
        ppm: (..., 4) base probabilities.
        background: (4,) base probabilities; a background that does not sum to 1 gives no divergence at all
            (the helper of SATORI 1 used one that sums to 2), so it is refused.

    Returns:
        (...) float64, bits.

    Raises:
        ValueError: the background does not sum to 1 or has a base with probability 0.
    """
    background = np.asarray(background, dtype=np.float64)
    if abs(background.sum() - 1) > 1e-6 or (background <= 0).any():
        raise ValueError(f"the background must be positive and sum to 1, found {background.tolist()}")
    ppm = np.asarray(ppm, dtype=np.float64)
    terms = np.zeros_like(ppm)
    np.divide(ppm, background, out=terms, where=ppm > 0)
    np.log2(terms, out=terms, where=ppm > 0)
    # A column equal to the background may come out as -1e-17.
    return np.maximum((ppm * terms).sum(axis=-1), 0.0)


def core(ppm: np.ndarray, bits: float) -> slice:
    """Return the columns left after trimming flanks with less than `bits` of information.

    All if no column reaches it.
    """
    kept = np.flatnonzero(information(ppm) >= bits)
    return slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) else slice(0, len(ppm))


def consensus(ppm: np.ndarray) -> str:
    """Return the consensus in IUPAC codes (after Cavener 1987).

    One base if it has more than half of the column and twice the next one; a two-base code if two have
    more than three quarters; else N.
    """
    text = []
    for column in np.asarray(ppm):
        order = np.argsort(-column, kind="stable")
        first, second = column[order[0]], column[order[1]]
        if first > 0.5 and first > 2 * second:
            text.append(LETTERS[order[0]])
        elif first + second > 0.75:
            text.append(IUPAC["".join(sorted(LETTERS[order[0]] + LETTERS[order[1]]))])
        else:
            text.append("N")
    return "".join(text)


def reverse_complement(matrix: np.ndarray) -> np.ndarray:
    """Return the (w, 4) matrix of the other strand; in A, C, G, T order complementing reverses the bases."""
    return np.ascontiguousarray(np.asarray(matrix)[::-1, ::-1])


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return the best mean Pearson correlation of aligned columns of two motifs, over offsets and both strands.

    An alignment needs an overlap of half of the shorter motif, and of 5 columns where both motifs have them. Columns
    without preference correlate with nothing: they count as 0.

    Args:
        a, b: (w, 4) base probabilities.

    Returns:
        between -1 and 1; 1 for a motif and itself or its reverse complement (when no column is flat).
    """
    narrow, wide = (a, b) if len(a) <= len(b) else (b, a)
    least = min(len(narrow), max(5, math.ceil(len(narrow) / 2)))
    target = directions(wide)
    best = -1.0
    for query in (directions(narrow), directions(reverse_complement(narrow))):
        columns = query @ target.T
        for offset in range(least - len(narrow), len(wide) - least + 1):
            # Entry (i, i + offset) of `columns` compares column i of the narrow motif with its partner.
            best = max(best, float(np.diagonal(columns, offset=offset).mean()))
    return best


def directions(ppm: np.ndarray) -> np.ndarray:
    """Return columns, centred and of length 1, so that products of two are their correlation; flat columns are zero."""
    centred = np.asarray(ppm, dtype=np.float64) - np.mean(ppm, axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(norms > 1e-12, centred / np.where(norms > 1e-12, norms, 1.0), 0.0)
