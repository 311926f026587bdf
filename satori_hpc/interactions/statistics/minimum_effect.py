"""minimum-effect: the interaction of two sites must exceed a fraction of single-site effects in most sequences.

The value of an example is E - margin, where E is the pair's score (of the site pair that represents it) and the
margin the larger of a tenth of the mean single effect over all sites of the foreground and a quarter of the larger of
the two sites' own single effects. A one-sided signed-rank test asks whether it is above 0 (synergy); -E - margin asks
for redundancy. No null made of other pairs is needed, so it works with one true pair and with most pairs true.
"""

from typing import Any

import numpy as np

from satori_hpc.config import Reduce
from satori_hpc.errors import ArtefactError, quoted
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

OF_MEAN, OF_LARGER = 0.1, 0.25  # chosen on seed 1 of simulated designs, reported on others (docs/methods.md)
EFFECT = "single"  # the effect of a place alone, in the units of the score


class MinimumEffect:
    """Test interactions minus a margin of single-site effects by a one-sided signed-rank test."""

    groups: tuple[str, ...] = ()
    per_example = True
    both_sides = False
    any_distance = False
    mean_cutoff = False
    sides: tuple[str, ...] = ("foreground", "background", "synergy", "redundancy")

    @staticmethod
    def facts(store: Store, settings: Reduce) -> dict[str, float]:
        """Return the mean size of single effects over all sites of the foreground."""
        if EFFECT not in store.attributes["effects"]:
            raise ArtefactError(
                f"{store.path}: {store.method} has no effects of single sites, which reduce.statistic = "
                f"'minimum-effect' needs; use another statistic for it, or score by epistasis: satori-hpc set "
                f"{quoted(store.path.parent.parent)} score.methods=epistasis"
            )
        return {"mean_single": store.mean_size(EFFECT)}

    @staticmethod
    def describe(partition: Partition, rules: Rules) -> Described:
        """Return nothing: examples need no description."""
        return {}

    @staticmethod
    def add(columns: Columns, side: int, block: PairBlock, described: Described | None, rules: Rules) -> None:
        """Gather the scores of both sides, and the foreground's E and -E, minus their margins."""
        columns.add(side, block.score, block.distance() if side == FOREGROUND else None)
        if side == FOREGROUND:
            first, second = block.effects(EFFECT)
            larger = np.fmax(np.abs(first), np.abs(second))
            margin = np.maximum(np.float32(OF_MEAN * rules.fact("mean_single")), np.float32(OF_LARGER) * larger)
            columns.add(OWN, block.score - margin, least=-np.inf)
            columns.add(FURTHER, -block.score - margin, least=-np.inf)

    @staticmethod
    def test(columns: Columns, described: Described, rules: Rules, cutoff: float) -> dict[str, np.ndarray]:
        """Test every column."""
        told = describe_scores(columns)
        synergy, redundancy = signed_rank.test(columns, OWN), signed_rank.test(columns, FURTHER)
        tested = (synergy.n >= rules.min_examples) & (told["max_fg"] >= cutoff)
        return {
            "tested": tested,
            **told,
            **where(
                tested,
                statistic=synergy.w_plus,
                auc=synergy.auc,
                **intervals.one_sample(synergy.auc, synergy.nonzero),
                effect=told["median_fg"],
                p=synergy.p,
                neg_log10_p=synergy.neg_log10_p,
                redundancy_p=redundancy.p,
            ),
        }

    @staticmethod
    def conclude(columns: dict[str, np.ndarray], settings: Reduce, rules: Rules) -> dict[str, Any]:
        """Add q-values of redundancy, and the number of values between 0 and the margin."""
        tested = columns["tested"]
        p = columns.pop("redundancy_p")
        columns["redundancy_q"] = np.full(len(p), np.nan)
        columns["redundancy_q"][tested] = mann_whitney.q_values(p[tested])
        below = tested & (columns["median_fg"] > 0) & ~(columns["auc"] > 0.5)
        return {
            "mean_single_effect": rules.fact("mean_single"),
            "margin": f"max({OF_MEAN:g} of the mean, {OF_LARGER:g} of the larger single effect)",
            "above_0_below_margin": int(below.sum()),
            "redundant_pairs": int(np.sum(columns["redundancy_q"] <= settings.alpha)),
        }
