"""Scoring methods by name. Stores and statistics know none of them."""

from collections.abc import Callable

import numpy as np
import torch

from satori_hpc.config import Score
from satori_hpc.models.satori import Satori
from satori_hpc.scoring.attention import AttentionScorer
from satori_hpc.scoring.attribution import AttributionScorer
from satori_hpc.scoring.base import Batch, SiteScorer, SiteScores
from satori_hpc.scoring.dfim import DfimScorer
from satori_hpc.scoring.epistasis import EpistasisScorer


def _attention(
    model: Satori, threshold: torch.Tensor, *, settings: Score, seed: int, composition: np.ndarray
) -> SiteScorer:
    return AttentionScorer(model, threshold)  # it follows from the model alone


METHODS: dict[str, Callable[..., SiteScorer]] = {
    "attention": _attention,
    "attribution": AttributionScorer,
    "dfim": DfimScorer,
    "epistasis": EpistasisScorer,
}
EXACT = frozenset({"dfim", "epistasis"})  # methods whose positions are letters, not pooled cells


def build(
    method: str, model: Satori, *, threshold: torch.Tensor, settings: Score, seed: int, composition: np.ndarray
) -> SiteScorer:
    """The scorer of a method (a key of METHODS).

    Args:
        method: its name, as in score.methods of run.toml.
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,), activation above which a filter is active.
        settings: the section [score].
        seed: of the run.
        composition: float64 (4,), share of A, C, G and T in the training examples.
    """
    return METHODS[method](model, threshold, settings=settings, seed=seed, composition=composition)


__all__ = ["EXACT", "METHODS", "Batch", "SiteScorer", "SiteScores", "build"]
