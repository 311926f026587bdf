"""From values between sites to scores of filter pairs."""

import torch

from satori_hpc.core import pairs
from satori_hpc.scoring import kernel
from satori_hpc.scoring.base import PairScores
from satori_hpc.scoring.sites import Sites

NO_PAIR = -1.0  # below every absolute value


def site_pair_scores(
    value: torch.Tensor,
    sites: Sites,
    *,
    max_distance: int,
    combine: str = "largest",
    extras: dict[str, torch.Tensor] | None = None,
) -> PairScores:
    """Score every filter pair a < b by the values between a's sites and b's.

    Of several site pairs the one of the largest absolute value counts (of equal ones the first, row by row); the score
    keeps its sign. `position` is the start index of a's site on the activation track, `distance` b's less a's.

    Args:
        value: float32 (B,M,M): value[b,i,u] belongs to site i of the smaller filter and site u of the larger; NaN = no
            pair. The diagonal is not read.
        sites: of the batch.
        max_distance: sites further apart than this (start to start, bp) are no pair; 0 = any distance.
        combine: "largest"; or "sum": the score is the sum over the site pairs, position and distance are the largest's.
        extras: further float32 (B,M,M) to give back at the site pair of the largest value.
    """
    batch, most = sites.position.shape
    filters = sites.members.shape[2]
    device = value.device
    apart = sites.position[:, None, :] - sites.position[:, :, None]
    admissible = sites.used[:, :, None] & sites.used[:, None, :] & ~value.isnan()
    admissible &= ~torch.eye(most, dtype=torch.bool, device=device)
    if max_distance:
        admissible &= apart.abs() <= max_distance

    # The kernel finds the largest, with sites in the place of cells, so that position and distance count sites.
    size = value.abs().masked_fill_(~admissible, NO_PAIR)
    numbers = torch.arange(most, device=device).expand(batch, most).contiguous()
    members = sites.members.transpose(1, 2).contiguous()
    best = kernel.pair_scores(size, numbers, active=members, pool=1)
    there = best.score >= 0
    smaller = best.position.long().masked_fill_(~there, 0)
    larger = smaller + best.distance.long().masked_fill_(~there, 0)
    entry = smaller * most + larger

    def at(matrix: torch.Tensor) -> torch.Tensor:
        return matrix.reshape(batch, -1).gather(1, entry)

    if combine == "sum":
        score = _sums(value.masked_fill(~admissible, 0.0), sites.members, filters=filters)
    else:
        score = at(value)
    start = sites.position.gather(1, smaller)
    return PairScores(
        score=score.masked_fill(~there, torch.nan),
        distance=at(apart).masked_fill_(~there, kernel.MISSING).to(torch.int16),
        position=start.masked_fill_(~there, kernel.MISSING).to(torch.int16),
        sites=sites.used.sum(dim=1),
        extras={name: at(matrix).masked_fill(~there, torch.nan) for name, matrix in (extras or {}).items()},
    )


def _sums(value: torch.Tensor, members: torch.Tensor, *, filters: int) -> torch.Tensor:
    """float32 (B,P): sums of value (B,M,M) over the sites of either filter; in float64, so that order is no matter."""
    counts = members.double()
    total = counts.transpose(1, 2) @ value.double() @ counts
    first, second = (torch.from_numpy(side).long().to(value.device) for side in pairs.filters_of(filters))
    return total[:, first, second].float()
