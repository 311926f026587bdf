"""within-sequence: a pair's scores against the other pairs of the same sequences.

The value of an example is the pair's score minus the median of the example's other scores; a signed-rank test asks
whether these contrasts are above 0, and, as the smallest side effect is, whether they are above those of pairs that do
not interact: pairs further apart than max_distance, or, with any distance, most tested pairs.
"""

from typing import Any

import numpy as np

from satori_hpc.config import Reduce
from satori_hpc.interactions.columns import Columns
from satori_hpc.interactions.site_pairs import PairBlock, Partition
from satori_hpc.interactions.statistics import intervals, signed_rank
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

LAID_OUT = 2**22  # scores of rows that are laid out at a time, at most


class WithinSequence:
    """Test median-centred scores by a one-sided signed-rank test, calibrated on non-interacting pairs."""

    groups: tuple[str, ...] = ("foreground",)
    per_example = True
    both_sides = False
    any_distance = False
    mean_cutoff = False
    sides: tuple[str, ...] = ("foreground", "background", "contrasts", "contrasts of far pairs")

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
        """Return scores of both sides; contrasts of the foreground, those of far pairs apart."""
        columns.add(side, block.score, block.distance() if side == FOREGROUND else None)
        if side == FOREGROUND and described is not None:
            least = rules.with_cutoff(-np.inf if rules.cutoff is None else rules.cutoff)
            far = [(FURTHER, block.far())] if rules.max_distance else []  # before the scores are changed
            for number, each in ((OWN, block.score), *far):
                signed_rank.subtract(each, RowMedians(**described), least=least)
                columns.add(number, each, least=-np.inf)

    @staticmethod
    def test(columns: Columns, described: Described, rules: Rules, cutoff: float) -> dict[str, np.ndarray]:
        """Test every column."""
        told = describe_scores(columns)
        found, far = signed_rank.test(columns, OWN), signed_rank.test(columns, FURTHER)
        enough = far.n >= rules.min_examples
        tested = (found.n >= rules.min_examples) & (told["max_fg"] >= cutoff)
        return {
            "tested": tested,
            **told,
            **where(
                tested,
                statistic=found.w_plus,
                auc=found.auc,
                **intervals.one_sample(found.auc, found.nonzero),
                effect=found.median,
                p=found.p,
                neg_log10_p=found.neg_log10_p,
                auc_error=found.auc_error,
            ),
            "nonzero": found.nonzero,
            "far_nonzero": np.where(enough, far.nonzero, 0),
            **where(enough, far_auc=far.auc, far_error=far.auc_error),
        }

    @staticmethod
    def conclude(columns: dict[str, np.ndarray], settings: Reduce, rules: Rules) -> dict[str, Any]:
        """Calibrate p-values on the spread of effects of non-interacting pairs."""
        near = [columns["auc"], columns.pop("auc_error"), columns.pop("nonzero")]
        far = [columns.pop(f"far_{name}") for name in ("auc", "error", "nonzero")]
        if settings.calibration != "empirical":
            return {"calibration": "theoretical"}
        family = np.flatnonzero(columns["tested"] & (near[2] > 0))
        effect, error = signed_rank.effects(*(values[family] for values in near))
        far_effect, far_error = signed_rank.effects(*(values[far[2] > 0] for values in far))
        null = signed_rank.fit(far_effect, far_error) if rules.max_distance else signed_rank.fit(effect, error)
        what = "far pairs" if rules.max_distance else "tested pairs"
        if null is None:
            return {"calibration": f"theoretical, for there are fewer than {signed_rank.LEAST_PAIRS} {what}"}
        # Never less strict than the test itself: an effect must exceed zero and the effects of most pairs.
        level = signed_rank.neg_log10_p(effect, error, null)
        p, log_p = columns["p"].copy(), columns["neg_log10_p"].copy()  # arrays from Parquet are read-only
        p[family] = np.maximum(p[family], 10.0**-level)
        log_p[family] = np.minimum(log_p[family], level)
        columns |= {"p": p, "neg_log10_p": log_p}
        return {
            "calibration": f"empirical, effects of {what} {null.centre:.3f} +- {null.scale:.3f} standard deviations"
        }


def of_rows(partition: Partition, rules: Rules) -> Described:
    """Return the row medians of the scores of every example of a partition, a few examples at a time."""
    least = rules.with_cutoff(-np.inf if rules.cutoff is None else rules.cutoff)
    step = max(1, LAID_OUT // max(rules.units.pairs, 1))
    found = [
        signed_rank.row_medians(block.score, least=least) for block in partition.blocks(0, rules.units.pairs, rows=step)
    ]
    return RowMedians(*(np.concatenate(values) for values in zip(*found, strict=True)))._asdict()
