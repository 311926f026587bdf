"""What every scoring method gives back, so that stores and statistics need not know the method."""

from dataclasses import dataclass, field
from typing import Protocol

import torch

from satori_hpc.errors import SatoriError

LONGEST = 2**15 - 1  # bp


@dataclass(frozen=True)
class Batch:
    """Sequences to score, and what besides their letters their scores follow from.

    Attributes:
        tokens: uint8 (B,L) codes of the letters, on any device.
        keys: int64 (B,2), side (0 foreground, 1 background) and row in its dataset: with the run's seed they key every
            random draw, so that it follows from neither batch nor rank.
        targets: uint8 (B,T), 1 = its logit is part of what is explained; None = the only one.
    """

    tokens: torch.Tensor
    keys: torch.Tensor
    targets: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class PairScores:
    """Scores of every filter pair in every sequence of a batch.

    Attributes:
        score: float32 (B,P), NaN where the pair was not observed.
        distance: int16 (B,P), of the two cells that gave the score: start of the larger filter's minus start of the
            smaller filter's, bp; negative = the larger filter's lies before; MISSING where not observed.
        position: int16 (B,P), start of the smaller filter's cell, bp; MISSING where not observed.
        sites: int64 (B,), active (filter, cell) entries of each sequence; of methods that mutate, mutated sites.
        extras: further float32 (B,P) that the method keeps, by name (its `extras`); NaN where not observed.
    """

    score: torch.Tensor
    distance: torch.Tensor
    position: torch.Tensor
    sites: torch.Tensor
    extras: dict[str, torch.Tensor] = field(default_factory=dict)


def must_fit(length: int) -> None:
    """Refuse sequences in which distances, bp, do not fit the int16 of a store.

    Raises:
        SatoriError: they are longer than 32,767 bp.
    """
    if length > LONGEST:
        raise SatoriError(f"sequences of {length} bp: distances beyond {LONGEST:,} bp cannot be stored")


class PairScorer(Protocol):
    """A method: sequences in, pair scores out; a sequence's scores depend on that sequence alone, save their last bit.

    The last bit may follow from how many sequences are scored at a time and on how many threads. Whoever wants the same
    bytes every time calls with `slice_size` sequences, counted from a fixed start, on one intra-op thread of torch.
    """

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the further arrays that it gives for every pair."""

    @property
    def slice_size(self) -> int:
        """Sequences per call; follows from the model and the kind of device only."""

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound, the result included."""

    def __call__(self, batch: Batch) -> PairScores:
        """Score a slice; several threads may call at once."""

    def estimate(self, batch: Batch) -> dict[str, float]:
        """How far the scores of a sample are from what they stand for, by name; empty where there is nothing to tell.

        On one intra-op thread, as a call.
        """
