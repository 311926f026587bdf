"""Sinusoidal positions, added to the tokens that attention sees."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from satori_hpc.config import Model
from satori_hpc.errors import ConfigError
from satori_hpc.models import readout
from satori_hpc.models.attention import Attention
from satori_hpc.models.base import ModelOutput, Moments, TrainableModel, full
from satori_hpc.models.dropout import Dropout
from satori_hpc.models.preloaded import PreloadedStem
from satori_hpc.models.readout import Trunk
from satori_hpc.models.stem import Stem
from satori_hpc.motifs.scan import Gate, MotifBank


class SinusoidalPositions(nn.Module):
    """pe[t, 2i] = sin(t / 10000^(2i / size)), pe[t, 2i + 1] the cosine; an odd size loses the last cosine."""

    def __init__(self, *, bins: int, size: int) -> None:
        super().__init__()
        bin = torch.arange(bins, dtype=torch.float64)[:, None]
        even = torch.arange(0, size, 2, dtype=torch.float64)[None, :]
        angle = bin / 10_000.0 ** (even / size)
        table = torch.stack((angle.sin(), angle.cos()), dim=2).reshape(bins, -1)[:, :size]
        self.table: torch.Tensor
        self.register_buffer("table", table.float(), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (B, n, size) -> the same shape."""
        return tokens + self.table


# The optional bidirectional LSTM between convolution and attention.


class Recurrent(nn.Module):
    """Runs along the positions of each sequence (never along the batch), both ways, then dropout."""

    layers, dropped = 2, 0.4  # as published

    def __init__(self, *, inputs: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, size, num_layers=self.layers, bidirectional=True, batch_first=True)
        self.dropout = Dropout(self.dropped)
        self.outputs = 2 * size

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (B, n, inputs) -> (B, n, 2 * size)."""
        if self.training or not tokens.requires_grad:
            states, _ = self.lstm(tokens)
        else:  # cuDNN has no backward pass of an LSTM in evaluation mode, which attributions need
            with torch.backends.cudnn.flags(enabled=False, allow_tf32=torch.backends.cudnn.allow_tf32):
                states, _ = self.lstm(tokens)
        dropped: torch.Tensor = self.dropout(states)
        return dropped


# SATORI-basic and SATORI-deep: convolution, attention, and read-out (SATORI 2.0, lqaf209).


class Satori(TrainableModel):
    """SATORI network; in evaluation mode a result depends only on its own sequence; see TrainableModel.

    Attributes:
        filters: F. width: W, bp. padding: zero columns left of the sequence. pool: bp per bin. bins: n bins.
        bank: the known motifs that are its filters; None: they are learned.
    """

    has_attention = True
    has_fast_paths = True

    def __init__(
        self, config: Model, *, length: int, targets: int, task: str, entropy: float, bank: MotifBank | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.length = length
        self.targets = targets
        self.task = task
        self.bank = bank
        self.filters = config.num_filters if bank is None else len(bank)
        self.pool = config.pool
        self.bins = length // config.pool
        self.stem = self._stem(config)
        self.width, self.padding = self.stem.width, self.stem.padding
        size = self.filters
        self.recurrent: Recurrent | None = None
        if config.recurrent:
            self.recurrent = Recurrent(inputs=size, size=config.recurrent_size)
            size = self.recurrent.outputs
        self.positions = SinusoidalPositions(bins=self.bins, size=size) if config.positions else None
        self.attention = Attention(
            inputs=size,
            heads=config.num_heads,
            head_dim=config.head_dim,
            mixing=config.mixing_size,
            dropout=config.attention_dropout,
        )
        self.residual = self._residual(config, entropy, self.filters)
        self.readout: readout.Readout
        if config.architecture == "deep":
            self.readout = Trunk(
                inputs=config.mixing_size,
                bins=self.bins,
                widths=config.block_widths,
                kernel=config.block_kernel,
                dropout=config.block_dropout,
                dilations=config.dilations,
                hidden=config.hidden,
            )
        else:
            self.readout = readout.build(config.readout, size=config.mixing_size, bins=self.bins)
        self.outputs = 2 if config.output == "two" else targets
        self.output = nn.Linear(self.readout.outputs, self.outputs)
        self.largest_array = max(self.stem.strands * self.filters * length, config.num_heads * self.bins**2)

    def _stem(self, config: Model) -> Stem | PreloadedStem:
        """Return the first block, of learned filters or known motifs."""
        if self.bank is not None:
            known = config.preloaded
            self.gate = Gate(share=known.gate_share, p=known.gate_p)
            return PreloadedStem(
                self.bank, self.gate, tuned=known.tuned, length=self.length, pool=config.pool, dropout=config.dropout
            )
        return Stem(
            filters=config.num_filters,
            width=config.kernel_size,
            padding=config.kernel_size // 2 if config.padding is None else config.padding,
            pool=config.pool,
            activation=config.activation,
            dropout=config.dropout,
        )

    @staticmethod
    def _residual(config: Model, entropy: float, filters: int) -> nn.Module | None:
        """Return the residual path of the convolution, or None; deep only."""
        wanted = entropy > 0 if config.conv_residual is None else config.conv_residual
        if config.architecture != "deep" or not wanted:
            return None
        if filters == config.mixing_size:
            return nn.Identity()
        return nn.Linear(filters, config.mixing_size, bias=False)

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
        pooled, tracks = self.stem(sequences, activations=activations, moments=moments)
        mixed, kept, rows = self.attention(self._attended(pooled), attention=attention, entropy=entropy)
        if self.residual is not None:
            mixed = mixed + self.residual(pooled)
        logits = full(self.output(self.readout(mixed)))
        return ModelOutput(logits=logits, attention=kept, activations=tracks, entropy=rows)

    def site_activations(self, sequences: torch.Tensor) -> torch.Tensor:
        return self.stem.activations(sequences)

    @property
    def site_widths(self) -> np.ndarray:
        return super().site_widths if self.bank is None else self.bank.widths

    @property
    def trained_scores(self) -> list[np.ndarray] | None:
        if not isinstance(self.stem, PreloadedStem) or not self.stem.tuned or self.bank is None:
            return None
        kernel = self.stem.kernel(torch.float64)[: self.filters].detach().cpu().numpy()
        return [matrix[:, :width].T for matrix, width in zip(kernel, self.bank.widths, strict=True)]

    def strand_at(
        self, tokens: torch.Tensor, example: np.ndarray, motif: np.ndarray, start: np.ndarray, *, span: int = 1
    ) -> np.ndarray:
        if not isinstance(self.stem, PreloadedStem):
            return super().strand_at(tokens, example, motif, start, span=span)
        return self.stem.strand_at(tokens, example, motif, start, span=span)

    def strength(self, activations: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
        """Return the strength of sites; of known motifs their scores, bits, which compare between motifs."""
        if isinstance(self.stem, PreloadedStem):
            return self.stem.bits(activations)
        return super().strength(activations, threshold)

    def batch_moments(
        self, tokens: torch.Tensor, *, count: int, all_reduce_sum: Callable[[torch.Tensor], object]
    ) -> Moments | None:
        """Return the moments of the first layer's windows over the batch; None of known motifs.

        Integers, so the sums are exact in any order.
        """
        if isinstance(self.stem, PreloadedStem):
            return None
        sums = self.stem.window_sums(tokens)
        all_reduce_sum(sums)
        moments = self.stem.moments(sums, count * self.length)
        self.stem.follow(moments)
        return moments

    def pooled(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return activations after max pooling, before dropout, (B, F, n), the input of `attention_rows`."""
        return self.stem.pooled(sequences)

    def attention_rows(self, pooled: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
        """Return the attention rows of these bins, without computing the others.

        Args:
            pooled: (B, F, n) from `pooled`.
            bins: (B, a) int64 query positions; repeats are allowed.

        Returns:
            (B, h, a, n) float32.
        """
        return self.attention.rows(self._attended(pooled.transpose(1, 2)), bins)

    def _attended(self, pooled: torch.Tensor) -> torch.Tensor:
        """Map (B, n, F) -> the tokens that attention sees."""
        tokens = pooled if self.recurrent is None else self.recurrent(pooled)
        return tokens if self.positions is None else self.positions(tokens)


def build(
    config: Model, *, length: int, targets: int, task: str, entropy: float, bank: MotifBank | None = None
) -> Satori:
    """Return a network of the families "basic" and "deep"; see models.build."""
    if bank is None and length < config.kernel_size:
        raise ConfigError(
            f"[model] kernel_size = {config.kernel_size}: the sequences are shorter, {length} bp; lower kernel_size"
        )
    if length < config.pool:
        raise ConfigError(f"[model] pool = {config.pool}: the sequences are shorter, {length} bp; lower pool")
    if task == "multilabel" and config.output == "two":
        raise ConfigError("[model] output = 'two' is for binary labels; these are multilabel: set output = 'one'")
    return Satori(config, length=length, targets=targets, task=task, entropy=entropy, bank=bank)


def require(model: TrainableModel, *, what: str) -> Satori:
    """The network, as what is hand-written for SATORI networks takes it.

    Args:
        model: of any family.
        what: is asked for.

    Raises:
        ConfigError: it is no SATORI network.
    """
    if not isinstance(model, Satori):
        raise ConfigError(
            f"{what}: hand-written for SATORI networks, found a network of the kind {type(model).__name__}; choose "
            "another model.architecture and train again, or do without"
        )
    return model
