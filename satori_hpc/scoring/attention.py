"""Raw attention: a pair's score is the largest attention, of any head and in either direction, between its sites.

SATORI 2.0 (lqaf209). Only the rows of attention that belong to active cells are computed.
"""

import torch

from satori_hpc.core import pairs
from satori_hpc.errors import SatoriError
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import kernel
from satori_hpc.scoring.base import PairScores

SLICE_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}


class AttentionScorer:
    """Scores batches of sequences by raw attention.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active in a cell when its pooled activation is above (strictly).

    Raises:
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    def __init__(self, model: Satori, threshold: torch.Tensor) -> None:
        if model.pool * model.cells > 2**15 - 1:
            raise SatoriError(f"sequences of {model.length} bp: distances beyond 32,767 bp cannot be stored")
        self.model = model
        self.device = next(model.parameters()).device
        self.threshold = threshold.to(self.device)

    @torch.inference_mode()
    def __call__(self, tokens: torch.Tensor) -> PairScores:
        """Score a batch, in slices small enough for the memory.

        Args:
            tokens: uint8 (B,L).

        Raises:
            SatoriError: the attention of a sequence is not finite.
        """
        size = self.slice_size()
        parts = [self._score(tokens[first : first + size].to(self.device)) for first in range(0, len(tokens), size)]
        return PairScores(
            score=torch.cat([part.score for part in parts]),
            distance=torch.cat([part.distance for part in parts]),
            sites=torch.cat([part.sites for part in parts]),
        )

    def slice_size(self) -> int:
        """Sequences per slice; follows from the model and the kind of device only."""
        heads, cells, filters = self.model.config.heads, self.model.cells, self.model.filters
        worst = 4 * (heads + 4) * cells**2 + 16 * filters * self.model.length + 6 * pairs.count(filters)
        if self.device.type != "cpu":  # the keys of every filter with every cell and every filter
            worst += 24 * filters * cells + 48 * filters**2
        return max(1, SLICE_BYTES.get(self.device.type, SLICE_BYTES["cpu"]) // worst)

    def _score(self, tokens: torch.Tensor) -> PairScores:
        pooled = self.model.pooled(tokens)
        active = pooled > self.threshold[:, None]
        cells = kernel.occupied_cells(active)
        attention = self.model.attention_rows(pooled, cells)
        return kernel.pair_scores(strength(attention, cells), cells, active=active, pool=self.model.pool)


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
