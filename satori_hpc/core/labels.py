"""Labels as small integers: 1, 0, or UNKNOWN where nobody has looked."""

import numpy as np

UNKNOWN = 255  # far from 0 and 1: a sum that forgets it is plainly wrong


def known(labels: np.ndarray) -> np.ndarray:
    """Which labels are 0 or 1, bool of the same shape."""
    found: np.ndarray = labels != UNKNOWN
    return found


def both_classes(labels: np.ndarray) -> np.ndarray:
    """Which columns of (E, T) labels hold both classes, (T,) bool."""
    found: np.ndarray = (labels == 0).any(axis=0) & (labels == 1).any(axis=0)
    return found
