"""How well labels are predicted, over a whole set at once."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Means over the labels that have both classes; NaN when none has.

    Attributes:
        auroc: area under the ROC curve. aupr: average precision.
        labels: labels that count. skipped: labels of a single class, which have neither figure.
    """

    auroc: float
    aupr: float
    labels: int
    skipped: int


def both_classes(labels: np.ndarray) -> np.ndarray:
    """Which columns of (E, T) 0/1 labels hold both classes, (T,) bool."""
    positive = labels.sum(axis=0)
    return (positive > 0) & (positive < len(labels))


def classification(labels: np.ndarray, ranking: np.ndarray) -> Metrics:
    """AUROC and AUPR over a whole set.

    Args:
        labels: (E, T) of 0 and 1.
        ranking: (E, T), larger = more likely 1; logits keep an order that float32 probabilities lose.
    """
    usable = np.flatnonzero(both_classes(labels))
    skipped = labels.shape[1] - len(usable)
    if len(usable) == 0:
        return Metrics(auroc=float("nan"), aupr=float("nan"), labels=0, skipped=skipped)
    auroc = [roc_auc_score(labels[:, column], ranking[:, column]) for column in usable]
    aupr = [average_precision_score(labels[:, column], ranking[:, column]) for column in usable]
    return Metrics(auroc=float(np.mean(auroc)), aupr=float(np.mean(aupr)), labels=len(usable), skipped=skipped)
