"""Operations written for speed; each computes what its plain counterpart in torch computes.

Why they exist, on one CPU thread with the default network: a linear layer goes to MKL, which does not use AVX-512 on
every processor, where the same product as a 1x1 convolution goes to oneDNN; and the entropy of attention through
autograd takes more passes over (B, h, n, n) than all of attention.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable


def linear(tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`F.linear` of (B, n, inputs), on the CPU in float32 as a channels-last 1x1 convolution."""
    if tokens.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return F.linear(tokens, weight, bias)
    image = tokens.unsqueeze(1).permute(0, 3, 1, 2)
    return F.conv2d(image, weight[:, :, None, None], bias).permute(0, 2, 3, 1).squeeze(1)


def full(values: torch.Tensor) -> torch.Tensor:
    """At least float32: what half precision or autocast left is widened, float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


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
