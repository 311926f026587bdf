"""Scores of many columns against a normal distribution fitted to scores of permuted sequences, as the original DFIM.

Every score has the p-value of the upper tail; those of a column make one by Simes' rule, which is the smallest
Benjamini-Hochberg q-value among them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from satori_hpc.config import Reduce
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.interactions.columns import Columns, values_of
from satori_hpc.interactions.site_pairs import PairBlock, Partition
from satori_hpc.interactions.statistics import mann_whitney
from satori_hpc.interactions.statistics.base import FOREGROUND, Described, Rules, Store, describe_scores, where

EXTRA = "null"  # the scores of permuted sequences in a store


@dataclass(frozen=True)
class Gaussian:
    """Mean and (population) standard deviation of a number of null scores; NaN if there are none."""

    count: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class NullTest:
    """Test results of each column; all float64 (columns,), NaN without scores.

    Attributes:
        auc: mean chance that a score is above a null score.
        p: Simes' p-value.
        neg_log10_p: given also where p is too small for a float64.
    """

    auc: np.ndarray
    p: np.ndarray
    neg_log10_p: np.ndarray


def moments(values: np.ndarray) -> tuple[int, float, float]:
    """Return (count, mean, sum of squared distances from it) of float32 values, in float64."""
    values = values.astype(np.float64)
    mean = float(values.mean()) if len(values) else 0.0
    return len(values), mean, float(np.square(values - mean).sum())


def merge(counts: np.ndarray, means: np.ndarray, squares: np.ndarray) -> tuple[int, float, float]:
    """Return the moments of several sets of values together; arguments as of `moments`, an entry per set."""
    count = int(counts.sum())
    if not count:
        return 0, 0.0, 0.0
    mean = float((counts * means).sum() / count)
    return count, mean, float(squares.sum() + (counts * np.square(means - mean)).sum())


def fit(counts: np.ndarray, means: np.ndarray, squares: np.ndarray) -> Gaussian:
    """Return the normal distribution of all values of several sets; arguments as of `merge`."""
    count, mean, total = merge(counts, means, squares)
    return Gaussian(count, mean, float(np.sqrt(total / count))) if count else Gaussian(0, np.nan, np.nan)


def test(columns: Columns, side: int, null: Gaussian) -> NullTest:
    """Test every gathered column of one side for scores above the null."""
    auc, level = np.full((2, columns.width), np.nan)
    if null.count:
        keys_of = columns.sorted_keys(side)
        for column in np.flatnonzero(columns.counts(side)).tolist():
            above = values_of(keys_of(column)).astype(np.float64) - null.mean
            deviate = above / max(null.deviation, 1e-30)
            auc[column] = special.ndtr(deviate).mean()
            level[column] = mann_whitney.simes(mann_whitney.neg_log10_upper(deviate))
    return NullTest(auc=auc, p=10.0**-level, neg_log10_p=level)


class Permuted:
    """Test scores against those of the same sequences with permuted bases (the original DFIM's null)."""

    groups: tuple[str, ...] = ("foreground",)
    per_example = False
    both_sides = False
    any_distance = True
    mean_cutoff = False
    sides: tuple[str, ...] = ("foreground", "background")

    @staticmethod
    def facts(store: Store, settings: Reduce) -> dict[str, float]:
        """Return nothing; refuse a store without scores of permuted sequences."""
        if EXTRA not in store.attributes["extras"]:
            run = quoted(store.path.parent.parent)
            raise ArtefactError(
                f"{store.path}: has no scores of permuted sequences, which reduce.statistic = 'permuted' needs; set "
                f"null = true in [score.dfim] of run.toml, then: satori-hpc score {run} && satori-hpc reduce {run}"
            )
        return {}

    @staticmethod
    def describe(partition: Partition, rules: Rules) -> Described:
        """Return moments of the scores of permuted sequences, a line in all."""
        found = []
        for block in partition.blocks(0, rules.units.pairs):
            values = block.between(EXTRA)
            found.append(moments(values[~np.isnan(values)]))
        count, mean, squares = merge(*(np.array(each) for each in zip(*found, strict=True)))
        return {"count": np.array([count]), "mean": np.array([mean]), "squares": np.array([squares])}

    @staticmethod
    def add(columns: Columns, side: int, block: PairBlock, described: Described | None, rules: Rules) -> None:
        """Gather the scores unchanged."""
        columns.add(side, block.score, block.distance() if side == FOREGROUND else None)

    @staticmethod
    def test(columns: Columns, described: Described, rules: Rules, cutoff: float) -> dict[str, np.ndarray]:
        """Test every column; the background is only described."""
        null = fit(described["count"], described["mean"], described["squares"])
        told = describe_scores(columns)
        found = test(columns, FOREGROUND, null)
        tested = (told["n_fg"] >= rules.min_examples) & (told["max_fg"] >= cutoff) & ~np.isnan(found.p)
        return {
            "tested": tested,
            **told,
            **where(
                tested,
                statistic=np.full(columns.width, np.nan),
                auc=found.auc,
                effect=told["median_fg"] - null.mean,
                p=found.p,
                neg_log10_p=found.neg_log10_p,
            ),
        }

    @staticmethod
    def conclude(columns: dict[str, np.ndarray], settings: Reduce, rules: Rules) -> dict[str, Any]:
        """Add nothing."""
        return {}
