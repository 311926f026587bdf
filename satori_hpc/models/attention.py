"""Multi-head self-attention with interpretable weights.

All heads share one projection. Softmax and entropy are float32 also under autocast; attention is given back before
dropout (SATORI 2.0, lqaf209).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from satori_hpc.models.base import full
from satori_hpc.models.dropout import Dropout


class Attention(nn.Module):
    """(B, n, inputs) -> (B, n, mixing), with the attention and its entropy on request."""

    def __init__(self, *, inputs: int, heads: int, head_dim: int, mixing: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.project = nn.Linear(inputs, 3 * heads * head_dim)
        self.dropout = Dropout(dropout)
        self.head_activation = nn.ReLU()
        self.mix = nn.Linear(heads * head_dim, mixing)
        self.mix_activation = nn.ReLU()

    def forward(
        self, tokens: torch.Tensor, *, attention: bool = False, entropy: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return mixed heads (B, n, mixing), attention (B, h, n, n) or None, entropy (B,) or None."""
        query, key, value = self._split(linear(tokens, self.project.weight, self.project.bias))
        kept = rows = None
        if attention or entropy or (self.training and self.dropout.p > 0):
            scores = self._scores(query, key)
            weights, rows = SoftmaxEntropy.apply(scores) if entropy else (torch.softmax(scores, dim=-1), None)
            kept = weights if attention else None
            read = self.dropout(weights).to(value.dtype) @ value
        else:
            read = F.scaled_dot_product_attention(query, key, value)
        heads = self.head_activation(read.transpose(1, 2).flatten(2))
        mixed: torch.Tensor = self.mix_activation(linear(heads, self.mix.weight, self.mix.bias))
        return mixed, kept, None if rows is None else rows.mean(dim=2).sum(dim=1)

    def rows(self, tokens: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
        """Return attention rows (B, h, a, n) of the query positions `bins` (B, a) only."""
        size = self.heads * self.head_dim
        weight, bias = self.project.weight, self.project.bias
        chosen = tokens.gather(1, bins[:, :, None].expand(-1, -1, tokens.shape[2]))
        query = self._by_head(linear(chosen, weight[:size], bias[:size]))
        key = self._by_head(linear(tokens, weight[size : 2 * size], bias[size : 2 * size]))
        return torch.softmax(self._scores(query, key), dim=-1)

    def _scores(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return full((query * (1 / math.sqrt(self.head_dim))) @ key.transpose(2, 3))

    def _split(self, projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query, key, value = projected.chunk(3, dim=2)
        return self._by_head(query), self._by_head(key), self._by_head(value)

    def _by_head(self, projected: torch.Tensor) -> torch.Tensor:
        """Map (B, n, h * d) -> (B, h, n, d)."""
        return projected.unflatten(2, (self.heads, self.head_dim)).transpose(1, 2)


# Optimised operations; each computes the same as its plain counterpart in torch.
#
# Why they exist, on one CPU thread with the default network: a linear layer goes to MKL, which does not use AVX-512 on
# every processor, where the same product as a 1x1 convolution goes to oneDNN; and the entropy of attention through
# autograd takes more passes over (B, h, n, n) than all of attention.


def linear(tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return `F.linear` of (B, n, inputs), on the CPU in float32 as a channels-last 1x1 convolution."""
    if tokens.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return F.linear(tokens, weight, bias)
    image = tokens.unsqueeze(1).permute(0, 3, 1, 2)
    return F.conv2d(image, weight[:, :, None, None], bias).permute(0, 2, 3, 1).squeeze(1)


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
