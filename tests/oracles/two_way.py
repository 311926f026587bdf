"""Differences of pairs less a constant and an effect of each unit, by a plain weighted least-squares fit."""

import numpy as np
from scipy import stats


def residuals(
    d: np.ndarray, error: np.ndarray, unit_a: np.ndarray, unit_b: np.ndarray, *, units: int, rounds: int
) -> tuple[np.ndarray, float]:
    """What is left in standard deviations, and its scatter: a row per pair and a column per unit, fitted anew.

    Huber's weights (1.5 deviations); the scatter is what the median absolute residual has above the median error; unit
    effects are drawn to 0 by a penalty of a hundredth of the mean weight.
    """
    design = np.zeros((len(d), units + 1))
    for row, (a, b) in enumerate(zip(unit_a, unit_b, strict=True)):
        design[row, [a, b, units]] = 1
    present = design.any(axis=0)
    weight, tau = np.ones(len(d)), 0.0
    for _ in range(rounds):
        full = weight / (error**2 + tau**2)
        penalty = np.sqrt(0.01 * full.mean()) * np.eye(units + 1)[:units]
        root = np.sqrt(full)
        rows = np.concatenate([root[:, None] * design, penalty])[:, present]
        found, *_ = np.linalg.lstsq(rows, np.concatenate([root * d, np.zeros(units)]), rcond=None)
        left = d - design[:, present] @ found
        spread = np.median(np.abs(left)) / stats.norm.ppf(0.75)
        tau = float(np.sqrt(max(0.0, spread**2 - np.median(error) ** 2)))
        deviate = np.abs(left) / np.sqrt(error**2 + tau**2)
        weight = np.array([1.0 if one <= 1.5 else 1.5 / one for one in deviate])
    return left / np.sqrt(error**2 + tau**2), tau
