"""Raw attention: a pair's score is the largest attention, of any head and in either direction, between its sites.

SATORI 2.0 (lqaf209). Only the rows of attention that belong to active cells are computed.
"""

from typing import Any

import torch

from satori_hpc import pairs
from satori_hpc.errors import SatoriError
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import pair_kernel
from satori_hpc.scoring.base import Batch, PairScores, must_fit
from satori_hpc.scoring.fast.precision import exactly

CPU_SLICE = 16  # the fastest: what a slice needs stays in the cache
DEVICE_SLICE_BYTES = 1 << 30


class AttentionScorer:
    """Scores slices of sequences by raw attention; see PairScorer.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active in a cell when its pooled activation is above (strictly).

    Raises:
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    def __init__(self, model: Satori, threshold: torch.Tensor) -> None:
        must_fit(model.pool * model.cells)
        self.model = model
        self.device = next(model.parameters()).device
        self.threshold = threshold.to(self.device)

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the further arrays that it gives for every pair: none."""
        return ()

    @property
    def slice_size(self) -> int:
        """Sequences per call; follows from the model and the kind of device only."""
        if self.device.type == "cpu":
            return CPU_SLICE
        return max(1, DEVICE_SLICE_BYTES // self.bytes_per_sequence)

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound, with every filter active in every cell."""
        model, config = self.model, self.model.config
        heads, cells, filters = config.heads, model.cells, model.filters
        features = filters + 3 * heads * config.head_size
        if config.recurrent:
            features += 20 * config.recurrent_size  # states, and gates of both directions
        letters = (64 + 16 * model.width) * (model.length + model.width)  # one-hot, and windows laid side by side
        activations = 12 * filters * model.length + 12 * features * cells
        attention = 4 * (2 * heads + 6) * cells**2
        sites = 48 * filters * cells
        result = 8 * pairs.count(filters)
        if self.device.type != "cpu":  # the keys of every filter with every cell and every filter
            result += 32 * filters * cells + 80 * filters**2
        return letters + activations + attention + sites + result

    @exactly
    @torch.inference_mode()
    def __call__(self, batch: Batch) -> PairScores:
        """Score a slice; keys and targets play no part.

        Raises:
            SatoriError: the attention of a sequence is not finite.
        """
        pooled = self.model.pooled(batch.tokens.to(self.device))
        active = pooled > self.threshold[:, None]
        cells = pair_kernel.occupied_cells(active)
        attention = self.model.attention_rows(pooled, cells)
        return pair_kernel.pair_scores(strength(attention, cells), cells, active=active, pool=self.model.pool)

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Nothing: attention is read off, not approximated."""
        return {}


def build(model: Satori, threshold: torch.Tensor, **unused: Any) -> AttentionScorer:
    """The scorer, as `scoring.registry.build` asks for it: it follows from the model alone."""
    return AttentionScorer(model, threshold)


def strength(attention: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """float32 (B,a,a), symmetric: the largest attention between two cells, over heads and both directions.

    Args:
        attention: float32 (B,h,a,n), rows of the cells `cells`.
        cells: int64 (B,a).

    Raises:
        SatoriError: a value is not finite.
    """
    over_heads = attention.amax(dim=1)
    among = over_heads.gather(2, cells[:, None, :].expand(-1, cells.shape[1], -1))
    if not bool(torch.isfinite(among).all()):
        raise SatoriError("the model's attention holds values that are not finite: its training diverged; train again")
    return torch.maximum(among, among.transpose(1, 2))
