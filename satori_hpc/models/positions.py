"""Sinusoidal positions, added to the tokens that attention sees."""

import torch
from torch import nn


class SinusoidalPositions(nn.Module):
    """pe[t, 2i] = sin(t / 10000^(2i / size)), pe[t, 2i + 1] the cosine; an odd size loses the last cosine."""

    def __init__(self, *, cells: int, size: int) -> None:
        super().__init__()
        cell = torch.arange(cells, dtype=torch.float64)[:, None]
        even = torch.arange(0, size, 2, dtype=torch.float64)[None, :]
        angle = cell / 10_000.0 ** (even / size)
        table = torch.stack((angle.sin(), angle.cos()), dim=2).reshape(cells, -1)[:, :size]
        self.table: torch.Tensor
        self.register_buffer("table", table.float(), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, n, size) -> the same shape."""
        return tokens + self.table
