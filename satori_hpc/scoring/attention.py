"""Raw attention: a pair's score is the largest attention, of any head and in either direction, between its sites.

SATORI 2.0 (lqaf209). Only the attention rows of active bins are computed.
"""

from typing import Any

import numpy as np
import torch

from satori_hpc.errors import SatoriError
from satori_hpc.models.base import TrainableModel
from satori_hpc.models.satori import Satori
from satori_hpc.scoring.base import LARGEST, Batch, SiteScores, must_fit, ragged
from satori_hpc.scoring.fast.precision import exactly

CPU_SLICE = 16  # the fastest: the data of a slice stay in the cache
DEVICE_SLICE_BYTES = 1 << 30


class AttentionScorer:
    """Score slices of sequences by raw attention; see SiteScorer.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active in a bin when its pooled activation is above (strictly).

    Raises:
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    directed = False
    choose = LARGEST
    extras: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()

    def __init__(self, model: Satori, threshold: torch.Tensor) -> None:
        must_fit(model.pool * model.bins)
        self.model = model
        self.widths, self.pool = model.site_widths.astype(np.int16), model.pool
        self.device = next(model.parameters()).device
        self.threshold = threshold.to(self.device)

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example: every filter active in every bin."""
        return self.model.filters * self.model.bins, self.model.bins

    @property
    def slice_size(self) -> int:
        """Sequences per call; follows from the model and the kind of device only."""
        if self.device.type == "cpu":
            return CPU_SLICE
        return max(1, DEVICE_SLICE_BYTES // self.bytes_per_sequence)

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound, with every filter active in every bin."""
        model, config = self.model, self.model.config
        heads, bins, filters = config.num_heads, model.bins, model.filters
        features = filters + 3 * heads * config.head_dim
        if config.recurrent:
            features += 20 * config.recurrent_size  # states, and gates of both directions
        letters = (64 + 16 * model.width) * (model.length + model.width)  # one-hot, and windows laid side by side
        activations = 12 * model.stem.strands * filters * model.length + 12 * features * bins
        attention = 4 * (2 * heads + 6) * bins**2
        result = 160 * filters * bins + 8 * bins**2
        return letters + activations + attention + result

    @exactly
    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice; keys and targets play no part.

        Raises:
            SatoriError: the attention of a sequence is not finite.
        """
        pooled = self.model.pooled(batch.tokens.to(self.device))
        active = pooled > self.threshold[:, None]
        bins = occupied_bins(active)
        attention = self.model.attention_rows(pooled, bins)
        return of_bins(
            strength(attention, bins),
            pooled,
            active=active,
            threshold=self.threshold,
            model=self.model,
            tokens=batch.tokens,
        )

    @exactly
    @torch.inference_mode()
    def maps(self, batch: Batch) -> torch.Tensor:
        """Attention, float32 (B, heads, n, n); rows look at columns."""
        found: torch.Tensor = self.model(batch.tokens.to(self.device), attention=True).attention
        return found

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Return nothing: attention is exact."""
        return {}


def occupied_bins(active: torch.Tensor) -> torch.Tensor:
    """Return int64 (B,a): the bins of each sequence in which any filter is active, ascending, padded with bin 0.

    `a` is the most that any sequence has, at least 1.

    Args:
        active: bool (B,F,n).
    """
    occupied = active.any(dim=1)
    places = occupied.cumsum(dim=1)
    width = max(1, int(places[:, -1].max())) if len(occupied) else 1
    # Unoccupied bins go to a separate column, which is cut off.
    target = torch.where(occupied, places - 1, width)
    bins = torch.zeros(len(occupied), width + 1, dtype=torch.int64, device=active.device)
    numbers = torch.arange(active.shape[2], device=active.device).expand_as(target)
    return bins.scatter_(1, target, numbers)[:, :width].contiguous()


def of_bins(
    value: torch.Tensor,
    pooled: torch.Tensor,
    *,
    active: torch.Tensor,
    threshold: torch.Tensor,
    model: TrainableModel,
    tokens: torch.Tensor | None = None,
) -> SiteScores:
    """Return sites and values of occupied bins; a site is a filter active in a bin, and starts where the bin starts.

    Args:
        value: float32 (B,a,a), finite, symmetric, between the bins of `occupied_bins`.
        pooled: float32 (B,F,n).
        active: bool (B,F,n), where pooled is above the threshold.
        threshold: float32 (F,).
        model: the network of these bins.
        tokens: uint8 (B,L), the sequences, for the strands of sites; None: the given one.
    """
    relative = model.strength(pooled, threshold)
    there = active.cpu().numpy()
    example, motif, bin = np.nonzero(there)
    occupied = there.any(axis=1)
    place = occupied.cumsum(axis=1) - 1
    starts = np.arange(pooled.shape[2]) * model.pool - model.padding
    width = value.shape[1]
    used = np.arange(width) < occupied.sum(axis=1)[:, None]
    at = np.zeros(used.shape, dtype=np.int64)
    at[used] = np.broadcast_to(starts, occupied.shape)[occupied]
    strand = np.ones_like(bin)
    if tokens is not None:
        strand = model.strand_at(tokens, example, motif, starts[bin], span=model.pool)
    site = np.stack([example, motif, starts[bin], strand, place[example, bin]], axis=1)
    return ragged(site, relative[active].cpu().numpy(), at, used, value.cpu().numpy())


def build(model: Satori, threshold: torch.Tensor, **unused: Any) -> AttentionScorer:
    """Return the scorer, as `scoring.registry.build` asks for it: it follows from the model alone."""
    return AttentionScorer(model, threshold)


def strength(attention: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """Return float32 (B,a,a), symmetric: the largest attention between two bins, over heads and both directions.

    Args:
        attention: float32 (B,h,a,n), rows of the bins `bins`.
        bins: int64 (B,a), bins.

    Raises:
        SatoriError: a value is not finite.
    """
    over_heads = attention.amax(dim=1)
    among = over_heads.gather(2, bins[:, None, :].expand(-1, bins.shape[1], -1))
    if not bool(torch.isfinite(among).all()):
        raise SatoriError("the model's attention holds values that are not finite: its training diverged; train again")
    return torch.maximum(among, among.transpose(1, 2))
