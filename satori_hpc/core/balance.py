"""Unlisted pairs drawn so that a TF is as common among them as among the listed ones.

Drawn alike, unlisted pairs rarely hold a TF that has many listed pairs: which TFs a sequence holds, in any
arrangement, then tells the classes apart with an AUROC of 0.7 to 0.9 (12 to 30 TFs), and a network need not look at
pairs at all.
"""

import numpy as np

ROUNDS = 5000
TOLERANCE = 1e-6


def matched_shares(choices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Shares of pairs under which every TF has its wanted share; of all such the most even (largest entropy).

    They have the form x_a * x_b, found by iterative proportional fitting.

    Args:
        choices: int (pairs, 2), the pairs that may be drawn.
        wanted: (tfs,), how common each TF must be, on any scale.

    Returns:
        float64 (pairs,), sums to 1.

    Raises:
        ValueError: no shares do this; the message is the number of the TF that stays rarest.
    """
    wanted = wanted / wanted.sum()
    first, second = choices[:, 0], choices[:, 1]
    factors = wanted.copy()
    shares = np.full(len(choices), 1 / len(choices))
    for _ in range(ROUNDS):
        shares = factors[first] * factors[second]
        shares = shares / shares.sum()
        found = (np.bincount(first, shares, len(wanted)) + np.bincount(second, shares, len(wanted))) / 2
        if np.abs(found - wanted).max() < TOLERANCE:
            return shares
        # The root damps the alternation that a symmetric fit falls into otherwise.
        factors = factors * np.sqrt(np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0))
        # What cannot be fitted drifts to 0; it must not get there, or all shares would.
        factors = np.maximum(factors / factors.max(), 1e-150)
    raise ValueError(str(int((wanted - found).argmax())))


def draw(shares: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of `count` different pairs; pair k is among them with probability count * shares[k], exactly.

    Systematic sampling over a random order: equally spaced marks on the running sum.

    Args:
        shares: (pairs,), sums to 1, none above 1 / count.
    """
    order = rng.permutation(len(shares))
    marks = (rng.random() + np.arange(count)) / count
    places = np.searchsorted(np.cumsum(shares[order]), marks, side="right")
    return order[np.minimum(places, len(shares) - 1)]
