"""Instances of a motif: letters drawn from its PPM that score well enough to be told from background."""

from dataclasses import dataclass

import numpy as np

TRIES_AT_ONCE = 8
PSEUDOCOUNT = 0.8  # added to each column in all, shared by background


@dataclass(frozen=True)
class Pwm:
    """A motif ready for drawing.

    Attributes:
        name: of the TF.
        probabilities: (width, 4), rows sum to 1, none is 0.
        cumulative: (width, 4), running sums of `probabilities`; the last column is 1.
        scores: (width, 4), log2 odds against the background.
        maximum: largest score a site can have, bits.
    """

    name: str
    probabilities: np.ndarray
    cumulative: np.ndarray
    scores: np.ndarray
    maximum: float

    @property
    def width(self) -> int:
        return len(self.probabilities)


def make_pwm(name: str, counts: np.ndarray, *, background: np.ndarray) -> Pwm:
    """Turn letter counts into log odds.

    Args:
        name: of the TF.
        counts: (width, 4), letters A, C, G, T.
        background: (4,), sums to 1.

    Raises:
        ValueError: no site can score above 0, so half of the maximum would mean nothing.
    """
    counts = np.asarray(counts, dtype=np.float64)
    background = np.asarray(background, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    probabilities = (counts + PSEUDOCOUNT * background) / (totals + PSEUDOCOUNT)
    scores = np.log2(probabilities / background)
    maximum = float(scores.max(axis=1).sum())
    if maximum <= 1e-9:
        raise ValueError(f"motif {name} is flat: its best site scores {maximum:.3g} bits")
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative[:, -1] = 1.0
    return Pwm(name, probabilities, cumulative, scores, maximum)


def score(pwm: Pwm, sites: np.ndarray) -> np.ndarray:
    """Log odds of sites in the motif's own direction, tokens (..., width) -> float64 (...), bits."""
    return pwm.scores[np.arange(pwm.width), sites].sum(axis=-1)


def draw(pwm: Pwm, rng: np.random.Generator, *, fraction: float, tries: int) -> tuple[np.ndarray, bool]:
    """Draw one instance that scores above `fraction` of the motif's maximum (SATORI 2.0, lqaf209: half).

    Letters come from the PPM; what scores too low is drawn again, so instances follow the PPM given that they pass.
    When `tries` draws fail, the last is mended: the position that loses most becomes consensus, until it passes.

    Returns:
        (tokens uint8 (width,), whether it was mended).
    """
    enough = fraction * pwm.maximum
    left = tries
    site = None
    while left > 0:
        # Always the same number of draws at once, so the outcome depends on the generator alone.
        uniform = rng.random((TRIES_AT_ONCE, pwm.width, 1))
        sites = (uniform >= pwm.cumulative).sum(axis=-1).astype(np.uint8)[:left]
        passed = np.flatnonzero(score(pwm, sites) > enough)
        if passed.size:
            return sites[passed[0]], False
        site = sites[-1]
        left -= len(sites)
    assert site is not None
    return _mended(pwm, site, enough), True


def _mended(pwm: Pwm, site: np.ndarray, enough: float) -> np.ndarray:
    site = site.copy()
    best = pwm.scores.argmax(axis=1).astype(np.uint8)
    columns = np.arange(pwm.width)
    while float(score(pwm, site)) <= enough:
        loss = pwm.scores[columns, best] - pwm.scores[columns, site]
        column = int(loss.argmax())
        site[column] = best[column]
    return site
