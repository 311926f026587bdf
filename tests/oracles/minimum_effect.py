"""Interactions less their margins, example by example and pair by pair."""

import numpy as np


def values(score: np.ndarray, single: np.ndarray, *, filters: int, sign: int = 1) -> np.ndarray:
    """float32 (rows, pairs): sign x score less the margin; NaN = the pair was not observed.

    The margin is a tenth of the mean size of all single effects, or a quarter of the larger of the two, if that is
    more.

    Args:
        score: float32 (rows, pairs), NaN = not observed.
        single: float32 (rows, filters), what the site of a filter does alone; NaN = it has none.
        filters: how many there are.
        sign: -1: of redundancy.
    """
    mean = np.nanmean(np.abs(single.astype(np.float64)))
    out = np.full(score.shape, np.nan, np.float32)
    for row in range(len(score)):
        pair = 0
        for f in range(filters):
            for g in range(f + 1, filters):
                alone = [abs(one) for one in (single[row, f], single[row, g]) if not np.isnan(one)]
                if alone:  # or nothing is known of its margin
                    margin = max(np.float32(0.1 * mean), np.float32(0.25) * max(alone))
                    out[row, pair] = np.float32(sign) * score[row, pair] - margin
                pair += 1
    return out
