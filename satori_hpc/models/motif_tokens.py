"""Attention over hits of known motifs (tokens): one layer with relative distances, followed only by a sum.

So attention from one bin to another is the joint effect of two motifs; convolutions after it could compute the
same without it. No normalisation: it would mix the bins of a sequence.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.config.motif_tokens import MotifTokens as Settings
from satori_hpc.errors import ConfigError
from satori_hpc.models.attention import SoftmaxEntropy, linear
from satori_hpc.models.base import ModelOutput, Moments, TrainableModel, full
from satori_hpc.models.dropout import Coin, Dropout
from satori_hpc.models.kmers import KmerRegression
from satori_hpc.models.motif_bins import MotifBins, MotifTokens, StrandFilters
from satori_hpc.motifs.scan import STEPS_PER_BIT, Gate, MotifBank

FARTHEST = 16  # bins; larger distances share a bias
NEARNESS = 0.3  # decrease of the initial bias per bin


class TokenLinear(nn.Module):
    """A linear layer without bias of motif tokens and learned filters side by side.

    Args:
        motifs: M. filters: F, may be 0. outputs: size of the output.
    """

    def __init__(self, *, motifs: int, filters: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(motifs + filters, 1))  # that of nn.Linear
        self.motifs = nn.Parameter(torch.empty(motifs, outputs).uniform_(-bound, bound))
        self.filters = nn.Parameter(torch.empty(outputs, filters).uniform_(-bound, bound)) if filters else None

    def forward(self, known: MotifTokens, learned: torch.Tensor | None) -> torch.Tensor:
        """Return (B, n, outputs) of tokens and, if there are any, activations of filters (B, n, F)."""
        examples, bins, _ = known.shape
        # Not by indexing: on the CPU its gradient is summed by several threads, in any order.
        rows = F.embedding(known.motif, self.motifs) * known.value[:, None].to(self.motifs.dtype)
        found = rows.new_zeros(examples * bins, rows.shape[1]).index_add(0, known.example * bins + known.bin, rows)
        found = found.view(examples, bins, -1)
        return found if self.filters is None or learned is None else found + linear(learned, self.filters, None)


class DistanceAttention(nn.Module):
    """Queries, keys, values (B, n, size) -> (B, n, size): softmax of q.k / sqrt(head size) + r[distance], then ReLU.

    Args:
        bins: n bins. heads: h. size: of all heads together.
    """

    def __init__(self, *, bins: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        away = torch.arange(-FARTHEST, FARTHEST + 1).abs().float()
        self.distance = nn.Parameter(-NEARNESS * away.repeat(heads, 1))
        self.mix = nn.Linear(size, size)
        place = torch.arange(bins)
        between = (place[None, :] - place[:, None]).clamp(-FARTHEST, FARTHEST) + FARTHEST
        self.between: torch.Tensor
        self.register_buffer("between", between, persistent=False)

    def forward(
        self, parts: Sequence[torch.Tensor], turned: torch.Tensor, *, entropy: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Apply attention.

        Args:
            parts: queries, keys and values.
            turned: bool (B,): examples whose bins are in reversed order.
            entropy: give it back.

        Returns:
            mixed heads (B, n, size), attention (B, h, n, n), entropy (B,) or None.
        """
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        near = F.embedding(self.between, self.distance.T).permute(2, 0, 1)  # not by indexing, as in TokenLinear
        if bool(turned.any()):
            near = torch.where(turned[:, None, None, None], near.transpose(1, 2), near)
        scores = full(query @ key.transpose(2, 3)) / math.sqrt(query.shape[3]) + near
        weights, rows = SoftmaxEntropy.apply(scores) if entropy else (torch.softmax(scores, dim=-1), None)
        read = F.relu(weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        mixed = linear(read, self.mix.weight, self.mix.bias)
        return mixed, weights, None if rows is None else rows.mean(dim=2).sum(dim=1)


class MotifTokenNetwork(TrainableModel):
    """Network over motif tokens; in evaluation mode a result depends only on its own sequence; see TrainableModel.

    Args:
        settings: [model.motif-tokens].
        bank: the known motifs.
        length: L. targets: T. task: "binary" or "multilabel".

    Attributes:
        known: the first layer of known motifs. learned: that of learned filters, or None.
    """

    has_attention = True
    scorers = {
        "attention": "satori_hpc.scoring.motif_tokens:TokenAttention",
        "attribution": "satori_hpc.scoring.motif_tokens:TokenAttribution",
        "dfim": "satori_hpc.scoring.motif_tokens:TokenDfim",
        "epistasis": "satori_hpc.scoring.motif_tokens:TokenEpistasis",
    }

    def __init__(self, settings: Settings, bank: MotifBank, *, length: int, targets: int, task: str) -> None:
        super().__init__()
        self.settings = settings
        self.length = length
        self.targets = self.outputs = targets
        self.task = task
        self.bank = bank
        self.pool = settings.pool
        self.gate = Gate(share=settings.gate_share, p=settings.gate_p)
        self.known = MotifBins(bank, self.gate, compete=settings.compete, length=length, pool=settings.pool)
        self.learned: StrandFilters | None = None
        filters, size, bins = settings.num_filters, settings.size, self.known.bins
        if filters:
            self.learned = StrandFilters(filters=filters, width=settings.kernel_size, length=length, pool=settings.pool)
        self.hidden_hits = Dropout(settings.hit_dropout)
        self.hidden_filters = Dropout(settings.hit_dropout)
        self.turned = Coin() if settings.reverse else None
        self.project = TokenLinear(motifs=len(bank), filters=filters, outputs=4 * size)
        self.attention = DistanceAttention(bins=bins, heads=settings.num_heads, size=size)
        self.bias = nn.Parameter(torch.zeros(size))
        self.dropout = Dropout(settings.dropout)
        self.output = nn.Linear(size, targets)
        if settings.kmers:
            self.kmers = KmerRegression(targets)
        self.largest_array = max(bins * 4 * size, settings.num_heads * bins**2, 2 * filters * length)

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
        learned = None if self.learned is None else self.learned(sequences)
        return self.of_tokens(self.known(sequences), learned, attention=attention, entropy=entropy)

    def pooled(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return the best hit of each known motif in each bin, bits, 0 = none; then learned filters' activations.

        Returns:
            (B, M + F, n).
        """
        hits, _ = self.known.hits(sequences)
        out = np.zeros((len(sequences), len(self.known.bank), self.known.bins), dtype=np.float32)
        bin = (hits.start + hits.end) // 2 // self.pool
        np.maximum.at(out, (hits.example, hits.motif, bin), (hits.score / STEPS_PER_BIT).astype(np.float32))
        known = torch.from_numpy(out)
        return known if self.learned is None else torch.cat((known, self.learned(sequences).transpose(1, 2).cpu()), 1)

    @property
    def both_strands(self) -> StrandFilters | None:
        """The learned filters."""
        return self.learned

    @property
    def motifs(self) -> int:
        """M + F: the known motifs come first, then the learned filters."""
        return len(self.known.bank) + self.settings.num_filters

    def remember(self, tokens: np.ndarray) -> None:
        self.known.remember(tokens)

    def silence(self) -> None:
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def of_tokens(
        self, known: MotifTokens, learned: torch.Tensor | None, *, attention: bool = False, entropy: bool = False
    ) -> ModelOutput:
        """Compute outputs from tokens and learned filters' activations (B, n, F), which scoring may have changed."""
        if self.training:
            known = self._hide(known)
            learned = None if learned is None else self.hidden_filters(learned)
        *parts, around = self.project(known, learned).chunk(4, dim=2)
        rows = known.shape[0]
        coins = torch.zeros(rows, dtype=torch.bool) if self.turned is None else self.turned(rows, around.device)
        mixed, kept, entropies = self.attention(parts, coins, entropy=entropy)
        bins = F.relu(mixed + around + self.bias)
        logits = full(self.output(self.dropout(bins).sum(dim=1)))
        return ModelOutput(logits=logits, attention=kept if attention else None, entropy=entropies)

    def _hide(self, known: MotifTokens) -> MotifTokens:
        """Mask some tokens, chosen by their numbers within the example."""
        if not len(known.value):
            return known
        rank = known.rank()
        mask = self.hidden_hits(known.value.new_ones(known.shape[0], int(rank.max()) + 1))
        return dataclasses.replace(known, value=known.value * mask[known.example, rank])


def build(
    settings: Settings, *, length: int, targets: int, task: str, entropy: float, bank: MotifBank
) -> MotifTokenNetwork:
    """Return a network of the family "motif-tokens"; see models.build."""
    if settings.num_filters and length < settings.kernel_size:
        raise ConfigError(
            f"[model.motif-tokens] kernel_size = {settings.kernel_size}: the sequences are shorter, {length} bp; "
            "lower it, or set num_filters = 0"
        )
    return MotifTokenNetwork(settings, bank, length=length, targets=targets, task=task)
