"""Attention over hits of known motifs, the tokens: one layer that knows distance, and nothing behind it but a sum.

So what attention carries from one cell to another is what two motifs do together; convolutions behind it could do the
same without it. No normalisation: it would mix the cells of a sequence.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.config.motif_tokens import MotifTokens as Settings
from satori_hpc.models.attention import SoftmaxEntropy, linear
from satori_hpc.models.base import ModelOutput, Moments, TrainableModel, full
from satori_hpc.models.dropout import Dropout, Reversal
from satori_hpc.models.motif_cells import MotifCells, StrandFilters
from satori_hpc.motifs.scan import Gate, MotifBank

FARTHEST = 16  # cells; what is further apart shares a bias
NEARNESS = 0.3  # what the first bias loses per cell


class DistanceAttention(nn.Module):
    """(B, n, inputs) -> (B, n, size): softmax of q.k / sqrt(head size) + r[distance], ReLU of what is read, mixed.

    Args:
        inputs: size of a token. cells: n. heads: h. size: of all heads together.
    """

    def __init__(self, *, inputs: int, cells: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(inputs, 3 * size, bias=False)
        away = torch.arange(-FARTHEST, FARTHEST + 1).abs().float()
        self.distance = nn.Parameter(-NEARNESS * away.repeat(heads, 1))
        self.mix = nn.Linear(size, size)
        place = torch.arange(cells)
        between = (place[None, :] - place[:, None]).clamp(-FARTHEST, FARTHEST) + FARTHEST
        self.between: torch.Tensor
        self.register_buffer("between", between, persistent=False)

    def forward(
        self, tokens: torch.Tensor, *, attention: bool = False, entropy: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Mixed heads (B, n, size), attention (B, h, n, n) or None, entropy (B,) or None."""
        projected = linear(tokens, self.project.weight, None)
        query, key, value = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in projected.chunk(3, dim=2))
        scores = full(query @ key.transpose(2, 3)) / math.sqrt(query.shape[3]) + self.distance[:, self.between]
        weights, rows = SoftmaxEntropy.apply(scores) if entropy else (torch.softmax(scores, dim=-1), None)
        read = F.relu(weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        mixed = linear(read, self.mix.weight, self.mix.bias)
        kept = weights if attention else None
        return mixed, kept, None if rows is None else rows.mean(dim=2).sum(dim=1)


class MotifTokens(TrainableModel):
    """In evaluation mode a result depends on nothing but its own sequence; see TrainableModel.

    Args:
        settings: [model.motif-tokens].
        bank: the known motifs.
        length: L. targets: T. task: "binary" or "multilabel".

    Attributes:
        motifs: the first layer of known motifs. learned: that of learned filters, or None.
    """

    has_attention = True

    def __init__(self, settings: Settings, bank: MotifBank, *, length: int, targets: int, task: str) -> None:
        super().__init__()
        self.settings = settings
        self.length = length
        self.targets = self.outputs = targets
        self.task = task
        gate = Gate(share=settings.gate_share, p=settings.gate_p)
        self.motifs = MotifCells(bank, gate, compete=settings.compete, length=length, pool=settings.pool)
        self.learned: StrandFilters | None = None
        if settings.filters:
            self.learned = StrandFilters(
                filters=settings.filters, width=settings.width, length=length, pool=settings.pool
            )
        inputs, cells = len(bank) + settings.filters, self.motifs.cells
        self.hidden = Dropout(settings.hit_dropout)
        self.turned: nn.Module = Reversal() if settings.reverse else nn.Identity()
        self.attention = DistanceAttention(inputs=inputs, cells=cells, heads=settings.heads, size=settings.size)
        self.residual = nn.Linear(inputs, settings.size)
        self.dropout = Dropout(settings.dropout)
        self.output = nn.Linear(settings.size, targets)
        self.largest_array = max(cells * inputs, settings.heads * cells**2)

    def forward(
        self,
        sequences: torch.Tensor,
        *,
        attention: bool = False,
        activations: bool = False,
        entropy: bool = False,
        moments: Moments | None = None,
    ) -> ModelOutput:
        """Run the network; see TrainableModel."""
        return self.of_tokens(self.tokens(sequences), attention=attention, entropy=entropy)

    def tokens(self, sequences: torch.Tensor) -> torch.Tensor:
        """What attention sees, (B, n, M + F): known motifs first, then learned filters."""
        known = self.motifs(sequences)
        return known if self.learned is None else torch.cat((known, self.learned(sequences)), dim=2)

    def of_tokens(self, tokens: torch.Tensor, *, attention: bool = False, entropy: bool = False) -> ModelOutput:
        """What follows from tokens (B, n, M + F)."""
        seen = self.turned(self.hidden(tokens))
        mixed, kept, rows = self.attention(seen, attention=attention, entropy=entropy)
        cells = F.relu(mixed + linear(seen, self.residual.weight, self.residual.bias))
        logits = full(self.output(self.dropout(cells).sum(dim=1)))
        return ModelOutput(logits=logits, attention=kept, entropy=rows)
