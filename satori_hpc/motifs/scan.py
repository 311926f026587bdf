"""Occurrences of known motifs in sequences, at an exact p-value of the log-odds score (the idea of FIMO)."""

import numpy as np
import torch

from satori_hpc.motifs import motif

UNKNOWN = 4
STEPS_PER_BIT = 100
FLOOR = 1e-3  # probability given to a letter that a motif never shows; bounds the scores
EXAMPLES_AT_ONCE = 256


def hits(
    tokens: np.ndarray,
    motifs: list[np.ndarray],
    *,
    p: float | np.ndarray,
    background: np.ndarray = motif.UNIFORM,
    both_strands: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where each motif scores so high that a random window does so with probability at most `p`.

    Every window that lies in the sequence is looked at, the last one too; one with an unknown letter never hits.

    Args:
        tokens: (E, L) uint8, A, C, G, T, other = 0..4.
        motifs: M arrays (w, 4) of letter probabilities.
        p: largest p-value of a hit, per window and strand; one for all motifs, or (M,).
        background: (4,) letter probabilities of a random window.
        both_strands: look for the reverse complements too.

    Returns:
        example, start, motif: int64; strand: int8, 1 or -1. One entry per hit, sorted by example, start, motif,
        strand; `start` is the window's first letter on the given strand.
    """
    found: list[list[np.ndarray]] = [[np.zeros(0, dtype=np.int64)] * 3 + [np.zeros(0, dtype=np.int8)]]
    for number, (ppm, limit) in enumerate(zip(motifs, np.broadcast_to(p, len(motifs)), strict=True)):
        if len(ppm) > tokens.shape[1]:
            continue
        # The other strand is a motif of its own: where the background is not symmetric, so are not its scores.
        tables = [scores(ppm, background)]
        if both_strands:
            tables.append(scores(motif.reverse_complement(ppm), background))
        limits = [score_threshold(table, background, float(limit)) for table in tables]
        for begin in range(0, len(tokens), EXAMPLES_AT_ONCE):
            example, orientation, start = _scan(tokens[begin : begin + EXAMPLES_AT_ONCE], tables, limits)
            strand = np.where(orientation == 0, 1, -1).astype(np.int8)
            found.append([example + begin, start, np.full(len(start), number, dtype=np.int64), strand])
    example, start, number_, strand = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((strand, number_, start, example))
    return example[order], start[order], number_[order], strand[order]


def scores(ppm: np.ndarray, background: np.ndarray = motif.UNIFORM) -> np.ndarray:
    """Log-odds of letters against the background, (w, 4) int64, in hundredths of a bit."""
    floored = np.maximum(np.asarray(ppm, dtype=np.float64), FLOOR)
    floored /= floored.sum(axis=1, keepdims=True)
    return np.rint(STEPS_PER_BIT * np.log2(floored / np.asarray(background))).astype(np.int64)


def score_threshold(table: np.ndarray, background: np.ndarray, p: float) -> int:
    """The smallest score that a random window reaches with probability at most `p`; above the maximum if none is.

    Exact for whole-number scores and independent letters: the distribution of the sum is the convolution of the
    distributions of its columns.

    Args:
        table: (w, 4) int64 scores of letters.
        background: (4,) letter probabilities.
        p: probability.
    """
    lowest = table.min(axis=1)
    spread = table - lowest[:, None]
    distribution = np.ones(1)
    for column in spread:
        longer = np.zeros(len(distribution) + int(column.max()))
        for letter in range(4):
            step = int(column[letter])
            longer[step : step + len(distribution)] += background[letter] * distribution
        distribution = longer
    tail = np.cumsum(distribution[::-1])[::-1]
    # Scores between two possible ones have the tail of the next possible one, so any first entry is a valid limit.
    reached = np.flatnonzero(tail <= p * (1 + 1e-9))
    return int(lowest.sum()) + (int(reached[0]) if len(reached) else len(tail))


def _scan(tokens: np.ndarray, tables: list[np.ndarray], limits: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(example, orientation, start) of windows that reach the limit of their table."""
    codes = torch.from_numpy(np.ascontiguousarray(tokens))
    letters = (codes[:, None, :] == torch.arange(4, dtype=torch.uint8)[:, None]).float()
    # Whole numbers far below 2^24: sums in float32 are exact.
    weights = torch.from_numpy(np.stack([table.T for table in tables])).float()
    sums = torch.nn.functional.conv1d(letters, weights)
    unknown = (codes == UNKNOWN).float()[:, None, :]
    width = weights.shape[2]
    clean = torch.nn.functional.max_pool1d(unknown, width, stride=1) == 0
    reached = (sums >= torch.tensor(limits, dtype=torch.float32)[None, :, None]) & clean
    example, orientation, start = torch.nonzero(reached, as_tuple=True)
    return example.numpy(), orientation.numpy(), start.numpy()
