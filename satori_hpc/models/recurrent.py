"""The optional bidirectional LSTM between convolution and attention."""

import torch
from torch import nn

from satori_hpc.models.dropout import Dropout


class Recurrent(nn.Module):
    """Runs along the positions of each sequence (never along the batch), both ways, then dropout."""

    def __init__(self, *, inputs: int, size: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, size, num_layers=layers, bidirectional=True, batch_first=True)
        self.dropout = Dropout(dropout)
        self.outputs = 2 * size

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, n, inputs) -> (B, n, 2 * size)."""
        states, _ = self.lstm(tokens)
        dropped: torch.Tensor = self.dropout(states)
        return dropped
