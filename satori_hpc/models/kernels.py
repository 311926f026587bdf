"""Operations written for speed; each computes what its plain counterpart in torch computes.

Why they exist, on one CPU thread with the default network: a linear layer goes to MKL, which does not use AVX-512 on
every processor, where the same product as a 1x1 convolution goes to oneDNN; torch draws a random number per element
for dropout; and the entropy of attention through autograd takes more passes over (B, h, n, n) than all of attention.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

_LEVELS = 2**16


def linear(tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`F.linear` of (B, n, inputs), on the CPU in float32 as a channels-last 1x1 convolution."""
    if tokens.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return F.linear(tokens, weight, bias)
    image = tokens.unsqueeze(1).permute(0, 3, 1, 2)
    return F.conv2d(image, weight[:, :, None, None], bias).permute(0, 2, 3, 1).squeeze(1)


class Dropout(nn.Module):
    """Dropout that spends 16 random bits per element on the CPU; p is rounded to a multiple of 2^-16.

    Kept values are scaled by the inverse of the share that is really kept, so the mean is exact.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.p)
        levels = round(self.p * _LEVELS)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: values.numel()].view(values.shape) >= levels - _LEVELS // 2
        return values * kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - levels))

    def extra_repr(self) -> str:
        return f"p={self.p}"


class SoftmaxEntropy(torch.autograd.Function):
    """Scores -> softmax over the last axis, and the entropy of every row in nats.

    In log-softmax form: at an underflowed probability the entropy's term is 0 and its gradient finite, without an
    epsilon. With A the softmax and g the gradients, dH = -A (log A + H), so that both outputs share one softmax
    backward, that of g_A - g_H log A.
    """

    @staticmethod
    def forward(context: Any, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logs = torch.log_softmax(scores, dim=-1)
        weights = logs.exp()
        context.save_for_backward(weights, logs)
        return weights, (weights * logs).sum(dim=-1).neg_()

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        weights, logs = context.saved_tensors
        upstream = torch.addcmul(gradients[0], gradients[1][..., None], logs, value=-1)
        return torch._softmax_backward_data(upstream, weights, -1, weights.dtype)
