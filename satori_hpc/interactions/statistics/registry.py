"""What the pairs of a method are compared with, and from which score on: the one place where that is decided."""

import numpy as np

from satori_hpc.config import Config, Reduce
from satori_hpc.config.score import METHODS
from satori_hpc.scoring.store import ScoreStore

BACKGROUND, WITHIN, NULL = "background", "within-sequence", "null"


def statistic_of(config: Config, method: str) -> str:
    """background, within-sequence or null: what [reduce] statistic means for a method.

    "null" is for methods that score permuted sequences; in a run of several methods the others go as with "auto".
    """
    asked, entry = config.reduce.statistic, METHODS[method]
    if asked in (BACKGROUND, WITHIN) or (asked == NULL and entry.permutes):
        return asked
    legacy = config.reduce.legacy or (entry.settings and getattr(config.score.settings_of(method), "legacy", False))
    return BACKGROUND if legacy else entry.statistic


def cutoff_of(settings: Reduce, statistic: str, store: ScoreStore) -> float:
    """The cut-off of the scores; NaN where it is their mean and there are none, minus infinity = no cut-off.

    The mean is that of attention scores, which are all positive; where pairs are compared within sequences or with
    permuted ones, nothing is cut off unless run.toml names a number.
    """
    if settings.cutoff != "mean":
        return float(settings.cutoff)
    return store.mean_score() if statistic == BACKGROUND else -np.inf
