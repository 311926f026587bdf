"""Test spacing, order and strands of two sites in the foreground against the background.

Counts by spacing are tested, so memory and time depend on the range of spacings and not on the examples.
Given the counts of both sides together, under the null the foreground is a random draw from them.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

TURN = 10.5  # bp, a turn of the double helix in solution
STRATUM = 21  # bp, two turns: the shortest whole number of both
EXCEEDANCES = 20  # draws as extreme as the data after which no more are needed
AT_ONCE = 64
ARRANGEMENTS = ("tandem_ab", "tandem_ba", "convergent", "divergent")


@dataclass(frozen=True)
class Preferred:
    """The window of spacings with the largest excess.

    Attributes:
        first: index of its first spacing.
        found: foreground sites in it.
        expected: the expected number if both sides were equal.
        p: that the largest excess over all windows is this large by chance.
    """

    first: int
    found: int
    expected: float
    p: float


@dataclass(frozen=True)
class Helical:
    """Difference between the sides in helical phase; all arrays (rows,), float64.

    Attributes:
        strength: length of the difference of their mean directions on the turn, between 0 and 2.
        phase: spacing, bp modulo a turn, that the foreground has more of.
        p: that it is this large by chance; NaN where spacings of one phase alone were seen.
    """

    strength: np.ndarray
    phase: np.ndarray
    p: np.ndarray


def helical(foreground: np.ndarray, background: np.ndarray, spacing: np.ndarray) -> Helical:
    """Test whether the helical phase of spacings differs between the two sides.

    Sides are compared within stretches of two turns, so a foreground that is closer together as a whole counts for
    nothing. Within each, the sum of the foreground's unit vectors minus its expectation has a known variance
    (draws without replacement, as in the tests of Mantel and Haenszel); both summed over the stretches make a
    chi-square of two degrees of freedom.

    Args:
        foreground, background: int (rows, D), sites by spacing.
        spacing: int (D,), bp, rising.
    """
    angle = 2 * np.pi * spacing / TURN
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rows = len(foreground)
    excess, weight, variance = np.zeros((rows, 2)), np.zeros(rows), np.zeros((rows, 2, 2))
    stretch = spacing // STRATUM
    for number in np.unique(stretch):
        here = np.flatnonzero(stretch == number)
        drawn, both = foreground[:, here], (foreground[:, here] + background[:, here]).astype(np.float64)
        n, total = drawn.sum(axis=1).astype(np.float64), both.sum(axis=1)
        share = both / np.maximum(total, 1)[:, None]
        mean = share @ unit[here]
        second = np.einsum("rd,di,dj->rij", share, unit[here], unit[here])
        spread = second - mean[:, :, None] * mean[:, None]
        excess += drawn @ unit[here] - n[:, None] * mean
        weight += n * (total - n) / np.maximum(total, 1)
        variance += (n * (total - n) / np.maximum(total - 1, 1))[:, None, None] * spread
    values, vectors = np.linalg.eigh(variance)
    usable = values > 1e-9 * np.maximum(weight, 1e-300)[:, None]
    along = np.einsum("ri,rij->rj", excess, vectors)
    chi_square = np.sum(np.where(usable, along**2 / np.where(usable, values, 1.0), 0.0), axis=1)
    freedom = usable.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return Helical(
            strength=np.where(weight > 0, np.linalg.norm(excess, axis=1) / np.maximum(weight, 1e-300), np.nan),
            phase=np.where(freedom > 0, np.arctan2(excess[:, 1], excess[:, 0]) / (2 * np.pi) * TURN % TURN, np.nan),
            p=np.where(freedom > 0, special.chdtrc(np.maximum(freedom, 1), chi_square), np.nan),
        )


def preferred(
    foreground: np.ndarray, background: np.ndarray, *, window: int, draws: int, rng: np.random.Generator
) -> Preferred:
    """Find the window of spacings of which the foreground has most in excess, and how often chance does as well.

    The excess of a window is the signed root of the likelihood ratio of its two-by-two table. Its largest over all
    windows is compared with that of random draws, so the search pays for itself. Draws end after `EXCEEDANCES` that do
    as well (Besag and Clifford 1991): p is exact either way.

    Args:
        foreground, background: int (D,), sites by spacing; both have some.
        window: spacings in a window.
        draws: at most.
        rng: for the draws.
    """
    both = foreground + background
    n, seen = int(foreground.sum()), np.flatnonzero(both)
    covered = _windows(both[None], window)[0]
    excess = _excess(_windows(foreground[None], window), covered, n=n, total=int(both.sum()))[0]
    first = int(np.argmax(excess))
    largest = excess[first] * (1 - 1e-9)  # equal tables are equal for any order of summation
    as_large, done = 0, 0
    while done < draws and as_large < EXCEEDANCES:
        count = min(AT_ONCE, draws - done)
        drawn = np.zeros((count, len(both)), dtype=np.int64)
        drawn[:, seen] = rng.multivariate_hypergeometric(both[seen], n, size=count, method="marginals")
        found = _excess(_windows(drawn, window), covered, n=n, total=int(both.sum())).max(axis=1) >= largest
        reached = np.flatnonzero(np.cumsum(found) == EXCEEDANCES - as_large)
        if len(reached):
            return Preferred(
                *_window(foreground, covered, first, window, n, both), p=EXCEEDANCES / (done + int(reached[0]) + 1)
            )
        as_large += int(found.sum())
        done += count
    return Preferred(*_window(foreground, covered, first, window, n, both), p=(as_large + 1) / (done + 1))


def _window(
    foreground: np.ndarray, covered: np.ndarray, first: int, window: int, n: int, both: np.ndarray
) -> tuple[int, int, float]:
    return first, int(foreground[first : first + window].sum()), float(covered[first] * n / both.sum())


def _windows(counts: np.ndarray, window: int) -> np.ndarray:
    """Return sums over windows of neighbours, (rows, D - window + 1)."""
    before = np.zeros((len(counts), counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=1, out=before[:, 1:])
    return before[:, window:] - before[:, :-window]


def _excess(found: np.ndarray, covered: np.ndarray, *, n: int, total: int) -> np.ndarray:
    """Return signed root of the likelihood ratio of (in the window, out of it) x (foreground, background)."""
    expected = covered * (n / total)
    ratio = np.zeros(found.shape)
    for seen, chance in (
        (found, expected),
        (n - found, n - expected),
        (covered - found, covered - expected),
        (total - n - covered + found, total - n - covered + expected),
    ):
        ratio += special.xlogy(seen, np.where(seen > 0, seen / np.maximum(chance, 1e-300), 1.0))
    return np.sign(found - expected) * np.sqrt(np.maximum(2 * ratio, 0.0))


def arrangement(distance: np.ndarray, strand_a: np.ndarray, strand_b: np.ndarray) -> np.ndarray:
    """Return the arrangement of two motifs (index into ARRANGEMENTS), int8, -1 = unknown.

    Independent of the strand read.

    tandem_ab: on one strand, A upstream of B; tandem_ba: B upstream; convergent: facing each other; divergent: back to
    back.

    Args:
        distance: int (n,), start of B minus start of A, bp; 0 has no order.
        strand_a, strand_b: int (n,), 1 or -1 as the sequence reads, 0 = not known.
    """
    ahead = np.sign(distance)
    left = np.where(ahead > 0, strand_a, strand_b)
    tandem, facing = np.where(ahead * strand_a > 0, 0, 1), np.where(left > 0, 2, 3)
    told = (ahead != 0) & (strand_a != 0) & (strand_b != 0)
    return np.where(told, np.where(strand_a == strand_b, tandem, facing), -1).astype(np.int8)


def order_p(foreground: np.ndarray, background: np.ndarray) -> float:
    """Return Fisher's two-sided p of (A first, B first) on both sides, int (2,) each; NaN where a margin is empty."""
    from scipy import stats  # here: slow to load, and Dask's workers do without

    table = np.array([foreground, background])
    if not table.sum(axis=0).all() or not table.sum(axis=1).all():
        return float("nan")
    return float(stats.fisher_exact(table).pvalue)


def arrangement_p(foreground: np.ndarray, background: np.ndarray, *, draws: int, rng: np.random.Generator) -> float:
    """Return p of Pearson's chi-square over the arrangements that occur, by random draws; NaN where fewer than two do.

    Args:
        foreground, background: int (arrangements,).
        draws: how many.
        rng: for the draws.
    """
    both = foreground + background
    there = np.flatnonzero(both)
    n, total = int(foreground.sum()), int(both.sum())
    if len(there) < 2 or not 0 < n < total:
        return float("nan")
    expected = both[there] * (n / total)
    drawn = rng.multivariate_hypergeometric(both[there], n, size=draws, method="marginals")

    def chi_square(found: np.ndarray) -> np.ndarray:
        # The background's part is the foreground's, times a constant, in each cell of the table.
        return np.sum((found - expected) ** 2 / expected, axis=-1)

    as_large = chi_square(drawn) >= chi_square(foreground[there]) * (1 - 1e-9)
    return (1 + int(as_large.sum())) / (1 + draws)
