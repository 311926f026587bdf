"""Scoring methods by name. Stores and statistics know none of them."""

import torch

from satori_hpc.models.satori import Satori
from satori_hpc.scoring.attention import AttentionScorer
from satori_hpc.scoring.base import PairScorer, PairScores

METHODS = {"attention": AttentionScorer}


def build(method: str, model: Satori, *, threshold: torch.Tensor) -> PairScorer:
    """The scorer of a method (a key of METHODS).

    Args:
        method: its name, as in score.methods of run.toml.
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,), activation above which a filter is active.
    """
    return METHODS[method](model, threshold)


__all__ = ["METHODS", "PairScorer", "PairScores", "build"]
