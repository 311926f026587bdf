"""SATORI-basic written the plain way: one linear layer per head, every step at full length, all attention kept.

Slow and obvious. `copy_weights` gives it the weights of a fused model, so that outputs and gradients can be compared;
the benchmark of the training step races against it.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.models.satori import Satori
from satori_hpc.models.stem import Stem

PROJECTIONS = ("query", "key", "value")


class PlainHead(nn.Module):
    def __init__(self, inputs: int, size: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(inputs, size)
        self.key = nn.Linear(inputs, size)
        self.value = nn.Linear(inputs, size)
        self.dropout = nn.Dropout(dropout)
        self.size = size

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.matmul(self.query(tokens), self.key(tokens).transpose(1, 2)) / math.sqrt(self.size)
        attention = F.softmax(scores, dim=2)
        return F.relu(torch.matmul(self.dropout(attention), self.value(tokens))), attention


class PlainSatori(nn.Module):
    """The same function as `Satori` with architecture "basic", activation "relu" or "exp" and readout "sum"."""

    def __init__(self, fused: Satori) -> None:
        super().__init__()
        config = fused.config
        self.padding = (fused.padding, fused.width - 1 - fused.padding)
        self.exponential = config.activation == "exp"
        self.conv = nn.Conv1d(4, config.num_filters, config.kernel_size, bias=False)
        self.norm = nn.BatchNorm1d(config.num_filters)
        self.pool = nn.MaxPool1d(config.pool)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleList(
            PlainHead(config.num_filters, config.head_dim, config.attention_dropout) for _ in range(config.num_heads)
        )
        self.mix = nn.Linear(config.num_heads * config.head_dim, config.mixing_size)
        self.last_norm = nn.LayerNorm(config.mixing_size)
        self.output = nn.Linear(config.mixing_size, fused.output.out_features)

    def activations(self, tokens: torch.Tensor) -> torch.Tensor:
        codes = tokens.long()
        letters = F.one_hot(codes, 5)[:, :, :4].float().transpose(1, 2)
        normalised = self.norm(self.conv(F.pad(letters, self.padding)))
        return torch.exp(normalised.clamp(max=10)) if self.exponential else F.relu(normalised)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and attention (B, heads, n, n)."""
        bins = self.dropout(self.pool(self.activations(tokens))).transpose(1, 2)
        read = [head(bins) for head in self.heads]
        mixed = F.relu(self.mix(torch.cat([values for values, _ in read], dim=2)))
        logits = self.output(self.last_norm(mixed.sum(dim=1)))
        return logits, torch.stack([attention for _, attention in read], dim=1)


def entropy(attention: torch.Tensor) -> torch.Tensor:
    """Entropy loss per sequence, (B,): loops over heads and rows; 0 log 0 = 0."""
    total = torch.zeros(len(attention))
    for sequence in range(len(attention)):
        for head in attention[sequence]:
            rows = [-(row[row > 0] * row[row > 0].log()).sum() for row in head]
            total[sequence] += torch.stack(rows).mean()
    return total


def copy_weights(fused: Satori, plain: PlainSatori) -> None:
    """Give `plain` the weights and running statistics of `fused`."""
    with torch.no_grad():
        assert isinstance(fused.stem, Stem)
        plain.conv.load_state_dict(fused.stem.conv.state_dict())
        plain.norm.load_state_dict(fused.stem.norm.state_dict())
        project = fused.attention.project
        for part, name in enumerate(PROJECTIONS):
            for number, head in enumerate(plain.heads):
                layer = getattr(head, name)
                layer.weight.copy_(by_head(fused, project.weight)[part, number])
                layer.bias.copy_(by_head(fused, project.bias)[part, number])
        plain.mix.load_state_dict(fused.attention.mix.state_dict())
        plain.last_norm.load_state_dict(fused.readout.get_submodule("norm").state_dict())
        plain.output.load_state_dict(fused.output.state_dict())


def gradients(fused: Satori, plain: PlainSatori) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """{name: (gradient of the fused model, the same of the plain one)}."""
    project = fused.attention.project
    assert isinstance(fused.stem, Stem)
    found = {
        "conv": (grad(fused.stem.conv.weight), grad(plain.conv.weight)),
        "norm.weight": (grad(fused.stem.norm.weight), grad(plain.norm.weight)),
        "norm.bias": (grad(fused.stem.norm.bias), grad(plain.norm.bias)),
        "mix": (grad(fused.attention.mix.weight), grad(plain.mix.weight)),
        "output": (grad(fused.output.weight), grad(plain.output.weight)),
    }
    for part, name in enumerate(PROJECTIONS):
        layers = [getattr(head, name) for head in plain.heads]
        for kind, parameter in (("weight", project.weight), ("bias", project.bias)):
            theirs = torch.stack([grad(getattr(layer, kind)) for layer in layers])
            found[f"{name}.{kind}"] = (by_head(fused, grad(parameter))[part], theirs)
    return found


def by_head(fused: Satori, values: torch.Tensor) -> torch.Tensor:
    """The rows of the fused projection as (query | key | value, head, head size, ...)."""
    return values.unflatten(0, (3, fused.config.num_heads, fused.config.head_dim))


def grad(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad
