"""Known motifs as a first layer: hits that pass a gate and win the competition, as values of bins.

Only few of thousands of motifs are in a bin, so non-zero values are listed.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.models.base import UNKNOWN, full, one_hot
from satori_hpc.motifs import hits as motif_hits
from satori_hpc.motifs import motif
from satori_hpc.motifs.hits import Hits, stacked
from satori_hpc.motifs.scan import Gate, MotifBank, Scanner

MOST_REMEMBERED = 500_000  # sequences, with about a kilobyte each
SCORES_AT_ONCE = 2**24  # of windows, for base mixtures, whose scores are all computed
GAIN = 8.0  # value of a bin with the best word of a motif


@dataclass(frozen=True, eq=False)
class MotifTokens:
    """Values of motifs in bins of B sequences; unlisted ones are 0.

    Attributes:
        shape: (B, n, M).
        example, bin, motif: int64, sorted, no combination twice.
        value: float.
    """

    shape: tuple[int, int, int]
    example: torch.Tensor
    bin: torch.Tensor
    motif: torch.Tensor
    value: torch.Tensor

    def dense(self) -> torch.Tensor:
        """Return (B, n, M)."""
        return self.value.new_zeros(self.shape).index_put((self.example, self.bin, self.motif), self.value)

    def rank(self) -> torch.Tensor:
        """Return number of each value within its example, from 0."""
        first = torch.searchsorted(self.example, torch.arange(self.shape[0], device=self.example.device))
        return torch.arange(len(self.example), device=self.example.device) - first[self.example]


class MotifBins(nn.Module):
    """Convert sequences to tokens: for each bin and motif 8 (s - t) / (max - t), the largest over hits centred there.

    s is the score of a hit, t the gate, half a step under the smallest score of a hit. Which windows are hits and
    the choice of winners has no gradient; their scores have one, with respect to the one-hot sequence.

    Args:
        bank: the motifs.
        gate: which windows are hits.
        compete: only the winners of overlapping hits count.
        length: L, bp. pool: bp per bin.

    Attributes:
        bins: n bins, the last of which may be shorter.
    """

    def __init__(self, bank: MotifBank, gate: Gate, *, compete: bool, length: int, pool: int) -> None:
        super().__init__()
        self.bank = bank
        self._scanner = Scanner(bank, gate)
        self.compete = compete
        self.pool = pool
        self.bins = -(-length // pool)
        self._threshold = self._scanner.least - 0.5
        self._rows: dict[bytes, int] = {}  # of remembered sequences
        self._hits = stacked([])
        self._offsets = self._hits.of_examples(0)
        widest = int(bank.widths.max(initial=1))
        kernel = np.zeros((2, len(bank), 4, widest), dtype=np.float32)
        for number, table in enumerate(bank.scores):
            kernel[0, number, :, : len(table)] = table.T
            kernel[1, number, :, : len(table)] = motif.reverse_complement(table).T
        self.kernel: torch.Tensor
        self.register_buffer("kernel", torch.from_numpy(kernel), persistent=False)

    def forward(self, sequences: torch.Tensor) -> MotifTokens:
        """Return tokens of sequences.

        Args:
            sequences: uint8 codes (B, L), or (B, 4, L) of a float type: one-hot, or any mixture of bases.
        """
        hits, scores = self.hits(sequences)
        return self.tokens(hits, len(sequences), scores)

    def hits(self, sequences: torch.Tensor) -> tuple[Hits, torch.Tensor | None]:
        """Return the winning hits, and their scores, with a gradient if requested."""
        if not sequences.is_floating_point():
            return self._of_codes(sequences.cpu().numpy()), None
        letters = full(sequences)
        if _is_one_hot(letters):
            hits = self._of_codes(_codes(letters).cpu().numpy())
            return hits, self._scores(hits, letters) if letters.requires_grad else None
        some = max(1, SCORES_AT_ONCE // max(1, self.kernel.shape[:2].numel() * letters.shape[2]))
        blocks = [self._mixed(block) for block in letters.detach().split(some)]
        begins = range(0, len(letters), some)
        hits = self._winners(stacked(block.moved(begin) for block, begin in zip(blocks, begins, strict=True)))
        return hits, self._scores(hits, letters)

    def every_hit(self, tokens: torch.Tensor) -> Hits:
        """Return all hits in sequences (B, L) uint8, before any competition."""
        return self._scanner.scan(tokens.cpu().numpy(), threads=torch.get_num_threads())

    def tokens(self, hits: Hits, examples: int, scores: torch.Tensor | None = None) -> MotifTokens:
        """Return tokens of any hits, on this module's device.

        Args:
            hits: sorted by example, 0 .. examples - 1.
            examples: B.
            scores: of the hits, (hits,), in place of the whole numbers in the table.
        """
        device, shape = self.kernel.device, (examples, self.bins, len(self.bank))
        threshold = torch.from_numpy(self._threshold[hits.motif]).to(device)
        above = torch.from_numpy(self.bank.maxima[hits.motif]).to(device) - threshold
        found = torch.from_numpy(hits.score).to(device) if scores is None else scores
        value = (GAIN * (found - threshold) / above).clamp(min=0)  # mixed bases: rounding
        value = value.to(torch.float32 if scores is None else scores.dtype)
        bin = (hits.start + hits.end) // 2 // self.pool
        places, which = np.unique(np.ravel_multi_index((hits.example, bin, hits.motif), shape), return_inverse=True)
        largest = value.new_zeros(len(places)).scatter_reduce(0, torch.from_numpy(which).to(device), value, "amax")
        example, bin, number = (
            torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in np.unravel_index(places, shape)
        )
        return MotifTokens(shape, example, bin, number, largest)

    def remember(self, tokens: np.ndarray) -> None:
        """Cache the hits of sequences (E, L) uint8 that occur repeatedly; of many sequences only the first."""
        known = len(self._offsets) - 1
        tokens = tokens[: MOST_REMEMBERED - known]
        self._hits = stacked([self._hits, self._found(tokens).moved(known)])
        self._offsets = self._hits.of_examples(known + len(tokens))
        self._rows.update((_digest(sequence), known + row) for row, sequence in enumerate(tokens))

    def _of_codes(self, tokens: np.ndarray) -> Hits:
        """Return the winning hits of sequences (B, L) uint8, cached or found now."""
        if not self._rows:
            return self._found(tokens)
        rows = np.array([self._rows.get(_digest(sequence), -1) for sequence in tokens], dtype=np.int64)
        old, new = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        first, last = self._offsets[rows[old]], self._offsets[rows[old] + 1]
        place = np.repeat(np.arange(len(old)), last - first)
        before = np.cumsum(last - first) - (last - first)
        hits = self._hits.take(np.arange(len(place)) - before[place] + first[place])
        hits = dataclasses.replace(hits, example=old[place])
        if not len(new):
            return hits
        found = self._found(tokens[new])
        both = stacked([hits, dataclasses.replace(found, example=new[found.example])])
        return both.take(np.argsort(both.example, kind="stable"))

    def _found(self, tokens: np.ndarray) -> Hits:
        return self._winners(self._scanner.scan(tokens, threads=torch.get_num_threads()))

    def _winners(self, hits: Hits) -> Hits:
        return motif_hits.winners(hits) if self.compete else hits

    @torch.no_grad()
    def _mixed(self, letters: torch.Tensor) -> Hits:
        """Find all hits in base mixtures (B, 4, L), whose scores are not integers."""
        length, widths = letters.shape[2], torch.from_numpy(self.bank.widths).to(letters.device)
        padded = F.pad(letters, (0, self.kernel.shape[3] - 1))
        with torch.autocast(letters.device.type, enabled=False):
            strands = F.conv1d(padded, self.kernel.flatten(0, 1).to(letters.dtype)).unflatten(1, (2, -1))
        best, strand = strands.max(dim=1)
        inside = torch.arange(length, device=letters.device) <= length - widths[:, None]
        gate = torch.from_numpy(self._threshold).to(letters)[:, None]
        example, start, number = torch.nonzero(((best > gate) & inside).transpose(1, 2), as_tuple=True)
        backward = strand[example, number, start].bool()
        motifs = number.cpu().numpy()
        score = best[example, number, start].round().int().cpu().numpy()
        score = np.minimum(score, self.bank.maxima[motifs]).astype(np.int32)  # of more than one base at a position
        return Hits(
            example=example.cpu().numpy(),
            start=start.cpu().numpy(),
            end=start.cpu().numpy() + self.bank.widths[motifs],
            motif=motifs,
            strand=np.where(backward.cpu().numpy(), -1, 1).astype(np.int8),
            score=score,
            neg_log10_p=self.bank.neg_log10_p(motifs, score),
        )

    def _scores(self, hits: Hits, letters: torch.Tensor) -> torch.Tensor:
        """Return scores (hits,) of hits in one-hot (B, 4, L), differentiable with respect to the sequence."""
        device = letters.device
        windows = F.pad(letters, (0, self.kernel.shape[3])).unfold(2, self.kernel.shape[3], 1)
        example, start, number = (torch.from_numpy(each).to(device) for each in (hits.example, hits.start, hits.motif))
        strand = torch.from_numpy(hits.strand).to(device).lt(0).long()
        return (windows[example, :, start] * self.kernel[strand, number].to(letters.dtype)).sum(dim=(1, 2))


class StrandFilters(nn.Module):
    """Learned filters over both strands: (B, 4, L) -> (B, n, F), ReLU of the better strand, max-pooled over the bin.

    A models.base.BothStrands.

    Args:
        filters: F. width: of a filter, bp, odd. length: L. pool: bp per bin.
    """

    def __init__(self, *, filters: int, width: int, length: int, pool: int) -> None:
        super().__init__()
        self.filters, self.width = filters, width
        self.pool = pool
        bins = -(-length // pool)
        self.pad = (width // 2, width // 2 + bins * pool - length)
        self.conv = nn.Conv1d(4, filters, width)
        nn.init.normal_(self.conv.weight, std=0.25)
        nn.init.constant_(cast(torch.Tensor, self.conv.bias), -1.0)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        strands = F.max_pool2d(self._both(sequences), (1, self.pool)).squeeze(2).chunk(2, dim=1)
        return self._activated(torch.maximum(*strands)).transpose(1, 2)

    def strands(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return activations before pooling, (B, 2, F, L); see BothStrands."""
        both = self._both(sequences).squeeze(2)[:, :, : sequences.shape[-1]]
        return self._activated(both.unflatten(1, (2, -1)))

    def _both(self, sequences: torch.Tensor) -> torch.Tensor:
        """Convolve (B, 2 F, 1, n * pool) with the filters and their reverse complements, without bias."""
        weight = torch.cat((self.conv.weight, self.conv.weight.flip(1, 2))).unsqueeze(2)
        letters = one_hot(sequences, weight.dtype, pad=self.pad).unsqueeze(2)
        # Channels last: the fastest layout for the convolution and its pooling.
        last = torch.channels_last
        return F.conv2d(letters.contiguous(memory_format=last), weight.contiguous(memory_format=last))

    def _activated(self, values: torch.Tensor) -> torch.Tensor:
        return F.relu(values + cast(torch.Tensor, self.conv.bias)[:, None])


def _digest(sequence: np.ndarray) -> bytes:
    return hashlib.blake2b(sequence.tobytes(), digest_size=16).digest()


def _is_one_hot(letters: torch.Tensor) -> bool:
    return bool((((letters == 0) | (letters == 1)).all(dim=1) & (letters.sum(dim=1) <= 1)).all())


def _codes(letters: torch.Tensor) -> torch.Tensor:
    """Convert one-hot (B, 4, L) to uint8 codes (B, L)."""
    return torch.where(letters.sum(dim=1) > 0, letters.argmax(dim=1), UNKNOWN).to(torch.uint8)
