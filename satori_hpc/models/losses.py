"""Losses: classification, attention entropy, and a measure of collapsed attention."""

import torch
import torch.nn.functional as F

from satori_hpc.data.splits import UNKNOWN
from satori_hpc.models.base import full


def classification_loss(
    logits: torch.Tensor, labels: torch.Tensor, *, task: str, output: str, count: int | None = None
) -> torch.Tensor:
    """Return mean classification loss, at least float32.

    Args:
        logits: (B, C); binary with output "two": C = 2, else one logit per label.
        labels: (B, T) of 0 and 1; several labels also of UNKNOWN, which adds nothing to the sum over the labels of
            all examples; the divisor stays their number.
        task: "binary" or "multilabel".
        output: "one" (binary cross entropy) or "two" (cross entropy over two logits).
        count: examples of the whole batch when these are a part of it: the parts' losses sum to its mean.
    """
    logits = full(logits)
    count = len(labels) if count is None else count
    if task == "binary" and output == "two":
        return F.cross_entropy(logits, labels[:, 0].long(), reduction="sum") / count
    known = (labels != UNKNOWN).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, labels * known, weight=known, reduction="sum")
    return total / (count * labels.shape[1])


def column_mass(attention: torch.Tensor) -> torch.Tensor:
    """Return the column mass of attention: 1/n if it is uniform, 1 if a head has collapsed.

    Args:
        attention: (B, h, n, n), rows sum to 1.

    Returns:
        (B,), the share of all attention in the strongest column, averaged over heads.
    """
    return attention.mean(dim=2).amax(dim=2).mean(dim=1)
