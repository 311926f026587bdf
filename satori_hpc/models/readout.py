"""From positions to one vector per sequence."""

from collections.abc import Callable

import torch
from torch import nn

from satori_hpc.models import kernels


class Readout(nn.Module):
    """(B, n, size) -> (B, outputs)."""

    outputs: int


class SumReadout(Readout):
    """Sum over positions, then LayerNorm: the counterpart, per sequence, of the original's norm over the batch."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.outputs = size
        self.norm = nn.LayerNorm(size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normalised: torch.Tensor = self.norm(tokens.sum(dim=1))
        return normalised


class MeanReadout(Readout):
    """Mean over positions."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.outputs = size

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.mean(dim=1)


class MaxReadout(Readout):
    """Maximum over positions."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.outputs = size

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.amax(dim=1)


class FlattenReadout(Readout):
    """All positions beside each other."""

    def __init__(self, *, size: int, cells: int) -> None:
        super().__init__()
        self.outputs = size * cells

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.flatten(1)


def _alone(values: torch.Tensor) -> torch.Tensor:
    return values


class LegacyBatchReadout(Readout):
    """SATORI 1: the sum over positions, normalised by one mean and one deviation over the whole (B, size) tensor.

    In evaluation the running mean and variance stand in, so that a prediction never depends on its batch (the
    original's does).

    Attributes:
        add_up: replaces a tensor by its sum over the processes that share a batch, also in the backward pass; set by
            who trains with several. Every process must have examples then.
    """

    def __init__(self, *, size: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.outputs = size
        self.momentum = momentum
        self.eps = eps
        self.add_up: Callable[[torch.Tensor], torch.Tensor] = _alone
        self.running_mean: torch.Tensor
        self.running_variance: torch.Tensor
        self.register_buffer("running_mean", torch.zeros(()))
        self.register_buffer("running_variance", torch.ones(()))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        total = kernels.full(tokens.sum(dim=1))
        if self.training:
            added, count = self.add_up(torch.stack((total.sum(), total.new_tensor(float(total.numel()))))).unbind()
            mean = added / count
            variance = self.add_up((total - mean).square().sum()) / (count - 1)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_variance.lerp_(variance, self.momentum)
        else:
            mean, variance = self.running_mean, self.running_variance
        return (total - mean) * torch.rsqrt(variance + self.eps)


def build(kind: str, *, size: int, cells: int) -> Readout:
    """The readout of that name."""
    if kind == "flatten":
        return FlattenReadout(size=size, cells=cells)
    kinds: dict[str, type[SumReadout | MeanReadout | MaxReadout | LegacyBatchReadout]] = {
        "sum": SumReadout,
        "mean": MeanReadout,
        "max": MaxReadout,
        "legacy_batchnorm": LegacyBatchReadout,
    }
    return kinds[kind](size=size)
