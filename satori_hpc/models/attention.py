"""Multi-head self-attention whose values are meant to be read.

All heads share one projection. Softmax and entropy are float32 also under autocast; attention is given back before
dropout (SATORI 2.0, lqaf209).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.models import kernels
from satori_hpc.models.dropout import Dropout


class Attention(nn.Module):
    """(B, n, inputs) -> (B, n, mixing), with the attention and its entropy on request."""

    def __init__(self, *, inputs: int, heads: int, head_size: int, mixing: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_size = head_size
        self.project = nn.Linear(inputs, 3 * heads * head_size)
        self.dropout = Dropout(dropout)
        self.head_activation = nn.ReLU()
        self.mix = nn.Linear(heads * head_size, mixing)
        self.mix_activation = nn.ReLU()

    def forward(
        self, tokens: torch.Tensor, *, attention: bool = False, entropy: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Mixed heads (B, n, mixing), attention (B, h, n, n) or None, entropy (B,) or None."""
        query, key, value = self._split(kernels.linear(tokens, self.project.weight, self.project.bias))
        kept = rows = None
        if attention or entropy or (self.training and self.dropout.p > 0):
            scores = self._scores(query, key)
            weights, rows = kernels.SoftmaxEntropy.apply(scores) if entropy else (torch.softmax(scores, dim=-1), None)
            kept = weights if attention else None
            read = self.dropout(weights).to(value.dtype) @ value
        else:
            read = F.scaled_dot_product_attention(query, key, value)
        heads = self.head_activation(read.transpose(1, 2).flatten(2))
        mixed: torch.Tensor = self.mix_activation(kernels.linear(heads, self.mix.weight, self.mix.bias))
        return mixed, kept, None if rows is None else rows.mean(dim=2).sum(dim=1)

    def rows(self, tokens: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Attention rows (B, h, a, n) of the query positions `cells` (B, a) only."""
        size = self.heads * self.head_size
        weight, bias = self.project.weight, self.project.bias
        chosen = tokens.gather(1, cells[:, :, None].expand(-1, -1, tokens.shape[2]))
        query = self._by_head(kernels.linear(chosen, weight[:size], bias[:size]))
        key = self._by_head(kernels.linear(tokens, weight[size : 2 * size], bias[size : 2 * size]))
        return torch.softmax(self._scores(query, key), dim=-1)

    def _scores(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return kernels.full((query * (1 / math.sqrt(self.head_size))) @ key.transpose(2, 3))

    def _split(self, projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query, key, value = projected.chunk(3, dim=2)
        return self._by_head(query), self._by_head(key), self._by_head(value)

    def _by_head(self, projected: torch.Tensor) -> torch.Tensor:
        """(B, n, h * d) -> (B, h, n, d)."""
        return projected.unflatten(2, (self.heads, self.head_size)).transpose(1, 2)
