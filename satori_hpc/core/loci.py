"""From cells of the attention to letters of the sequence, and from there to the genome.

Intervals are 0-based, half-open. A cell is `pool` positions of the activation track, and position j of it is the
filter laid on the letters j - padding .. j - padding + width - 1. Scores know a site by its cell alone, so it is told
as the letters that any position of the cell covers.
"""

import numpy as np


def letters(position: np.ndarray, *, pool: int, padding: int, width: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The letters that a site in a cell may stand on.

    Args:
        position: int (n,), starts of cells, bp.
        pool: width of a cell, bp.
        padding: zero columns left of the sequence.
        width: of a filter, bp.
        length: of the sequences, bp; what hangs over is cut off.

    Returns:
        start, end: int64 (n,).
    """
    start = position.astype(np.int64) - padding
    return np.maximum(start, 0), np.minimum(start + pool - 1 + width, length)


def on_genome(
    start: np.ndarray, end: np.ndarray, *, example_start: np.ndarray, example_end: np.ndarray, strand: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where letters of examples lie in the genome.

    Args:
        start, end: int64 (n,), letters of the example as the network read it.
        example_start, example_end: int64 (n,), the example's own interval, as long as its sequence.
        strand: int8 (n,), 1, -1 or 0 = not told, which counts as 1; a sequence of strand -1 is the reverse complement.

    Returns:
        start, end: int64 (n,), start < end also on the reverse strand.
    """
    backwards = strand < 0
    return (
        np.where(backwards, example_end - end, example_start + start),
        np.where(backwards, example_end - start, example_start + end),
    )
