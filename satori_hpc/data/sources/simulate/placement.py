"""Place the motifs of one simulated sequence."""

from dataclasses import dataclass

import numpy as np

TRIES = 200  # draws of the motifs and gaps of a sequence until they fit and obey the rules


@dataclass(frozen=True)
class Plan:
    """The motifs of one sequence, int64, one entry per motif: TF numbers, starts, numbers of pairs (-1 = alone)."""

    tfs: np.ndarray
    starts: np.ndarray
    pair: np.ndarray


def place_blocks(widths: np.ndarray, *, length: int, gap: int, rng: np.random.Generator) -> np.ndarray | None:
    """Starts of blocks on a sequence, at least `gap` bp between neighbours; uniform over all such placements.

    The free positions are shared out directly, so no try is wasted and crowded sequences are not biased towards
    narrow motifs, as drawing starts until they are apart would be.

    Args:
        widths: int (blocks,), bp.
        length: of the sequence, bp.
        gap: least distance, end of one block to start of the next, bp.

    Returns:
        int64 (blocks,) in the order of `widths`, which along the sequence is random; None when they do not fit.
    """
    blocks = len(widths)
    free = length - int(np.sum(widths)) - gap * max(blocks - 1, 0)
    if free < 0:
        return None
    order = rng.permutation(blocks)
    # Bars among stars: every way to share `free` positions over the blocks + 1 spaces has the same chance.
    bars = np.sort(rng.choice(free + blocks, size=blocks, replace=False)) - np.arange(blocks)
    ahead = np.concatenate([[0], np.cumsum(widths[order])[:-1]]) if blocks else np.zeros(0, dtype=np.int64)
    starts = np.empty(blocks, dtype=np.int64)
    starts[order] = bars + ahead + gap * np.arange(blocks)
    return starts


def gaps_between(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Gap of every two intervals, (k, k) bp: end of the left one to start of the right one; negative = overlap."""
    return np.maximum(starts[:, None], starts[None, :]) - np.minimum(ends[:, None], ends[None, :])
