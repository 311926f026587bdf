"""The scorer of a method by its name. Stores and statistics know none of them."""

import numpy as np
import torch

from satori_hpc.config import Score
from satori_hpc.config.score import METHODS
from satori_hpc.models.satori import Satori
from satori_hpc.registry import load
from satori_hpc.scoring.base import PairScorer


def build(
    method: str, model: Satori, *, threshold: torch.Tensor, settings: Score, seed: int, composition: np.ndarray
) -> PairScorer:
    """The scorer of a method (a key of METHODS).

    Args:
        method: its name, as in score.methods of run.toml.
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,), activation above which a filter is active.
        settings: the section [score]; those of the method are settings.settings_of(method).
        seed: of the run.
        composition: float64 (4,), share of A, C, G and T in the training examples.
    """
    scorer: PairScorer = load(METHODS[method].scorer)(
        model, threshold, settings=settings, seed=seed, composition=composition
    )
    return scorer
