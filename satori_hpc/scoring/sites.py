"""Motif sites: the windows of a sequence that are mutated, the strongest first, none overlapping another."""

from dataclasses import dataclass

import torch

SMALLEST_THRESHOLD = 1e-12  # a threshold of 0 divides nothing; the larger activation still comes first


@dataclass(frozen=True)
class Sites:
    """The sites of a batch, M of each sequence at most.

    Attributes:
        position: int64 (B,M), index j on the activation track; the site is the letters j - padding .. j - padding +
            width - 1, all inside the sequence. Rising; 0 where unused.
        used: bool (B,M), True for the first few of a row.
        members: bool (B,M,F), the filters that a site counts for; at least one of a used site.
    """

    position: torch.Tensor
    used: torch.Tensor
    members: torch.Tensor


def strongest(
    activations: torch.Tensor, threshold: torch.Tensor, *, padding: int, width: int, most: int, all_filters: bool
) -> Sites:
    """Choose sites: the position of the largest activation relative to its filter's threshold, then the next.

    Positions whose windows overlap a chosen one are out. Of equal values the first position, then the first filter.

    Args:
        activations: float32 (B,F,L) before pooling.
        threshold: float32 (F,): a filter is active where its activation is above (strictly).
        padding: zero columns left of the sequence.
        width: of a filter, bp.
        most: M, sites of a sequence at most.
        all_filters: a site counts for every filter that is active within width // 2 of it; else for its strongest.
    """
    batch, filters, length = activations.shape
    device = activations.device
    active = activations > threshold[:, None]
    relative = activations / threshold.clamp(min=SMALLEST_THRESHOLD)[:, None]
    value, filter_ = relative.masked_fill_(~active, -torch.inf).max(dim=1)
    track = torch.arange(length, device=device)
    value.masked_fill_((track < padding) | (track > length - width + padding), -torch.inf)

    found, used = [], []
    for _ in range(most):
        best, position = value.max(dim=1)
        found.append(position)
        used.append(best > -torch.inf)
        value.masked_fill_((track - position[:, None]).abs() < width, -torch.inf)
    there = torch.stack(used, dim=1)
    # Unused ones are sent behind the last position, and come last.
    position = torch.stack(found, dim=1).masked_fill_(~there, length).sort(dim=1).values
    there = position < length
    position.masked_fill_(~there, 0)

    if all_filters:
        members = _active_near(active, position, reach=width // 2)
    else:
        members = torch.zeros(batch, most, filters, dtype=torch.bool, device=device)
        members.scatter_(2, filter_.gather(1, position)[:, :, None], True)
    return Sites(position=position, used=there, members=members & there[:, :, None])


def _active_near(active: torch.Tensor, position: torch.Tensor, *, reach: int) -> torch.Tensor:
    """bool (B,M,F): whether a filter is active at most `reach` from a position, from bool (B,F,L)."""
    length = active.shape[2]
    # count[j] = active positions before j: a difference of two tells whether there is any between.
    count = torch.nn.functional.pad(active.cumsum(dim=2, dtype=torch.int32), (1, 0))
    first = (position - reach).clamp(min=0)
    behind = (position + reach + 1).clamp(max=length)
    shape = (-1, active.shape[1], -1)
    between = count.gather(2, behind[:, None].expand(shape)) - count.gather(2, first[:, None].expand(shape))
    return (between > 0).transpose(1, 2)
