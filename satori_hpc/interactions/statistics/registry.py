"""Choose the statistic of a method and its cut-off; the only place that decides this."""

import numpy as np

from satori_hpc.config import Config, Reduce
from satori_hpc.config.families import FAMILIES
from satori_hpc.config.score import METHODS
from satori_hpc.config.statistics import STATISTICS
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.statistics.base import Rules, Store, Test
from satori_hpc.registry import load

PUBLISHED = "published"


def test_of(name: str) -> type[Test]:
    """Return the class of a statistic."""
    found: type[Test] = load(STATISTICS[name].test)
    return found


def statistic_of(config: Config, method: str) -> str:
    """Return the statistic that [reduce] statistic selects for a method.

    One for methods that score permuted sequences is theirs alone: in a run of several methods the others go as with
        "auto".
    """
    asked, entry = config.reduce.statistic, METHODS[method]
    if asked != "auto" and (entry.permutes or not STATISTICS[asked].permuted):
        return asked
    legacy = config.reduce.legacy or (entry.settings and getattr(config.score.settings_of(method), "legacy", False))
    if legacy:
        return PUBLISHED
    motifs = FAMILIES[config.model.architecture].known_motifs
    return (entry.statistic_of_motifs if motifs else None) or entry.statistic


def rules_of(store: Store, settings: Reduce, statistic: str, units: Units) -> Rules:
    """Return the rules that decide which pairs of units of a store are tested.

    Raises:
        ArtefactError: the store lacks arrays that the statistic needs.
    """
    test = test_of(statistic)
    return Rules(
        statistic=statistic,
        units=units,
        cutoff=cutoff_of(settings, statistic),
        drop_values=settings.cutoff_rule == "value",
        min_examples=settings.min_examples,
        legacy=settings.legacy and statistic == PUBLISHED,
        max_distance=0 if test.any_distance else settings.max_distance,
        facts=tuple(test.facts(store, settings).items()),
    )


def cutoff_of(settings: Reduce, statistic: str) -> float | None:
    """Return the cut-off of the scores; None = their mean, -inf = none.

    The mean is that of attention scores, which are all positive; of other statistics nothing is cut off unless run.toml
    names a number.
    """
    if settings.cutoff != "mean":
        return float(settings.cutoff)
    return None if test_of(statistic).mean_cutoff else -np.inf
