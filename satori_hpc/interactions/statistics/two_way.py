"""contrasts-two-way: how much more a pair rises from background to foreground than its two motifs do.

The value of an example is the pair's score minus the median of its other scores, in foreground and background. The
Mann-Whitney AUC of these contrasts, as a difference in standard deviations d = sqrt(2) Phi^-1(AUC), is fitted by a
constant and an effect of each of the two units; the residual, against its sampling error and the spread of most pairs,
estimated below the true ones (`signed_rank.fit`), is tested. Raw attention rises at important motifs; this cancels.
It finds nothing where more than about a third of all pairs is true, for then the fit follows them: the share is
estimated and reported, if it is not much larger.
"""

from typing import Any

import numpy as np
from scipy import special

from satori_hpc.config import Reduce
from satori_hpc.interactions.columns import Columns
from satori_hpc.interactions.site_pairs import PairBlock, Partition
from satori_hpc.interactions.statistics import intervals, mann_whitney, signed_rank
from satori_hpc.interactions.statistics.base import (
    FOREGROUND,
    FURTHER,
    OWN,
    Described,
    Rules,
    Store,
    describe_scores,
    where,
)
from satori_hpc.interactions.statistics.signed_rank import RowMedians
from satori_hpc.interactions.statistics.within_sequence import of_rows
from satori_hpc.log import logger

HUBER, RIDGE = 1.5, 1e-2  # residuals beyond so many deviations are down-weighted; keeps units with few pairs near 0
ROUNDS = 50
MANY = 0.25  # share of true pairs from which on most may be taken for nothing


class TwoWay:
    """Test median-centred scores, foreground against background, without the main effects of both units."""

    groups: tuple[str, ...] = ("foreground", "background")
    per_example = True
    both_sides = True
    any_distance = False
    mean_cutoff = False
    sides: tuple[str, ...] = ("foreground", "background", "contrasts", "contrasts of the background")

    @staticmethod
    def facts(store: Store, settings: Reduce) -> dict[str, float]:
        """Return nothing: the store needs no checks."""
        return {}

    @staticmethod
    def describe(partition: Partition, rules: Rules) -> Described:
        """Return the row medians of every example's scores."""
        return of_rows(partition, rules)

    @staticmethod
    def add(columns: Columns, side: int, block: PairBlock, described: Described | None, rules: Rules) -> None:
        """Return scores and contrasts of both sides."""
        columns.add(side, block.score, block.distance() if side == FOREGROUND else None)
        if described is not None:
            least = rules.with_cutoff(-np.inf if rules.cutoff is None else rules.cutoff)
            signed_rank.subtract(block.score, RowMedians(**described), least=least)
            columns.add(OWN if side == FOREGROUND else FURTHER, block.score, least=-np.inf)

    @staticmethod
    def test(columns: Columns, described: Described, rules: Rules, cutoff: float) -> dict[str, np.ndarray]:
        """Compare the contrasts of every column; the test itself needs all pairs."""
        told = describe_scores(columns)
        found = mann_whitney.compare(columns, sides=(OWN, FURTHER))
        tested = (np.minimum(found.n_fg, found.n_bg) >= rules.min_examples) & (told["max_fg"] >= cutoff)
        return {
            "tested": tested,
            **told,
            **where(
                tested,
                statistic=found.u,
                auc=found.auc,
                **intervals.two_sample(found.auc, found.n_fg, found.n_bg),
                effect=found.median_fg - found.median_bg,
                p=found.p,
                neg_log10_p=found.neg_log10_p,
                contrasts_fg=found.n_fg.astype(np.float64),
                contrasts_bg=found.n_bg.astype(np.float64),
            ),
        }

    @staticmethod
    def conclude(columns: dict[str, np.ndarray], settings: Reduce, rules: Rules) -> dict[str, Any]:
        """Remove the main effects of both units and test the residuals."""
        family = np.flatnonzero(columns["tested"])
        first, second = columns.pop("contrasts_fg")[family], columns.pop("contrasts_bg")[family]
        unit_a, unit_b = (columns[f"unit_{side}"][family] for side in "ab")
        d, error = difference(columns["auc"][family], first, second)
        z, scatter = residuals(d, error, unit_a, unit_b, units=rules.units.count)
        left = z * np.sqrt(error**2 + scatter**2)
        null = signed_rank.fit(left, error)  # of most pairs, ignoring values above
        level = mann_whitney.neg_log10_upper(z) if null is None else signed_rank.neg_log10_p(left, error, null)
        p, log_p = columns["p"].copy(), columns["neg_log10_p"].copy()
        p[family], log_p[family] = 10.0**-level, level
        columns |= {"p": p, "neg_log10_p": log_p}
        share = share_true(left, 0.0 if null is None else null.centre)
        if share > MANY:
            logger.warning(
                "about %.0f %% of the tested pairs stand out from the sum of their motifs' main effects; "
                "contrasts-two-way assumes that most pairs do not interact, and may find too few",
                100 * share,
            )
        return {"scatter": float(scatter if null is None else null.scale), "share_true": round(share, 3)}


def difference(auc: np.ndarray, n_fg: np.ndarray, n_bg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return difference of two samples in standard deviations, and its standard error, from their AUC; float64 (n,)."""
    edge = 0.5 / (n_fg * n_bg + 1)
    error = np.sqrt(4 * np.pi) * np.sqrt((n_fg + n_bg + 1) / (12 * n_fg * n_bg))
    return np.sqrt(2) * special.ndtri(np.clip(auc, edge, 1 - edge)), error


def residuals(
    d: np.ndarray, error: np.ndarray, unit_a: np.ndarray, unit_b: np.ndarray, *, units: int
) -> tuple[np.ndarray, float]:
    """Return the residuals of d after fitting a constant and an effect of each unit, in standard deviations.

    And their scale.

    Args:
        d, error: float64 (pairs,), as of `difference`.
        unit_a, unit_b: int (pairs,), the two units of each.
        units: how many there are.

    Returns:
        residual / sqrt(error^2 + tau^2), float64 (pairs,); and tau, from the median absolute residual.
    """
    if not len(d):
        return np.zeros(0), 0.0
    present, codes = np.unique(np.concatenate([unit_a, unit_b]), return_inverse=True)
    code_a, code_b = codes[: len(d)], codes[len(d) :]
    size, tau = len(present) + 1, 0.0
    left, pull = d - np.median(d), np.ones(len(d))
    for _ in range(ROUNDS):
        weight = pull / (error**2 + tau**2)
        gram, target = np.zeros((size, size)), np.zeros(size)
        for row in (code_a, code_b):
            np.add.at(gram, (row, row), weight)
            np.add.at(gram[:, -1], row, weight)
            np.add.at(gram[-1], row, weight)
            np.add.at(target, row, weight * d)
        np.add.at(gram, (code_a, code_b), weight)
        np.add.at(gram, (code_b, code_a), weight)
        gram[-1, -1], target[-1] = weight.sum(), weight @ d
        gram[np.arange(size - 1), np.arange(size - 1)] += RIDGE * weight.mean()
        found = np.linalg.solve(gram + 1e-12 * np.eye(size) * weight.mean(), target)
        before, left = left, d - found[-1] - found[code_a] - found[code_b]
        spread = np.median(np.abs(left)) / special.ndtri(0.75)
        tau = float(np.sqrt(max(0.0, spread**2 - np.median(error) ** 2)))
        deviate = np.abs(left) / np.sqrt(error**2 + tau**2)
        pull = np.minimum(1.0, HUBER / np.maximum(deviate, 1e-300))
        if np.max(np.abs(left - before)) < 1e-9:
            break
    return left / np.sqrt(error**2 + tau**2), tau


def share_true(left: np.ndarray, centre: float) -> float:
    """Return the share of pairs with an upper-tail excess: those without a mirror image below the centre."""
    return max(0.0, 1 - 2 * float(np.mean(left < centre))) if len(left) else 0.0
