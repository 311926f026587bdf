"""Confidence intervals of AUCs, 95 %, as those of a difference in standard deviations (probit of the AUC)."""

import numpy as np
from scipy import special

Z = 1.959964


def two_sample(auc: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Return auc_low and auc_high of a Mann-Whitney AUC.

    d = sqrt(2) probit(AUC), se^2 = (4 pi (n1 + n2 + 1) / 12 + d^2 (n1 + n2) / 8) / (n1 n2): that of no difference, and
    what a difference adds for normal distributions.

    Args:
        auc: float64 (n,), NaN where there is none.
        first, second: values on each side.
    """
    edge = 0.5 / (first * second + 1.0)
    d = np.sqrt(2) * special.ndtri(np.clip(auc, edge, 1 - edge))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (np.pi * (first + second + 1) / 3 + d**2 * (first + second) / 8) / (first * second)
    return _bounds(d, variance)


def one_sample(auc: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return auc_low and auc_high of a signed-rank AUC, the chance that the mean of two values is positive.

    d = probit(AUC) / sqrt(2), se^2 = pi / (3 n) + d^2 / (2 n).

    Args:
        auc: float64 (n,), NaN where there is none.
        values: that are ranked.
    """
    edge = 0.5 / (values * (values + 1.0) / 2 + 1)
    d = special.ndtri(np.clip(auc, edge, 1 - edge)) / np.sqrt(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.pi / (3.0 * values) + d**2 / (2.0 * values)
    return _bounds(d, variance, factor=np.sqrt(2))


def _bounds(d: np.ndarray, variance: np.ndarray, *, factor: float = float(np.sqrt(0.5))) -> dict[str, np.ndarray]:
    reach = Z * np.sqrt(variance)
    return {"auc_low": special.ndtr(factor * (d - reach)), "auc_high": special.ndtr(factor * (d + reach))}
