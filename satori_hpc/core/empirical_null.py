"""A null made of the tested pairs themselves: how large are the effects of pairs that do nothing of their own?

With thousands of sequences a test against "no effect at all" calls the smallest side effect. Most pairs have no more
than side effects; how they scatter is read off the lower part of all effects, where true interactions are not. A pair
is then held against N(centre, scale^2 + its own sampling variance), which more sequences do not make ever narrower.

Effects are told on the scale of a normal distribution: if contrasts are N(d, 1), a signed-rank test has an expected
auc of Phi(sqrt(2) d), so d = Phi^-1(auc) / sqrt(2); unlike auc it has no upper end where strong effects would crowd.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from satori_hpc.core import rank_test

LEAST_PAIRS = 30  # fewer do not tell how they scatter
LOW, HIGH = -3.0, 2.0  # in scales from the centre: what lies above may be true, what lies far below is no rule
STEPS = 200
PAIRS_PER_FREEDOM = 3  # measured: the scale of m pairs is known as well as a standard deviation from so many freedoms


@dataclass(frozen=True)
class Null:
    """The scatter of effects of pairs that do nothing of their own, on the scale of `effects`.

    Attributes:
        centre, scale: of a normal distribution; scale is what is left when sampling variance is taken off.
        freedom: degrees of freedom with which the scale is known.
    """

    centre: float
    scale: float
    freedom: float


def effects(auc: np.ndarray, auc_error: np.ndarray, nonzero: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(effect, its sampling error without any effect) of signed-rank tests, float64 (tests,).

    Args:
        auc, auc_error, nonzero: as in `signed_rank.SignedRank`.
    """
    edge = 0.5 / (nonzero * (nonzero + 1.0) / 2 + 1)  # as near to 0 and 1 as so many ranks can tell
    return special.ndtri(np.clip(auc, edge, 1 - edge)) / np.sqrt(2), auc_error * np.sqrt(np.pi)


def fit(effect: np.ndarray, error: np.ndarray) -> Null | None:
    """Centre and scale of the effects of pairs that do nothing of their own.

    They are chosen so that the effects from `LOW` to `HIGH` scales around the centre have the mean and the variance
    of a normal distribution cut off there. True interactions above that do not count, however many, as long as most
    pairs are none.

    Args:
        effect, error: float64 (pairs,), finite.

    Returns:
        None where there are fewer than `LEAST_PAIRS`.
    """
    if len(effect) < LEAST_PAIRS:
        return None
    mean, variance = _cut_moments()
    noise = float(np.median(error)) ** 2
    centre = float(np.median(effect))
    under = centre - effect[effect <= centre]
    scale_squared = max(0.0, float(np.median(under) / special.ndtri(0.75)) ** 2 - noise)
    found = []
    for step in range(STEPS):
        deviate = (effect - centre) / np.sqrt(np.maximum(scale_squared + error**2, np.finfo(float).tiny))
        kept = deviate[(deviate >= LOW) & (deviate <= HIGH)]
        if not len(kept):
            break
        width = np.sqrt(scale_squared + noise)
        wider = np.sqrt(kept.var() / variance)
        centre += 0.7 * float(kept.mean() - mean * wider) * width
        scale_squared = max(0.0, width**2 * float(wider) ** 1.4 - noise)
        if step >= STEPS // 2:  # the last steps may go round in a circle, as effects go over the edges and back
            found.append((centre, np.sqrt(scale_squared)))
    if not found:
        return None
    centre, scale = np.mean(found, axis=0)
    return Null(centre=float(centre), scale=float(scale), freedom=len(effect) / PAIRS_PER_FREEDOM)


def neg_log10_p(effect: np.ndarray, error: np.ndarray, null: Null) -> np.ndarray:
    """-log10 of the chance of a larger effect under N(centre, scale^2 + error^2).

    The scale is an estimate, so the tail is that of Student's distribution (Wallace's approximation by a normal
    deviate, which stays finite in the farthest tail).
    """
    deviate = (effect - null.centre) / np.sqrt(np.maximum(null.scale**2 + error**2, np.finfo(float).tiny))
    nu = null.freedom
    normal = np.sign(deviate) * (8 * nu + 1) / (8 * nu + 3) * np.sqrt(nu * np.log1p(deviate**2 / nu))
    return rank_test.neg_log10_upper(normal)


def _cut_moments() -> tuple[float, float]:
    """Mean and variance of a standard normal distribution cut off at LOW and HIGH."""
    at_low, at_high = (float(np.exp(-edge * edge / 2) / np.sqrt(2 * np.pi)) for edge in (LOW, HIGH))
    mass = float(special.ndtr(HIGH) - special.ndtr(LOW))
    mean = (at_low - at_high) / mass
    return mean, 1 + (LOW * at_low - HIGH * at_high) / mass - mean**2
