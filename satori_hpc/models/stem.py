"""The first block: convolution over one-hot letters, batch norm, non-linearity, max pooling, dropout.

Two facts make it cheap without changing what it computes. Batch norm of a linear map of the input needs no
activations: mean and variance of `w . window` follow from the mean and covariance of the windows, a (4 W, 4 W) matrix.
So the norm folds into the convolution in training as it does in evaluation. And max pooling commutes with the
non-linearity, which is monotone, so that only pooled values meet it.
"""

import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.models import kernels

UNKNOWN = 4
EXP_LIMIT = 10.0
PIECE = 2**18


class ClampedExp(nn.Module):
    """exp of at most EXP_LIMIT: it overflows half precision at 11.1."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.clamp(max=EXP_LIMIT).exp()


class Stem(nn.Module):
    """tokens (B, L) -> pooled activations (B, n, F), n = L // pool.

    Args:
        filters: F.
        width: W, bp.
        padding: zero columns left of the sequence; the right side gets W - 1 - padding, so that L' = L for every W.
        pool: size and stride of the max pooling; trailing L mod pool positions never reach attention.
        activation: "relu" or "exp".
        dropout: after pooling.
    """

    def __init__(self, *, filters: int, width: int, padding: int, pool: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.padding = padding
        self.conv = nn.Conv1d(4, filters, width, bias=False)
        self.norm = nn.BatchNorm1d(filters)
        self.pool = nn.MaxPool2d((1, pool))
        self.activation: nn.Module = nn.ReLU() if activation == "relu" else ClampedExp()
        self.dropout = kernels.Dropout(dropout)

    def one_hot(self, tokens: torch.Tensor) -> torch.Tensor:
        """uint8 codes (B, L) -> float32 (B, 4, L + W - 1) with the padding; unknown letters are zero columns."""
        padded = F.pad(tokens, (self.padding, self.width - 1 - self.padding), value=UNKNOWN)
        letters = torch.arange(4, dtype=tokens.dtype, device=tokens.device)
        return (padded[:, None, :] == letters[:, None]).float()

    def forward(self, tokens: torch.Tensor, *, activations: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Pooled activations (B, n, F) after dropout, and those before pooling (B, F, L) if asked for."""
        normalised = self._normalised(tokens)
        tracks = self.activation(normalised.squeeze(2)) if activations else None
        pooled = self.activation(self.pool(normalised).squeeze(2))
        return self.dropout(pooled.transpose(1, 2)), tracks

    def activations(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, F, L) after the non-linearity, before pooling."""
        activated: torch.Tensor = self.activation(self._normalised(tokens).squeeze(2))
        return activated

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, F, n) after pooling, before dropout."""
        activated: torch.Tensor = self.activation(self.pool(self._normalised(tokens)).squeeze(2))
        return activated

    def _normalised(self, tokens: torch.Tensor) -> torch.Tensor:
        """Convolution and batch norm in one, (B, F, 1, L); channels last, the fastest layout for it and its pooling."""
        letters = self.one_hot(tokens)
        weight, bias = self._folded(letters)
        image = letters.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        return F.conv2d(image, weight.unsqueeze(2).contiguous(memory_format=torch.channels_last), bias)

    def _folded(self, letters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (F, 4, W) and bias (F,) of the convolution that includes the batch norm."""
        norm = self.norm
        with torch.autocast(letters.device.type, enabled=False):
            if self.training:
                mean, variance = self._batch_statistics(letters)
            else:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                mean, variance = norm.running_mean, norm.running_var
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            return self.conv.weight * scale[:, None, None], norm.bias - scale * mean

    def folded(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (F, 4, W) and bias (F,) of the convolution with the batch norm of evaluation in it."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.to(dtype) * torch.rsqrt(norm.running_var.to(dtype) + norm.eps)
        return self.conv.weight.to(dtype) * scale[:, None, None], norm.bias.to(dtype) - scale * norm.running_mean.to(
            dtype
        )

    def _batch_statistics(self, letters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance (biased) of every filter over batch and positions; updates the running ones."""
        first, covariance, count = _window_moments(letters, self.width)
        weight = self.conv.weight.reshape(-1, 4 * self.width).double()
        mean = weight @ first
        variance = ((weight @ covariance) * weight).sum(1).clamp(min=0.0)
        norm = self.norm
        with torch.no_grad():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.momentum is not None
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(mean.float(), norm.momentum)
            norm.running_var.lerp_((variance * (count / max(count - 1, 1))).float(), norm.momentum)
        return mean.float(), variance.float()


def _window_moments(letters: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean (4 W,) and covariance (4 W, 4 W), float64, of all windows of one-hot letters (B, 4, L'), and their number.

    Sums of zeros and ones are whole numbers, exact in float32 however they are cut into pieces of PIECE windows.
    """
    positions = letters.shape[2] - width + 1
    total = letters.new_zeros(4 * width, dtype=torch.float64)
    products = letters.new_zeros(4 * width, 4 * width, dtype=torch.float64)
    for piece in letters.split(max(1, PIECE // positions)):
        windows = piece.unfold(2, width, 1).permute(0, 2, 1, 3).reshape(-1, 4 * width)
        total += windows.sum(0)
        products += windows.T @ windows
    count = len(letters) * positions
    mean = total / count
    return mean, products / count - mean[:, None] * mean[None, :], count
