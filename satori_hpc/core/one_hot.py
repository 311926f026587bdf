"""One-hot sequences to tokens, and nothing that is not one-hot."""

import numpy as np

from satori_hpc.core import sequence


def decode(columns: np.ndarray, *, letters: str = "ACGT") -> tuple[np.ndarray, np.ndarray]:
    """Tokens of one-hot sequences.

    Args:
        columns: numbers (examples, 4, length). A column is a letter when one number is 1 and three are 0, and N when
            all are 0, or all 0.25.
        letters: the order of A, C, G and T in the second axis.

    Returns:
        (uint8 (examples, length); int64 (columns, 2), example and position of every column that is none of these).
    """
    one = columns == 1
    zeros = (columns == 0).sum(axis=1, dtype=np.uint8)
    letter = (one.sum(axis=1, dtype=np.uint8) == 1) & (zeros == 3)
    unknown = zeros == 4
    if columns.dtype.kind == "f":
        unknown |= (columns == 0.25).all(axis=1)
    code = np.array([sequence.LETTERS.index(each) for each in letters], dtype=np.uint8)
    tokens = np.where(letter, code[one.argmax(axis=1)], np.uint8(sequence.N))
    return tokens, np.argwhere(~letter & ~unknown)
