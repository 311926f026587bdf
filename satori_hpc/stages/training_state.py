"""What training has and where it is, in plain values."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Progress:
    """How far training is; all of it goes into a step checkpoint.

    Attributes:
        epoch: epochs done. step: steps done of the next one. total_steps: steps done since the start.
        loss, entropy, seconds: sums over the steps of the unfinished epoch (the first two weighted by examples).
        history: one row per finished epoch. best_epoch, best_value: of the selection metric, epoch from 1.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss: float = 0.0
    entropy: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = float("-inf")


@dataclass(frozen=True)
class Examples:
    """Token codes (E, L) uint8 and labels (E, T) uint8 of one split."""

    tokens: np.ndarray
    labels: np.ndarray
