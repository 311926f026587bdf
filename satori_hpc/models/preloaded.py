"""Known motifs as the first block: scores of both strands, the gate, max pooling, dropout (SATORI 2.0, lqaf209).

A motif of w bp fills the first w columns of a filter on either strand, so that column j of the activations is the
window of the motif that starts at base j, whatever its width. The better strand is a maximum like that of pooling, so
that a convolution with two channels per motif and gate, a maximum over positions and strands, and a ReLU are the layer.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.models.base import UNKNOWN, Moments, one_hot
from satori_hpc.models.dropout import Dropout
from satori_hpc.motifs.scan import STEPS_PER_BIT, Gate, MotifBank

WINDOWS = 2**22  # bases that are looked at together
OUTSIDE = -1e4  # value of a window that leaves the sequence: below every gate, and finite on integration paths


class PreloadedStem(nn.Module):
    """Convert sequences to pooled activations (B, n, F): scale * relu(score - gate) / maximum of the better strand.

    Scores are log-odds in hundredths of a bit, whole numbers and so exact unless tuned; an unknown base scores 0, and a
    window that leaves the sequence is inactive. It has the interface of `stem.Stem`.

    Args:
        bank: the motifs, F of them.
        gate: which windows are active.
        tuned: train the matrices, too.
        length: L. pool: bp per bin.
        dropout: after pooling.

    Attributes:
        width: W, bp, of the widest motif. padding: 0.
        gates, maxima: (F,), hundredths of a bit.
    """

    strands = 2
    padding = 0

    def __init__(self, bank: MotifBank, gate: Gate, *, tuned: bool, length: int, pool: int, dropout: float) -> None:
        super().__init__()
        self.width = int(bank.widths.max(initial=1))
        self.length, self.bin = length, pool
        matrix = np.zeros((len(bank), 4, self.width), dtype=np.float32)
        for row, table in zip(matrix, bank.scores, strict=True):
            row[:, : len(table)] = table.T
        column = np.arange(self.width)
        inside = column < bank.widths[:, None]
        self.tuned = tuned
        self.matrix: torch.Tensor
        self.gates: torch.Tensor
        self.maxima: torch.Tensor
        self.inside: torch.Tensor
        self.mirrored: torch.Tensor
        self.outside: torch.Tensor
        if tuned:
            self.matrix = nn.Parameter(torch.from_numpy(matrix / STEPS_PER_BIT))
        else:
            self._keep("matrix", matrix)
        self.log_scale = nn.Parameter(torch.zeros(len(bank)))
        # Half a step under the smallest score of a hit, so that rounding moves no window over the gate.
        self._keep("gates", (bank.least(gate) - 0.5).astype(np.float32))
        self._keep("maxima", np.maximum(bank.maxima, 1).astype(np.float32))
        self._keep("inside", inside)
        self._keep("mirrored", np.where(inside, bank.widths[:, None] - 1 - column, 0))
        last = min(self.width - 1, length)  # only so many windows can leave the sequence
        self._keep("outside", np.arange(length - last, length) > length - bank.widths[:, None])
        self.pool = nn.MaxPool2d((1, pool))
        self.dropout = Dropout(dropout)

    def _keep(self, name: str, values: np.ndarray) -> None:
        """Register an array that follows from the motifs, and so is not among the weights of a checkpoint."""
        self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(
        self, sequences: torch.Tensor, *, activations: bool = False, moments: Moments | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return pooled activations (B, n, F) after dropout, and those before pooling (B, F, L) if asked for.

        Args:
            sequences: uint8 (B, L) or one-hot (B, 4, L).
            activations: give them back.
            moments: not used; nothing is normalised.
        """
        scores = self._scores(sequences)
        tracks = self._gated(scores) if activations else None
        pooled = self._gated(self.pool(scores))
        return self.dropout(pooled.transpose(1, 2)), tracks

    def activations(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return (B, F, L) before pooling."""
        return self._gated(self._scores(sequences))

    def pooled(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return (B, F, n) after pooling, before dropout."""
        return self._gated(self.pool(self._scores(sequences)))

    def bits(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, F, L'), bits, that gave these activations; inactive ones have the gate."""
        return (activations / self.scale(activations.dtype)[:, None] + self.gates[:, None]) / STEPS_PER_BIT

    @torch.no_grad()
    def strand_at(
        self, tokens: torch.Tensor, example: np.ndarray, motif: np.ndarray, start: np.ndarray, *, span: int
    ) -> np.ndarray:
        """Return the strand of sites; see models.base.TrainableModel."""
        device = self.log_scale.device
        letters = F.pad(tokens.to(device), (0, self.width + span), value=UNKNOWN).long()
        kernel = F.pad(self.kernel(self.log_scale.dtype), (0, 0, 0, 1)).unflatten(0, (2, -1))  # an unknown base: 0
        window = torch.arange(span, device=device)[:, None] + torch.arange(self.width, device=device)
        column = torch.arange(self.width, device=device)
        found = []
        for some in np.array_split(np.arange(len(example)), -(-len(example) * span * self.width // WINDOWS) or 1):
            row, number, first = (torch.from_numpy(each[some]).to(device) for each in (example, motif, start))
            bases = letters[row[:, None, None], first[:, None, None] + window]
            given, other = (kernel[side][number[:, None, None], bases, column].sum(2).amax(1) for side in range(2))
            found.append(torch.where(given >= other, 1, -1).cpu().numpy())
        return np.concatenate(found)

    def kernel(self, dtype: torch.dtype) -> torch.Tensor:
        """Return scores of bases, (2 F, 4, W): of the motifs, then of their reverse complements."""
        matrix = self.matrix.to(dtype) * self.inside[:, None] * (STEPS_PER_BIT if self.tuned else 1)
        mirrored = matrix.flip(1).gather(2, self.mirrored[:, None].expand_as(matrix)) * self.inside[:, None]
        return torch.cat((matrix, mirrored))

    def folded(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (2 F, 4, W) and bias (2 F,) of the convolution with the gate in it.

        Without the scale, values are multiples of one half: positions with equal scores stay equal.
        """
        return self.kernel(dtype), -self.gates.to(dtype).repeat(2)

    def scale(self, dtype: torch.dtype) -> torch.Tensor:
        """Return (F,): activation per hundredth of a bit above the gate."""
        return self.log_scale.to(dtype).exp() / self.maxima.to(dtype)

    def activation(self, values: torch.Tensor) -> torch.Tensor:
        """Map values of the convolution of `folded`, (..., F), to activations."""
        return F.relu(values) * self.scale(values.dtype)

    def blocked(self) -> torch.Tensor:
        """Return bool (n, 2 * pool, F): windows that leave the sequence, as `folded` lays positions and strands out."""
        every = F.pad(self.outside, (self.length - self.outside.shape[1], 0))[:, : self.length // self.bin * self.bin]
        return every.T.unflatten(0, (-1, self.bin)).repeat_interleave(self.strands, dim=1)

    def _scores(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return scores of the better strand, (B, F, 1, L), channels last."""
        trained = torch.is_grad_enabled() and (self.tuned or sequences.requires_grad)
        with torch.set_grad_enabled(trained), torch.autocast(self.log_scale.device.type, enabled=False):
            weight = self.kernel(self.log_scale.dtype).unsqueeze(2)
            letters = one_hot(sequences, weight.dtype, pad=(0, self.width - 1)).unsqueeze(2)
            last = torch.channels_last
            both = F.conv2d(letters.contiguous(memory_format=last), weight.contiguous(memory_format=last))
            given, other = both.chunk(2, dim=1)
            # Of equal strands the given one has the gradient, as of equal positions the first: scores are often equal.
            scores = torch.where(given >= other, given, other) if trained else torch.maximum(given, other)
            ending = self.outside.shape[1]
            if ending:
                scores[..., -ending:].masked_fill_(self.outside[:, None], OUTSIDE)
        return scores

    def _gated(self, scores: torch.Tensor) -> torch.Tensor:
        """Map scores (B, F, 1, L') -> activations (B, F, L')."""
        with torch.autocast(scores.device.type, enabled=False):
            return F.relu(scores.squeeze(2) - self.gates[:, None]) * self.scale(scores.dtype)[:, None]
