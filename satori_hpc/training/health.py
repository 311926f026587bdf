"""Check a network for parts that have died: outputs, attention heads, filters."""

from dataclasses import dataclass

import numpy as np
import torch

from satori_hpc.data.splits import known
from satori_hpc.models import predict
from satori_hpc.models.base import TrainableModel

LOOKED_AT = 256  # sequences of the validation part
AT_ONCE = 16  # of them in memory together, with their attention
SAME_ATTENTION = 0.1  # of 1 / n, the value of uniform attention over n bins
SAME_ACTIVATION = 1e-6


def base_rate_loss(labels: np.ndarray) -> float:
    """Return the loss of a network that knows nothing but the share of positives of each label.

    Args:
        labels: (E, T) of 0, 1 and UNKNOWN.
    """
    told = known(labels).sum(axis=0)
    share = (labels == 1).sum(axis=0) / np.maximum(told, 1)
    inner = np.clip(share, 1e-12, 1 - 1e-12)
    entropy = -inner * np.log(inner) - (1 - inner) * np.log1p(-inner)
    return float((told * entropy).sum() / max(labels.size, 1))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Numbers of heads and learned filters, and of those of them that are dead; heads 0: it has no attention."""

    heads: int = 0
    dead_heads: int = 0
    filters: int = 0
    dead_filters: int = 0


@torch.inference_mode()
def parts(model: TrainableModel, tokens: np.ndarray) -> Parts:
    """Count dead heads and filters: those that give the same for all of some sequences.

    The attention of a dead head is the same in every sequence: uniform, all on one bin, or by distance alone. A dead
    filter has the same activation everywhere, as after ReLU one that is never active.

    Args:
        model: in evaluation mode.
        tokens: uint8 (B, L); the first LOOKED_AT are looked at.
    """
    tokens = tokens[:LOOKED_AT]
    device = next(model.parameters()).device
    attention, activations = _Range(), _Range()
    rows = min(predict.at_once(model, max(len(tokens), 1)), AT_ONCE)
    for at in range(0, len(tokens), rows):
        some = torch.from_numpy(np.ascontiguousarray(tokens[at : at + rows])).to(device)
        if model.has_attention:
            attention.add(model(some, attention=True).attention.float(), dims=(0,))
        if model.both_strands is not None:
            activations.add(model.both_strands.strands(some).float(), dims=(0, 1, 3))
        elif model.filters and model.bank is None:  # known motifs without a hit are told elsewhere
            activations.add(model.site_activations(some).float(), dims=(0, 2))
    found: dict[str, int] = {}
    if attention.low is not None:
        same = attention.spread().amax(dim=(1, 2)) < SAME_ATTENTION / attention.low.shape[-1]
        found |= {"heads": len(same), "dead_heads": int(same.sum())}
    if activations.low is not None:
        same = activations.spread() < SAME_ACTIVATION
        found |= {"filters": len(same), "dead_filters": int(same.sum())}
    return Parts(**found)


class _Range:
    """Smallest and largest values so far."""

    low: torch.Tensor | None = None
    high: torch.Tensor

    def add(self, values: torch.Tensor, *, dims: tuple[int, ...]) -> None:
        low, high = values.amin(dim=dims), values.amax(dim=dims)
        self.low, self.high = (
            (low, high) if self.low is None else (torch.minimum(self.low, low), torch.maximum(self.high, high))
        )

    def spread(self) -> torch.Tensor:
        assert self.low is not None
        return self.high - self.low
