"""Motif sites: the windows of a sequence that are mutated, the strongest first, none overlapping another."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from satori_hpc.config.score import Sites as Settings
from satori_hpc.models.base import SMALLEST_THRESHOLD, TrainableModel
from satori_hpc.scoring.site_scores import SiteScores, ragged


@dataclass(frozen=True)
class Sites:
    """The sites of a batch, M of each sequence at most.

    Attributes:
        position: int64 (B,M), index j on the activation track; the site is the letters j - padding .. j - padding +
            width - 1, all inside the sequence. Rising; 0 where unused.
        used: bool (B,M), True for the first few of a row.
        members: bool (B,M,F), the filters that a site counts for; at least one of a used site.
        widths: int64 (B,M), bp of each; None: all have that of the filters.
    """

    position: torch.Tensor
    used: torch.Tensor
    members: torch.Tensor
    widths: torch.Tensor | None = None

    def widths_in(self, model: TrainableModel) -> torch.Tensor:
        """Return int64 (B,M), bp of every site of this network."""
        return torch.full_like(self.position, model.width) if self.widths is None else self.widths


def of_network(
    model: TrainableModel, activations: torch.Tensor, threshold: torch.Tensor, settings: Settings, *, most: int
) -> Sites:
    """Choose the sites of a network's first layer; see `strongest`.

    Args:
        model: whose activations these are.
        activations: float32 (B,F,L) before pooling.
        threshold: float32 (F,).
        settings: the section [score.sites].
        most: M, sites of a sequence at most.
    """
    return strongest(
        activations,
        threshold,
        padding=model.padding,
        width=torch.from_numpy(model.site_widths).to(activations.device),
        most=most,
        all_filters=settings.filters == "all",
        strength=model.strength(activations, threshold),
    )


def strengths(
    model: TrainableModel, activations: torch.Tensor, threshold: torch.Tensor, found: Sites, settings: Settings
) -> torch.Tensor:
    """Return float32 (B,M,F): the strength of each filter at each site; arguments as of `of_network`."""
    reach = int(model.site_widths.min()) // 2 if settings.filters == "all" else 0
    return largest_at(model.strength(activations, threshold), found, reach=reach)


def strongest(
    activations: torch.Tensor,
    threshold: torch.Tensor,
    *,
    padding: int,
    width: int | torch.Tensor,
    most: int,
    all_filters: bool,
    strength: torch.Tensor | None = None,
) -> Sites:
    """Choose sites: the position with the strongest active filter, then the next.

    Positions whose windows overlap a chosen one are out. Of equal values the first position, then the first filter.

    Args:
        activations: float32 (B,F,L) before pooling.
        threshold: float32 (F,): a filter is active where its activation is above (strictly).
        padding: zero columns left of the sequence.
        width: of every filter, bp, or int64 (F,) of each. Narrower ones must not be active beyond the sequence's end.
        most: M, sites of a sequence at most.
        all_filters: a site counts for every filter that is active within half of the smallest width of it; else for its
            strongest.
        strength: float32 (B,F,L), used up; None: activations relative to the thresholds.
    """
    batch, filters, length = activations.shape
    device = activations.device
    active = activations > threshold[:, None]
    if strength is None:
        strength = activations / threshold.clamp(min=SMALLEST_THRESHOLD)[:, None]
    value, filter_ = strength.masked_fill_(~active, -torch.inf).max(dim=1)
    widths = torch.as_tensor(width, device=device).expand(filters)
    narrowest, own = int(widths.min()), widths[filter_]
    track = torch.arange(length, device=device)
    value.masked_fill_((track < padding) | (track > length - narrowest + padding), -torch.inf)

    found, used = [], []
    for _ in range(most):
        best, position = value.max(dim=1)
        found.append(position)
        used.append(best > -torch.inf)
        away = track - position[:, None]
        value.masked_fill_((away < own.gather(1, position[:, None])) & (-away < own), -torch.inf)
    there = torch.stack(used, dim=1)
    # Unused ones are moved after the last position, and come last.
    position = torch.stack(found, dim=1).masked_fill_(~there, length).sort(dim=1).values
    there = position < length
    position.masked_fill_(~there, 0)

    if all_filters:
        members = _active_near(active, position, reach=narrowest // 2)
    else:
        members = torch.zeros(batch, most, filters, dtype=torch.bool, device=device)
        members.scatter_(2, filter_.gather(1, position)[:, :, None], True)
    chosen = own.gather(1, position).masked_fill_(~there, 0)
    return Sites(position=position, used=there, members=members & there[:, :, None], widths=chosen)


def _active_near(active: torch.Tensor, position: torch.Tensor, *, reach: int) -> torch.Tensor:
    """Return bool (B,M,F): whether a filter is active at most `reach` from a position, from bool (B,F,L)."""
    length = active.shape[2]
    # count[j] = active positions before j: the difference of two shows whether there is any between.
    count = torch.nn.functional.pad(active.cumsum(dim=2, dtype=torch.int32), (1, 0))
    first = (position - reach).clamp(min=0)
    behind = (position + reach + 1).clamp(max=length)
    shape = (-1, active.shape[1], -1)
    between = count.gather(2, behind[:, None].expand(shape)) - count.gather(2, first[:, None].expand(shape))
    return (between > 0).transpose(1, 2)


# Convert padded tensors of sites to the store's format.


def site_scores(
    value: torch.Tensor,
    sites: Sites,
    activations: torch.Tensor,
    *,
    padding: int,
    max_distance: int,
    directed: bool = False,
    strand_at: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
    extras: dict[str, torch.Tensor] | None = None,
    effects: dict[str, torch.Tensor] | None = None,
) -> SiteScores:
    """Return sites, a place for each of them, and the values between them.

    Args:
        value: float32 (B,M,M), NaN = no pair; symmetric unless directed. The diagonal is not read.
        sites: of the batch; one that counts for several filters becomes several sites in one place.
        activations: float32 (B,M,F), strengths of the filters at the sites.
        padding: zero columns left of the sequence.
        max_distance: sites further apart than this (start to start, bp) are no pair; 0 = any distance.
        directed: value[b,i,u] is from site i to site u.
        strand_at: maps example, motif and start of sites, (S,) each, to their strands; None: 1.
        extras: further (B,M,M), by name.
        effects: (B,M) of single sites, by name.
    """
    maps = {"value": value, **(extras or {})}
    if max_distance:
        far = (sites.position[:, None, :] - sites.position[:, :, None]).abs() > max_distance
        maps = {name: values.masked_fill(far, torch.nan) for name, values in maps.items()}
    told = {name: values.cpu().numpy() for name, values in maps.items()}
    example, motif, place = np.nonzero(sites.members.transpose(1, 2).cpu().numpy())
    start = sites.position.cpu().numpy() - padding
    strength = activations.cpu().numpy()[example, place, motif]
    begin = start[example, place]
    strand = np.ones_like(place) if strand_at is None else strand_at(example, motif, begin)
    return ragged(
        np.stack([example, motif, begin, strand, place], axis=1),
        strength,
        start,
        sites.used.cpu().numpy(),
        told.pop("value"),
        directed=directed,
        extras=told,
        effects={name: values.cpu().numpy() for name, values in (effects or {}).items()},
    )


def largest_at(strength: torch.Tensor, sites: Sites, *, reach: int) -> torch.Tensor:
    """Return float32 (B,M,F): the largest strength within `reach` of each site.

    Args:
        strength: float32 (B,F,L).
        sites: of the batch.
        reach: positions to either side.
    """
    length = strength.shape[2]
    found = None
    for step in range(-reach, reach + 1):
        at = (sites.position + step).clamp(0, length - 1)
        here = strength.gather(2, at[:, None, :].expand(-1, strength.shape[1], -1))
        found = here if found is None else torch.maximum(found, here)
    assert found is not None
    return found.transpose(1, 2)


# The pooling bins that a mutated window changes, and their input bases.
#
# A window of width W at index j of the activation track changes activations j - W + 1 .. j + W - 1, which are in at
# most
# `count` bins. All regions have this size, so that they form one tensor.

UNKNOWN = 4


def count(*, width: int, pool: int, bins: int) -> int:
    """Return k, the number of bins of a region: the most that the change of a window can affect.

    Args:
        width: W, of a filter, bp.
        pool: bp per bin.
        bins: n bins of the sequence.
    """
    touched = 2 * width - 1
    return min(bins, (touched + pool - 2) // pool + 1)


def first_bin(position: torch.Tensor, *, width: int, pool: int, bins: int) -> torch.Tensor:
    """Return the first bin of the region of each window, of the shape of `position`.

    Args:
        position: int64, index j of windows on the activation track.
        width, pool, bins: as above.
    """
    first = torch.div(position - (width - 1), pool, rounding_mode="floor")
    return first.clamp(min=0, max=bins - count(width=width, pool=pool, bins=bins))


def letters_of(
    tokens: torch.Tensor, first: torch.Tensor, *, width: int, padding: int, pool: int, bins: int
) -> torch.Tensor:
    """Return the input bases of the bins of a region, uint8 (V, k * pool + W - 1), with the padding code outside.

    A valid convolution over them gives the activation track of these bins.

    Args:
        tokens: uint8 (V,L).
        first: int64 (V,), from `first_bin`.
        width, padding, pool, bins: of the model.
    """
    size = count(width=width, pool=pool, bins=bins) * pool + width - 1
    place = first[:, None] * pool - padding + torch.arange(size, device=tokens.device)
    outside = (place < 0) | (place >= tokens.shape[1])
    return tokens.gather(1, place.clamp(0, tokens.shape[1] - 1)).masked_fill_(outside, UNKNOWN)
