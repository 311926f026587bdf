"""Which sequences are compared with the original, and what of their attributions is read: the features of DFIM.

Letters are (4, L) columns, so that a site can also be replaced by letter frequencies or by nothing.
"""

from dataclasses import dataclass

import torch

from satori_hpc.config import Dfim


@dataclass(frozen=True)
class Mutants:
    """The mutants of one sequence.

    Attributes:
        letters: (V, 4, L).
        site: int64 (V,), number of the mutated site.
    """

    letters: torch.Tensor
    site: torch.Tensor


def frequencies(gc: float, like: torch.Tensor) -> torch.Tensor:
    """A column (4,) of letter frequencies with this share of G and C."""
    return torch.tensor([(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2], dtype=like.dtype, device=like.device)


def make(original: torch.Tensor, starts: torch.Tensor, drawn: torch.Tensor, *, width: int, settings: Dfim) -> Mutants:
    """All mutants of a sequence, those of a site behind each other.

    Args:
        original: (4, L) letters.
        starts: int64 (m,), first letter of each site.
        drawn: (number, 4, L) random letters, for `settings.mutation` "random".
        width: of a site, bp.
        settings: which features; one draw counts with settings.legacy.
    """
    if settings.feature == "base" and not settings.legacy:
        return _bases(original, starts, width=width)
    if settings.legacy:
        fills = drawn[:1]
    elif settings.mutation == "random":
        fills = drawn
    else:
        column = frequencies(settings.mutation_gc, original) * (settings.mutation == "frequencies")
        fills = column[None, :, None].expand(1, -1, original.shape[1])
    site = torch.arange(len(starts), device=original.device).repeat_interleave(len(fills))
    inside = window_mask(starts, length=original.shape[1], width=width)[site]
    repeated = fills.repeat(len(starts), 1, 1)
    return Mutants(torch.where(inside[:, None], repeated, original), site)


def _bases(original: torch.Tensor, starts: torch.Tensor, *, width: int) -> Mutants:
    """Each base of each site changed to each other letter; at an unknown letter to all four."""
    device = original.device
    site = torch.arange(len(starts), device=device).repeat_interleave(4 * width)
    place = (starts[:, None] + torch.arange(width, device=device)).flatten().repeat_interleave(4)
    letter = torch.arange(4, device=device).repeat(len(starts) * width)
    other = original[letter, place] == 0
    site, place, letter = site[other], place[other], letter[other]
    letters = original.repeat(len(site), 1, 1)
    rows = torch.arange(len(site), device=device)
    letters[rows, :, place] = 0
    letters[rows, letter, place] = 1
    return Mutants(letters, site)


def window_mask(starts: torch.Tensor, *, length: int, width: int) -> torch.Tensor:
    """bool (m, L): the letters of each site."""
    track = torch.arange(length, device=starts.device)
    return (track >= starts[:, None]) & (track < starts[:, None] + width)


def site_map(
    change: torch.Tensor, mutants: Mutants, starts: torch.Tensor, *, width: int, settings: Dfim
) -> torch.Tensor:
    """How much mutating each site changes the attribution of every other, (m source, m target), sign kept.

    Args:
        change: (V, L), attribution of each letter in the original less that in the mutant.
        mutants: whose changes these are.
        starts: int64 (m,), first letter of each site.
        width: of a site, bp.
        settings: which features; legacy: sums over one draw.
    """
    sites, length = len(starts), change.shape[1]
    largest_source = settings.feature == "base" and not settings.legacy
    if not largest_source:  # different letters in place of a site are averaged, position by position
        change = change.unflatten(0, (sites, -1)).mean(dim=1)
    if settings.response == "sum" or settings.legacy:
        read = change @ window_mask(starts, length=length, width=width).to(change.dtype).T
    else:
        windows = starts[:, None] + torch.arange(width, device=starts.device)
        read = _largest(change[:, windows], dim=2)
    if largest_source:
        read = (
            _largest(read.unflatten(0, (sites, -1)), dim=1) if _even(mutants, sites) else _by_site(read, mutants, sites)
        )
    return read


def _even(mutants: Mutants, sites: int) -> bool:
    """Whether all sites have the same number of mutants: no letter of theirs is unknown."""
    return bool((torch.bincount(mutants.site, minlength=sites) * sites == len(mutants.site)).all())


def _by_site(read: torch.Tensor, mutants: Mutants, sites: int) -> torch.Tensor:
    return torch.stack([_largest(read[mutants.site == site], dim=0) for site in range(sites)])


def _largest(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The value of the largest size, with its sign."""
    return values.gather(dim, values.abs().argmax(dim=dim, keepdim=True)).squeeze(dim)
