"""Define the interface of a scoring method: sequences in, scores of their sites out."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from satori_hpc.config import Score
from satori_hpc.errors import SatoriError
from satori_hpc.models.base import TrainableModel
from satori_hpc.scoring.site_scores import FIRST, LARGEST, LARGEST_SIZE, SiteScores, ragged

LONGEST = 2**15 - 1  # bp


@dataclass(frozen=True)
class Batch:
    """Sequences to score, and everything else that their scores depend on.

    Attributes:
        tokens: uint8 (B,L) codes of the bases, on any device.
        keys: int64 (B,2), side (0 foreground, 1 background) and row in its dataset: with the run's seed they key every
            random draw, so that it follows from neither batch nor rank.
        targets: uint8 (B,T), 1 = its logit is part of the explained sum; None = the only one.
    """

    tokens: torch.Tensor
    keys: torch.Tensor
    targets: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)


def must_fit(length: int) -> None:
    """Refuse sequences in which distances, bp, do not fit the int16 of a store.

    Raises:
        SatoriError: they are longer than 32,767 bp.
    """
    if length > LONGEST:
        raise SatoriError(f"sequences of {length} bp: distances beyond {LONGEST:,} bp cannot be stored")


class SiteScorer(Protocol):
    """A method: sequences in, scores of their sites out; those of a sequence depend on it alone, save their last bit.

    The last bit may depend on the number of sequences scored at a time and of threads. A caller that needs the same
    bytes every time calls with `slice_size` sequences, counted from a fixed start, on one intra-op thread of torch.
    """

    @property
    def directed(self) -> bool:
        """Whether the value from place i to place j differs from that from j to i."""

    @property
    def choose(self) -> str:
        """Which site pair represents two motifs in an example: LARGEST, LARGEST_SIZE (absolute) or FIRST."""

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the further arrays between places."""

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the arrays over single places."""

    @property
    def widths(self) -> np.ndarray:
        """int16 (motifs,): bp of the sites of each motif."""

    @property
    def pool(self) -> int:
        """Width of a place, bp; 1 = sites are exact."""

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example."""

    @property
    def slice_size(self) -> int:
        """Sequences per call; follows from the model and the kind of device only."""

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound, the result included.

        Computed rather than measured: the size of slices and their number at a time follow from it, and must be the
        same on every rank and in every run, for they change the last bits. Too large slices are halved (batches.py).
        """

    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice; several threads may call at once."""

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Estimate the errors of the scores of a sample, by name; empty if there is no estimate.

        On one intra-op thread, as a call.
        """


@runtime_checkable
class AttributesLetters(Protocol):
    """A scorer that says what single letters add, too."""

    def attributions(self, batch: Batch) -> torch.Tensor:
        """Attribution of every letter of the sequences, float32 (B, L)."""


class Scorer:
    """What scorers of networks of any family have in common; see SiteScorer, which they complete.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active where its activation is above (strictly).
        settings: the section [score].
        seed: of the run.
        composition: float64 (4,), letter frequencies of random baselines.

    Raises:
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    directed = False
    extras: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    pool = 1

    def __init__(
        self,
        model: TrainableModel,
        threshold: torch.Tensor,
        *,
        settings: Score,
        seed: int,
        composition: np.ndarray,
    ) -> None:
        must_fit(model.length)
        self.model = model
        self.device = next(model.parameters()).device
        self.threshold = threshold.to(self.device)
        self.settings, self.seed, self.composition = settings, seed, composition

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Nothing: it is not told how far the scores are off."""
        return {}


__all__ = [
    "FIRST",
    "LARGEST",
    "LARGEST_SIZE",
    "AttributesLetters",
    "Batch",
    "Scorer",
    "SiteScorer",
    "SiteScores",
    "must_fit",
    "ragged",
]
