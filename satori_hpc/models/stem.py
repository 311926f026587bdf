"""The first block: convolution over one-hot sequences, batch norm, non-linearity, max pooling, dropout.

Two facts make it cheap without changing its result. Batch norm of a linear map of the input needs no
activations: mean and variance of `w . window` follow from the mean and covariance of the windows, a (4 W, 4 W) matrix.
So the norm folds into the convolution in training as it does in evaluation. And max pooling commutes with the
non-linearity, which is monotone, so that only pooled values meet it.
"""

import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.models.base import Moments, one_hot
from satori_hpc.models.dropout import Dropout

EXP_LIMIT = 10.0
PIECE = 2**18


class ClampedExp(nn.Module):
    """exp of at most EXP_LIMIT: it overflows half precision at 11.1."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.clamp(max=EXP_LIMIT).exp()


class Stem(nn.Module):
    """Convert sequences to pooled activations (B, n, F), n = L // pool.

    Sequences come as uint8 codes (B, L), which saves memory, or as one-hot (B, 4, L), through which gradients
    flow; the same computation follows.

    Args:
        filters: F.
        width: W, bp.
        padding: zero columns left of the sequence; the right side gets W - 1 - padding, so that L' = L for every W.
        pool: size and stride of the max pooling; trailing L mod pool positions never reach attention.
        activation: "relu" or "exp".
        dropout: after pooling.
    """

    strands = 1  # that a filter reads

    def __init__(self, *, filters: int, width: int, padding: int, pool: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.padding = padding
        self.conv = nn.Conv1d(4, filters, width, bias=False)
        self.norm = nn.BatchNorm1d(filters)
        self.pool = nn.MaxPool2d((1, pool))
        self.activation: nn.Module = nn.ReLU() if activation == "relu" else ClampedExp()
        self.dropout = Dropout(dropout)

    def letters(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return one-hot (B, 4, L + W - 1) with the padding, in the weights' type; unknown bases are zeros."""
        return one_hot(sequences, self.conv.weight.dtype, pad=(self.padding, self.width - 1 - self.padding))

    def forward(
        self, sequences: torch.Tensor, *, activations: bool = False, moments: Moments | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return pooled activations (B, n, F) after dropout, and those before pooling (B, F, L) if asked for.

        Args:
            sequences: uint8 (B, L) or one-hot (B, 4, L).
            activations: give them back.
            moments: in training, of the batch that these sequences are a part of; who gives them calls `follow`. None:
                these sequences are the batch.
        """
        normalised = self._normalised(sequences, moments)
        tracks = self.activation(normalised.squeeze(2)) if activations else None
        pooled = self.activation(self.pool(normalised).squeeze(2))
        return self.dropout(pooled.transpose(1, 2)), tracks

    def activations(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return (B, F, L) after the non-linearity, before pooling."""
        activated: torch.Tensor = self.activation(self._normalised(sequences).squeeze(2))
        return activated

    def pooled(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return (B, F, n) after pooling, before dropout."""
        activated: torch.Tensor = self.activation(self.pool(self._normalised(sequences)).squeeze(2))
        return activated

    def window_sums(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the sums behind `moments`: integers (4 W * (4 W + 1),) as float64, added exactly in any order."""
        return _window_sums(self.letters(tokens), self.width)

    def moments(self, sums: torch.Tensor, windows: int) -> Moments:
        """Return moments of a batch from the sum of `window_sums` over its parts, and its number of windows (B * L)."""
        total, products = sums[: 4 * self.width], sums[4 * self.width :].unflatten(0, (4 * self.width, -1))
        mean = total / windows
        return Moments(mean, products / windows - mean[:, None] * mean[None, :], windows)

    @torch.no_grad()
    def follow(self, moments: Moments) -> None:
        """Update the running statistics of the batch norm; once a batch."""
        mean, variance = self._statistics(moments)
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.momentum is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        unbiased = variance * (moments.count / max(moments.count - 1, 1))
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)

    def _normalised(self, sequences: torch.Tensor, moments: Moments | None = None) -> torch.Tensor:
        """Return convolution and batch norm in one, (B, F, 1, L).

        Channels last, the fastest layout for it and its pooling.
        """
        letters = self.letters(sequences)
        if self.training and moments is None:
            windows = len(letters) * (letters.shape[2] - self.width + 1)
            moments = self.moments(_window_sums(letters, self.width), windows)
            self.follow(moments)
        weight, bias = self._folded(moments)
        image = letters.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        return F.conv2d(image, weight.unsqueeze(2).contiguous(memory_format=torch.channels_last), bias)

    def _folded(self, moments: Moments | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (F, 4, W) and bias (F,) of the convolution that includes the batch norm."""
        norm, weight = self.norm, self.conv.weight
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                assert moments is not None
                mean, variance = (each.to(weight.dtype) for each in self._statistics(moments))
            else:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                mean, variance = norm.running_mean, norm.running_var
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            return weight * scale[:, None, None], norm.bias - scale * mean

    def folded(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (F, 4, W) and bias (F,) of the convolution with the batch norm of evaluation in it."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.to(dtype) * torch.rsqrt(norm.running_var.to(dtype) + norm.eps)
        return self.conv.weight.to(dtype) * scale[:, None, None], norm.bias.to(dtype) - scale * norm.running_mean.to(
            dtype
        )

    def scale(self, dtype: torch.dtype) -> None:
        """Return the factor of activations: none."""

    def blocked(self) -> None:
        """Return the windows that never count: none; see preloaded.PreloadedStem."""

    def _statistics(self, moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance (biased), (F,) float64, of every filter over batch and positions."""
        weight = self.conv.weight.reshape(-1, 4 * self.width).double()
        return weight @ moments.mean, ((weight @ moments.covariance) * weight).sum(1).clamp(min=0.0)


def _window_sums(letters: torch.Tensor, width: int) -> torch.Tensor:
    """Return sums over all windows of one-hot (B, 4, L'): of the windows (4 W,), then of their products, float64.

    Sums of zeros and ones are whole numbers, exact in float32 however they are cut into pieces of PIECE windows.
    """
    positions = letters.shape[2] - width + 1
    total = letters.new_zeros(4 * width, dtype=torch.float64)
    products = letters.new_zeros(4 * width, 4 * width, dtype=torch.float64)
    for piece in letters.split(max(1, PIECE // positions)):
        windows = piece.unfold(2, width, 1).permute(0, 2, 1, 3).reshape(-1, 4 * width)
        total += windows.sum(0)
        products += windows.T @ windows
    return torch.cat((total, products.flatten()))
