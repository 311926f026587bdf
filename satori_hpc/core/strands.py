"""Which strand of every training example an epoch shows, and in which order.

A protein binds either strand, so the reverse complement of an example has its labels; a network of filters that read
one strand has to be shown both to know. Kelley et al. 2016 (Basset) and most of the field since train so.
"""

import numpy as np

ORDER = 12
COIN = 14


def per_epoch(examples: int, strands: str) -> int:
    """Rows that an epoch shows of so many examples."""
    return 2 * examples if strands == "both" else examples


def shown(examples: int, strands: str, *, seed: int, epoch: int) -> np.ndarray:
    """What an epoch shows, int64 (per_epoch,): r is example r as it is, examples + r its reverse complement.

    The order is a permutation keyed by (seed, epoch); the coins of "random" are keyed likewise, one per example.

    Args:
        examples: number of training examples.
        strands: "given": as they are; "random": each one way, by a coin; "both": each both ways, as two rows.
        seed: of the network.
        epoch: from 0.
    """
    order = np.random.default_rng([seed, ORDER, epoch]).permutation(per_epoch(examples, strands))
    if strands == "random":
        coins = np.random.default_rng([seed, COIN, epoch]).integers(0, 2, examples)
        order += examples * coins[order]
    return order
