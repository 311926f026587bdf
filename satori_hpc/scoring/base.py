"""What every scoring method gives back, so that stores and statistics need not know the method."""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class PairScores:
    """Scores of every filter pair in every sequence of a batch.

    Attributes:
        score: float32 (B,P), NaN where the pair was not observed.
        distance: int16 (B,P), bp between the two cells that gave the score, -1 where the pair was not observed.
        sites: int64 (B,), active (filter, cell) entries of each sequence.
    """

    score: torch.Tensor
    distance: torch.Tensor
    sites: torch.Tensor


class PairScorer(Protocol):
    """A method: sequences in, pair scores out; a sequence's scores depend on that sequence alone."""

    def __call__(self, tokens: torch.Tensor) -> PairScores:
        """Score a batch.

        Args:
            tokens: uint8 (B,L) codes of the letters, on any device.
        """
