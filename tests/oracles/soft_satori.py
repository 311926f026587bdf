"""A Satori network over letters of any weight, in float64, written with torch's own modules, for autograd.

Slow and obvious: what gradients and secants along paths are compared with.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.config.motif_tokens import Preloaded
from satori_hpc.models.preloaded import PreloadedStem
from satori_hpc.models.readout import LegacyBatchReadout
from satori_hpc.models.satori import Satori
from satori_hpc.models.stem import Stem
from satori_hpc.motifs.scan import Gate, MotifBank


class SoftSatori(nn.Module):
    """(B, 4, L) letters -> logits (B, C)."""

    def __init__(self, model: Satori, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(dtype).eval()

    def forward(self, letters: torch.Tensor, attention: torch.Tensor | None = None) -> torch.Tensor:
        """`attention` (B, heads, n, n) takes the place of the network's own."""
        model = self.model
        pooled, tokens = self.tokens(letters)
        weights, value = self.attend(tokens)
        read = (weights if attention is None else attention) @ value
        mixed = model.attention.mix(read.transpose(1, 2).flatten(2).relu()).relu()
        if model.residual is not None:
            mixed = mixed + model.residual(pooled)
        return model.output(self.read_out(mixed))

    def tokens(self, letters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled activations (B, n, F), and what attention sees of them."""
        model, stem = self.model, self.model.stem
        if isinstance(stem, Stem):
            padded = F.pad(letters, (model.padding, model.width - 1 - model.padding))
            track = stem.norm(stem.conv(padded))
            track = track.clamp(max=10).exp() if model.config.activation == "exp" else track.relu()
        else:
            assert model.bank is not None
            track = gated(letters, model.bank, model.config.preloaded, stem)
        pooled = F.max_pool1d(track, model.pool).transpose(1, 2)
        tokens = pooled
        if model.recurrent is not None:
            tokens, _ = model.recurrent.lstm(tokens)
        if model.positions is not None:
            tokens = tokens + model.positions.table
        return pooled, tokens

    def attention_of(self, letters: torch.Tensor) -> torch.Tensor:
        """(B, heads, n, n)."""
        return self.attend(self.tokens(letters)[1])[0]

    def attend(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        attention = self.model.attention
        query, key, value = (
            part.unflatten(2, (attention.heads, attention.head_dim)).transpose(1, 2)
            for part in attention.project(tokens).chunk(3, dim=2)
        )
        return torch.softmax(query @ key.transpose(2, 3) / math.sqrt(attention.head_dim), dim=-1), value

    def read_out(self, mixed: torch.Tensor) -> torch.Tensor:
        readout = self.model.readout
        if isinstance(readout, LegacyBatchReadout):  # in training it would go through float32
            return (mixed.sum(dim=1) - readout.running_mean) * torch.rsqrt(readout.running_variance + readout.eps)
        return readout(mixed)


def gated(letters: torch.Tensor, bank: MotifBank, settings: Preloaded, stem: PreloadedStem) -> torch.Tensor:
    """Activations (B, F, L) of known motifs, motif by motif; a window that leaves the letters has 0."""
    gates = bank.least(Gate(settings.gate_share, settings.gate_p)) - 0.5
    found = []
    for number, (table, gate, factor) in enumerate(zip(bank.scores, gates, stem.log_scale.exp(), strict=True)):
        matrix = torch.from_numpy(table.T.copy()).to(letters)
        if settings.tuned:
            matrix = 100 * stem.matrix[number, :, : len(table)]
        given, other = (F.conv1d(letters, each[None]) for each in (matrix, matrix.flip(0, 1)))
        score = torch.where(given >= other, given, other)
        found.append(F.pad(factor * (score - gate).relu() / table.max(axis=1).sum(), (0, len(table) - 1)))
    return torch.cat(found, dim=1)


def one_hot(tokens: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """(B, L) codes -> (B, 4, L)."""
    return F.one_hot(tokens.long(), 5)[:, :, :4].transpose(1, 2).to(dtype)


def integrated(
    soft: SoftSatori,
    start: torch.Tensor,
    end: torch.Tensor,
    weights: torch.Tensor,
    *,
    nodes: tuple[float, ...],
    shares: tuple[float, ...],
) -> torch.Tensor:
    """Sum over nodes of share * dF/dletters at start + node * (end - start), (B, 4, L)."""
    total = torch.zeros_like(end)
    for node, share in zip(nodes, shares, strict=True):
        at = (start + node * (end - start)).requires_grad_(True)
        (gradient,) = torch.autograd.grad((soft(at) * weights).sum(), at)
        total += share * gradient
    return total
