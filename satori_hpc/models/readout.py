"""The convolution blocks after attention of SATORI-deep, in the manner of Sei.

Each block is a linear path and, on its output, a non-linear one; both are added. The last part is dilated convolutions,
each added to the running sum (SATORI 2.0, lqaf209, figure 2; Chen et al. 2022 for Sei). Tracks are images of height 1
with channels last in memory, the layout in which convolutions are fastest.
"""

from collections.abc import Callable

import torch
from torch import nn

from satori_hpc.models.base import full
from satori_hpc.models.dropout import Dropout

LONG = 200
DILATED_KERNEL = 5


def _convolution(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    """Return a convolution along the track that keeps its length (odd kernels)."""
    return nn.Conv2d(inputs, outputs, (1, kernel), dilation=(1, dilation), padding=(0, kernel // 2 * dilation))


class Block(nn.Module):
    """(B, inputs, 1, n) -> (B, outputs, 1, n): two convolutions, plus two more with ReLU on top of them."""

    def __init__(self, *, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.linear = nn.Sequential(_convolution(inputs, outputs, kernel), _convolution(outputs, outputs, kernel))
        self.nonlinear = nn.Sequential(
            _convolution(outputs, outputs, kernel), nn.ReLU(), _convolution(outputs, outputs, kernel), nn.ReLU()
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        straight = self.linear(values)
        added: torch.Tensor = straight + self.nonlinear(straight)
        return added


class Readout(nn.Module):
    """(B, n, size) -> (B, outputs): from positions to one vector per sequence.

    Attributes:
        widths: channels of its convolution blocks; () if it has none.
        dilations: number of its dilated convolutions. kernel: of the blocks.
    """

    outputs: int
    widths: tuple[int, ...] = ()
    dilations = 0
    kernel = 0


class Trunk(Readout):
    """(B, n, inputs) -> (B, hidden): blocks, dilated convolutions, mean over positions, one hidden layer.

    Args:
        inputs: size of a token.
        bins: n bins; above 200 the second block starts with a max pooling of 2.
        widths: channels of each block.
        kernel: their kernel, odd.
        dropout: in front of each block but the first and after the hidden layer; half of it before each dilated
            convolution.
        dilations: those that reach beyond the track (2 * dilation >= positions) are dropped.
        hidden: size of the vector given back.
    """

    def __init__(
        self,
        *,
        inputs: int,
        bins: int,
        widths: tuple[int, ...],
        kernel: int,
        dropout: float,
        dilations: tuple[int, ...],
        hidden: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, width in enumerate(widths):
            if number == 1 and bins > LONG:
                layers.append(nn.MaxPool2d((1, 2)))
                bins //= 2
            if number > 0:
                layers.append(Dropout(dropout, channels_last=True))
            layers.append(Block(inputs=inputs, outputs=width, kernel=kernel))
            inputs = width
        self.blocks = nn.Sequential(*layers)
        self.dilated = nn.ModuleList(
            nn.Sequential(
                Dropout(dropout / 2, channels_last=True),
                _convolution(inputs, inputs, DILATED_KERNEL, dilation),
                nn.ReLU(),
            )
            for dilation in dilations
            if 2 * dilation < bins
        )
        self.head = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), Dropout(dropout))
        self.outputs = hidden
        self.widths = widths
        self.dilations = len(self.dilated)
        self.kernel = kernel

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        values = self.blocks(tokens.transpose(1, 2).unsqueeze(2))
        for layer in self.dilated:
            values = values + layer(values)
        vector: torch.Tensor = self.head(values.mean(dim=(2, 3)))
        return vector


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
    """Concatenate all positions."""

    def __init__(self, *, size: int, bins: int) -> None:
        super().__init__()
        self.outputs = size * bins

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.flatten(1)


def _alone(values: torch.Tensor) -> torch.Tensor:
    return values


class LegacyBatchReadout(Readout):
    """SATORI 1: the sum over positions, normalised by one mean and one deviation over the whole (B, size) tensor.

    In evaluation the running mean and variance stand in, so that a prediction never depends on its batch (the
    original's does).

    Attributes:
        all_reduce_sum: replaces a tensor by its sum over the processes that share a batch, also in the backward pass;
            set by who trains with several. Every process must have examples then.
    """

    def __init__(self, *, size: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.outputs = size
        self.momentum = momentum
        self.eps = eps
        self.all_reduce_sum: Callable[[torch.Tensor], torch.Tensor] = _alone
        self.running_mean: torch.Tensor
        self.running_variance: torch.Tensor
        self.register_buffer("running_mean", torch.zeros(()))
        self.register_buffer("running_variance", torch.ones(()))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        total = full(tokens.sum(dim=1))
        if self.training:
            added, count = self.all_reduce_sum(
                torch.stack((total.sum(), total.new_tensor(float(total.numel()))))
            ).unbind()
            mean = added / count
            variance = self.all_reduce_sum((total - mean).square().sum()) / (count - 1)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_variance.lerp_(variance, self.momentum)
        else:
            mean, variance = self.running_mean, self.running_variance
        return (total - mean) * torch.rsqrt(variance + self.eps)


def build(kind: str, *, size: int, bins: int) -> Readout:
    """Return the readout of that name."""
    if kind == "flatten":
        return FlattenReadout(size=size, bins=bins)
    kinds: dict[str, type[SumReadout | MeanReadout | MaxReadout | LegacyBatchReadout]] = {
        "sum": SumReadout,
        "mean": MeanReadout,
        "max": MaxReadout,
        "legacy_batchnorm": LegacyBatchReadout,
    }
    return kinds[kind](size=size)
