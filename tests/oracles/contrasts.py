"""Contrasts of a row the slow way: for every entry, the median of all the others."""

import numpy as np


def contrasts(values: np.ndarray, *, least: float = -np.inf) -> np.ndarray:
    """float32 (rows, columns): what each value is above the median of the other values of its row; NaN = missing."""
    out = np.full(values.shape, np.nan, np.float32)
    for row in range(len(values)):
        with np.errstate(invalid="ignore"):
            columns = np.flatnonzero(values[row] >= np.float32(least))
        if len(columns) < 3:
            continue
        for column in columns:
            others = values[row, columns[columns != column]].astype(np.float64)
            out[row, column] = np.float32(np.float64(values[row, column]) - np.median(others))
    return out
