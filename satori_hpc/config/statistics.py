"""Register statistics by name: the tests of the scores of a pair."""

from dataclasses import dataclass
from typing import Any

from satori_hpc.registry import Registry


@dataclass(frozen=True)
class Statistic:
    """Facts of a statistic.

    Attributes:
        test: "package.module:attribute" of the class that computes it (interactions.statistics.base.Test), or the
            class.
        call: meaning of a call, in a sentence after "A pair is called when".
        effect: axis label of the column `auc`.
        short: the statistic in a few words, for tables.
        permuted: it is for methods that score sequences with permuted bases (config.score.Method.permutes).
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
        call="it scores higher in the foreground than in the background (one-sided Mann-Whitney test, SATORI 2.0); "
        "two motifs that are important in the foreground do so even without interacting",
        effect="AUC: chance that a foreground score exceeds a background score",
        short="against background",
    ),
)
STATISTICS.add(
    "within-sequence",
    Statistic(
        f"{_FOLDER}.within_sequence:WithinSequence",
        call="it scores higher than the other pairs of the same sequences (one-sided signed-rank test)",
        effect="AUC: chance that the mean of two contrasts to the other pairs is positive",
        short="within sequences",
    ),
)
STATISTICS.add(
    "minimum-effect",
    Statistic(
        f"{_FOLDER}.minimum_effect:MinimumEffect",
        call="in most sequences the joint effect of the two sites exceeds a quarter of the larger of their single "
        "effects and a tenth of the mean single effect (one-sided signed-rank test of the interaction minus "
        "that margin)",
        effect="AUC: chance that the mean of two interactions exceeds their margins",
        short="minimum effect",
    ),
)
STATISTICS.add(
    "contrasts-two-way",
    Statistic(
        f"{_FOLDER}.two_way:TwoWay",
        call="its median-centred scores increase from background to foreground by more than the sum of the main "
        "effects of its two motifs",
        effect="AUC: chance that a foreground contrast exceeds a background contrast",
        short="contrasts, main effects removed",
    ),
)
STATISTICS.add(
    "permuted",
    Statistic(
        f"{_FOLDER}.permuted:Permuted",
        call="it scores higher than in the same sequences with permuted bases (one-sided test)",
        effect="AUC: chance that a score exceeds one of permuted bases",
        short="against permuted bases",
        permuted=True,
    ),
)
