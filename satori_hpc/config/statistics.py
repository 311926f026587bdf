"""Statistics by name: what the scores of a pair are compared with."""

from dataclasses import dataclass
from typing import Any

from satori_hpc.registry import Registry


@dataclass(frozen=True)
class Statistic:
    """Facts of a statistic.

    Attributes:
        test: "package.module:attribute" of the class that computes it (interactions.statistics.base.Test), or the
            class.
        call: what a call says, in a sentence after "A pair is called when".
        effect: what the column `auc` says, for axes.
        short: the statistic in a few words, for tables.
        permuted: it is for methods that score sequences with their letters permuted (config.score.Method.permutes).
    """

    test: Any
    call: str
    effect: str
    short: str
    permuted: bool = False


STATISTICS: Registry[Statistic] = Registry("statistic")
_FOLDER = "satori_hpc.interactions.statistics"

STATISTICS.add(
    "published",
    Statistic(
        f"{_FOLDER}.published:Published",
        call="it scores higher in the foreground than in the background (one-sided Mann-Whitney test, SATORI 2.0): two "
        "motifs that matter in the foreground do so, whether they interact or not",
        effect="AUC: chance that a foreground score exceeds a background score",
        short="against background",
    ),
)
STATISTICS.add(
    "within-sequence",
    Statistic(
        f"{_FOLDER}.within_sequence:WithinSequence",
        call="it scores higher than the other pairs of the same sequences do (one-sided signed-rank test)",
        effect="AUC: chance that the mean of two contrasts to the other pairs is positive",
        short="within sequences",
    ),
)
STATISTICS.add(
    "minimum-effect",
    Statistic(
        f"{_FOLDER}.minimum_effect:MinimumEffect",
        call="in most sequences the two sites do together at least a quarter of what the stronger of them does alone, "
        "and a tenth of what a site does on average (one-sided signed-rank test of the interaction less that margin)",
        effect="AUC: chance that the mean of two interactions exceeds their margins",
        short="minimum effect",
    ),
)
STATISTICS.add(
    "contrasts-two-way",
    Statistic(
        f"{_FOLDER}.two_way:TwoWay",
        call="its rise from background to foreground, against the other pairs of the same sequences, is more than the "
        "rises of its two motifs add up to",
        effect="AUC: chance that a foreground contrast exceeds a background contrast",
        short="contrasts, motifs' own rises removed",
    ),
)
STATISTICS.add(
    "permuted",
    Statistic(
        f"{_FOLDER}.permuted:Permuted",
        call="it scores higher than in the same sequences with their letters permuted (one-sided test)",
        effect="AUC: chance that a score exceeds one of permuted letters",
        short="against permuted letters",
        permuted=True,
    ),
)
