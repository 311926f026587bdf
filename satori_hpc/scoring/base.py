"""What every scoring method gives back, so that stores and statistics need not know the method."""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class PairScores:
    """Scores of every filter pair in every sequence of a batch.

    Attributes:
        score: float32 (B,P), NaN where the pair was not observed.
        distance: int16 (B,P), of the two cells that gave the score: start of the larger filter's minus start of the
            smaller filter's, bp; negative = the larger filter's lies before; MISSING where not observed.
        position: int16 (B,P), start of the smaller filter's cell, bp; MISSING where not observed.
        sites: int64 (B,), active (filter, cell) entries of each sequence.
    """

    score: torch.Tensor
    distance: torch.Tensor
    position: torch.Tensor
    sites: torch.Tensor


class PairScorer(Protocol):
    """A method: sequences in, pair scores out; a sequence's scores depend on that sequence alone, save their last bit.

    The last bit may follow from how many sequences are scored at a time and on how many threads. Whoever wants the same
    bytes every time calls with `slice_size` sequences, counted from a fixed start, on one intra-op thread of torch.
    """

    @property
    def slice_size(self) -> int:
        """Sequences per call; follows from the model and the kind of device only."""

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound, the result included."""

    def __call__(self, tokens: torch.Tensor) -> PairScores:
        """Score a slice; several threads may call at once.

        Args:
            tokens: uint8 (B,L) codes of the letters, on any device.
        """
