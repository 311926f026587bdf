"""published: scores in the foreground against scores in the background, as SATORI 2.0 (lqaf209) tests them."""

from typing import Any

import numpy as np

from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.interactions.columns import Columns
from satori_hpc.interactions.site_pairs import PairBlock, Partition
from satori_hpc.interactions.statistics import intervals, mann_whitney
from satori_hpc.interactions.statistics.base import FOREGROUND, Described, Rules, Store, where


class Published:
    """One-sided Mann-Whitney test of a pair's scores; the cut-off is the mean of the foreground's scores."""

    groups: tuple[str, ...] = ("foreground",)  # whose mean is the cut-off
    per_example = False
    both_sides = True
    any_distance = True
    mean_cutoff = True
    sides: tuple[str, ...] = ("foreground", "background")

    @staticmethod
    def facts(store: Store, settings: Reduce) -> dict[str, float]:
        """Return nothing: the store needs no checks."""
        return {}

    @staticmethod
    def describe(partition: Partition, rules: Rules) -> Described:
        """Return the number of scores, and their sum."""
        if rules.cutoff is not None:
            return {"observed": np.zeros(1, np.int64), "total": np.zeros(1)}
        every = rules.units.pairs
        rows = max(1, pairs.SUM_VALUES // max(every, 1))
        observed, total = 0, 0.0
        for block in partition.blocks(0, every, rows=rows):
            count, part = pairs.observed(block.score)
            observed, total = observed + count, total + part
        return {"observed": np.array([observed]), "total": np.array([total])}

    @staticmethod
    def add(columns: Columns, side: int, block: PairBlock, described: Described | None, rules: Rules) -> None:
        """Gather the scores unchanged."""
        columns.add(side, block.score, block.distance() if side == FOREGROUND else None)

    @staticmethod
    def test(columns: Columns, described: Described, rules: Rules, cutoff: float) -> dict[str, np.ndarray]:
        """Test every column."""
        found = mann_whitney.compare(columns, replace_rare=rules.legacy)
        # In legacy only the foreground counts: a background that is too small was replaced.
        least, counts = (2, found.n_fg) if rules.legacy else (rules.min_examples, np.minimum(found.n_fg, found.n_bg))
        tested = (counts >= least) & (found.max_fg >= cutoff)
        return {
            "tested": tested,
            "n_fg": found.n_fg,
            "n_bg": found.n_bg,
            "median_fg": found.median_fg,
            "median_bg": found.median_bg,
            "max_fg": found.max_fg.astype(np.float64),
            "median_distance": columns.median_distances(),
            **where(
                tested,
                statistic=found.u,
                auc=found.auc,
                **intervals.two_sample(found.auc, found.n_fg, found.n_bg),
                effect=found.median_fg - found.median_bg,
                p=found.p,
                neg_log10_p=found.neg_log10_p,
            ),
        }

    @staticmethod
    def conclude(columns: dict[str, np.ndarray], settings: Reduce, rules: Rules) -> dict[str, Any]:
        """Add nothing."""
        return {}
