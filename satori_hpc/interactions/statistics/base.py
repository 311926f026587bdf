"""Define the interface of a statistic: gather values by pair from every example, and test each pair's values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from satori_hpc.config import Reduce
from satori_hpc.interactions.columns import Columns
from satori_hpc.interactions.site_pairs import PairBlock, Partition, Units

# Sides of the gathered values: scores of both groups, described in every table; further ones are the statistic's own.
FOREGROUND, BACKGROUND, OWN, FURTHER = 0, 1, 2, 3
Described = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings that decide which pairs are tested, and on which values; see [reduce].

    Attributes:
        statistic: its name.
        units: whose pairs are tested.
        cutoff: of the scores, -inf = none; None = the mean of all that are observed in the foreground.
        drop_values: whether values below the cut-off are dropped, and not only pairs that never reach it.
        min_examples: values that each side needs, or where the background is not tested, the foreground.
        legacy: as SATORI 1 did.
        max_distance: values of sites further apart, bp, are not tested; 0 = none.
        facts: numbers that the statistic has from the store as a whole, by name.
    """

    statistic: str
    units: Units
    cutoff: float | None
    drop_values: bool
    min_examples: int
    legacy: bool = False
    max_distance: int = 0
    facts: tuple[tuple[str, float], ...] = ()

    def fact(self, name: str) -> float:
        """Return a number that the statistic has from the store."""
        return dict(self.facts)[name]

    def with_cutoff(self, cutoff: float) -> float:
        """Return the smallest value that is not dropped."""
        return cutoff if self.drop_values else -np.inf


class Store(Protocol):
    """Interface of a score store for statistics (scoring.store.ScoreStore)."""

    path: Path
    attributes: dict[str, Any]

    @property
    def method(self) -> str: ...

    def mean_size(self, effect: str, group: str = ...) -> float: ...


class Test(Protocol):
    """A statistic. Its methods are called on Dask's workers, so it must load neither torch nor anything of the network.

    The work has two passes. `describe` sees every example of a partition with all its pairs, where `groups` asks for
    it. `add` then takes the values of some pairs from some examples, and `test` judges the gathered columns;
    `conclude` sees the pairs all together.
    """

    groups: tuple[str, ...]  # whose examples `describe` sees
    per_example: bool  # whether `describe` gives a line per example, or one in all
    both_sides: bool  # whether a pair needs enough values in foreground and background, or in the foreground alone
    any_distance: bool  # whether reduce.max_distance is of no matter to it
    mean_cutoff: bool  # whether reduce.cutoff = "mean" is the mean of the scores, all that `describe` then finds
    sides: tuple[str, ...]  # of the gathered values: "foreground", "background", then the statistic's own

    @staticmethod
    def facts(store: Store, settings: Reduce) -> dict[str, float]:
        """Return numbers from the store as a whole.

        Raises:
            ArtefactError: the store lacks arrays that the statistic needs; names the cure.
        """

    @staticmethod
    def describe(partition: Partition, rules: Rules) -> Described:
        """Return columns, with a row per example or one row, of a partition of one of `groups`."""

    @staticmethod
    def add(columns: Columns, side: int, block: PairBlock, described: Described | None, rules: Rules) -> None:
        """Gather the values of some pairs in some examples.

        Args:
            columns: to add to.
            side: FOREGROUND or BACKGROUND, the group of the examples.
            block: their scores, which may be changed.
            described: the lines of these examples; of all of them together in `test`.
            rules: of the tests.
        """

    @staticmethod
    def test(columns: Columns, described: Described, rules: Rules, cutoff: float) -> dict[str, np.ndarray]:
        """Return tested, the columns of `describe_scores`, statistic, auc, effect, p, neg_log10_p.

        Columns for `conclude`.
        """

    @staticmethod
    def conclude(columns: dict[str, np.ndarray], settings: Reduce, rules: Rules) -> dict[str, Any]:
        """Change p-values in place using all pairs together; return a summary for the user."""


def describe_scores(columns: Columns) -> dict[str, np.ndarray]:
    """Return descriptive statistics of the scores of both groups."""
    median_fg, max_fg = columns.medians_and_largest(FOREGROUND)
    median_bg, _ = columns.medians_and_largest(BACKGROUND)
    return {
        "n_fg": columns.counts(FOREGROUND),
        "n_bg": columns.counts(BACKGROUND),
        "median_fg": median_fg,
        "median_bg": median_bg,
        "max_fg": max_fg,
        "median_distance": columns.median_distances(),
    }


def where(tested: np.ndarray, **columns: np.ndarray) -> dict[str, np.ndarray]:
    """Return columns with NaN for untested pairs."""
    return {name: np.where(tested, values, np.nan) for name, values in columns.items()}
