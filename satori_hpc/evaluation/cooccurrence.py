"""Find motifs that co-occur more often than expected under independence: the baseline that needs no network.

The question of TF-COMB and similar tools: in how many sequences are a hit of A and a hit of B within range, against
how many would if A and B did not know of each other. Independence is made by permuting B's hits among the sequences,
positions kept: A's hits of one sequence meet B's hits of another. That keeps how many hits a sequence has of each TF
and their preferred positions in the sequence. Mean and variance over all permutations have a closed form
(Hoeffding's combinatorial statistic), so nothing is drawn at random.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse, special

from satori_hpc.evaluation import score_test
from satori_hpc.interactions.statistics import mann_whitney
from satori_hpc.motifs import hits as motif_hits


@dataclass(frozen=True)
class Hits:
    """Motif hits, one entry per hit.

    Attributes:
        example: int64 (H,), sequence of the hit.
        tf: int64 (H,), number of the TF.
        start: int64 (H,), first base, 0-based.
        end: int64 (H,), one past the last base.
    """

    example: np.ndarray
    tf: np.ndarray
    start: np.ndarray
    end: np.ndarray


@dataclass(frozen=True)
class Cooccurrence:
    """One entry per unordered pair of TFs, upper triangle row by row.

    Attributes:
        tf_a, tf_b: int64 (P,), tf_a < tf_b.
        observed: int64 (P,), sequences with the pair in range.
        expected: float64 (P,), the mean of that number under permutation.
        z: float64 (P,), (observed - expected) / standard deviation; NaN where the deviation is 0 (no evidence).
        p: float64 (P,), upper tail of the normal law at z; 1 where z is NaN.
        q: float64 (P,), Benjamini-Hochberg over all pairs.
    """

    tf_a: np.ndarray
    tf_b: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    z: np.ndarray
    p: np.ndarray
    q: np.ndarray


def measure(hits: Hits, *, examples: int, length: int, tfs: int, max_gap: int) -> Cooccurrence:
    """Count every pair of TFs in range and compare with independence.

    Two hits are in range when they do not overlap and the gap, end of the left to start of the right, is at most
    `max_gap` bp. A sequence counts once per pair, however many of its hits are in range.

    Args:
        hits: all motif hits.
        examples: sequences searched, with and without hits.
        length: their length, bp.
        tfs: number of TFs, at least 2.
        max_gap: largest gap, bp.
    """
    here = [_edges(hits, tf, examples, length) for tf in range(tfs)]
    there = [_reach(hits, tf, examples, length, max_gap) for tf in range(tfs)]
    first, second = np.triu_indices(tfs, k=1)
    rows = [_compare(here[a], there[b], examples) for a, b in zip(first, second, strict=True)]
    observed, expected, variance = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    return _tested(first, second, observed, expected, variance)


def measure_lone(hits: motif_hits.Hits, *, examples: int, length: int, tfs: int, max_gap: int) -> Cooccurrence:
    """Return `measure` of many TFs that have at most one hit each in a sequence.

    The same figures, from sums over positions.

    Args:
        hits: sorted by example and start; `motif` is the number of the TF.
        examples, length, max_gap: as of `measure`.
        tfs: number of TFs, at least 2.
    """
    # How many hits of each TF start, and end, before a position; shifted, so that no position is negative.
    shift = max_gap + 1
    starts, ends = (np.zeros((length + 2 * shift + 1, tfs)) for _ in range(2))
    np.add.at(starts, (hits.start + shift + 1, hits.motif), 1)
    np.add.at(ends, (hits.end + shift + 1, hits.motif), 1)
    starts, ends = starts.cumsum(axis=0), ends.cumsum(axis=0)
    total, squares = np.zeros((tfs, tfs)), np.zeros((tfs, tfs))
    for tf in range(tfs):
        start, end = (column[hits.motif == tf] + shift for column in (hits.start, hits.end))
        in_range = starts[end + max_gap + 1] - starts[end] + ends[start + 1] - ends[start - max_gap]
        total[tf], squares[tf] = in_range.sum(axis=0), np.square(in_range).sum(axis=0)
    first, second = np.triu_indices(tfs, k=1)
    expected = total[first, second] / examples
    centred = total[first, second] - (squares[first, second] + squares[second, first]) / examples + expected**2
    observed = np.bincount(score_test.within(hits, tfs, max_gap)[1], minlength=len(first))
    return _tested(first, second, observed, expected, centred / max(examples - 1, 1))


def _tested(
    first: np.ndarray, second: np.ndarray, observed: np.ndarray, expected: np.ndarray, variance: np.ndarray
) -> Cooccurrence:
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(variance > 1e-12, (observed - expected) / np.sqrt(variance), np.nan)
    p = np.where(np.isnan(z), 1.0, special.ndtr(-z))
    return Cooccurrence(
        tf_a=first.astype(np.int64),
        tf_b=second.astype(np.int64),
        observed=observed.astype(np.int64),
        expected=expected,
        z=z,
        p=p,
        q=mann_whitney.q_values(p),
    )


def _indicator(example: np.ndarray, place: np.ndarray, examples: int, places: int) -> sparse.csr_array:
    """Return a sparse 0/1 matrix (examples, positions)."""
    table = sparse.csr_array((np.ones(len(example), dtype=np.int32), (example, place)), shape=(examples, places))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def _edges(hits: Hits, tf: int, examples: int, length: int) -> sparse.csr_array:
    """Mark the ends of a TF's hits and, in a second block of columns, their starts: (examples, 2 (length + 1))."""
    of = hits.tf == tf
    example = np.concatenate([hits.example[of], hits.example[of]])
    place = np.concatenate([hits.end[of], hits.start[of] + length + 1])
    return _indicator(example, place, examples, 2 * (length + 1))


def _reach(hits: Hits, tf: int, examples: int, length: int, max_gap: int) -> sparse.csr_array:
    """Mark the ends (first block) and starts (second block) of a partner with which a hit of this TF is in range."""
    of = hits.tf == tf
    gaps = np.arange(max_gap + 1)
    example = np.repeat(hits.example[of], len(gaps))
    left_ends = (hits.start[of][:, None] - gaps).ravel()  # the partner is on the left
    right_starts = (hits.end[of][:, None] + gaps).ravel()  # the partner is on the right
    on_left, on_right = left_ends >= 0, right_starts <= length
    return _indicator(
        np.concatenate([example[on_left], example[on_right]]),
        np.concatenate([left_ends[on_left], right_starts[on_right] + length + 1]),
        examples,
        2 * (length + 1),
    )


def _compare(edges: sparse.csr_array, reach: sparse.csr_array, examples: int) -> tuple[float, float, float]:
    """Return (observed, mean, variance) of the number of sequences in range, over permutations of one TF's sequences.

    With M[i, j] = 1 when A's hits of sequence i and B's hits of sequence j are in range, the mean of sum_i M[i, pi(i)]
    is sum(M) / n, and its variance the sum of squares of the doubly centred M over n - 1.
    """
    meets = sparse.csr_array(edges @ reach.T)
    meets.data[:] = 1
    observed = float(meets.diagonal().sum())
    total = float(meets.sum())
    if examples < 2:
        return observed, total / max(examples, 1), 0.0
    rows = np.asarray(meets.sum(axis=1), dtype=np.float64)
    columns = np.asarray(meets.sum(axis=0), dtype=np.float64)
    centred = total - (np.square(rows).sum() + np.square(columns).sum()) / examples + (total / examples) ** 2
    return observed, total / examples, centred / (examples - 1)
