"""DFIM: how much mutating one motif site changes the attribution of another.

Attributions are integrated gradients from random baselines to the sequence. A sequence and all its mutants share their
baselines, so that a mutation without effect scores 0 and the noise of baselines falls out of the difference; several
baselines and several mutations are averaged, with their sign. Greenside et al. 2018 for DFIM, SATORI (lqaf209) for its
use on filters; `legacy` is SATORI's own way.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from satori_hpc.config import Dfim, Score
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import draws, sites
from satori_hpc.scoring.base import FIRST, LARGEST_SIZE, Batch, SiteScores, must_fit
from satori_hpc.scoring.fast import Network, Rule, rules
from satori_hpc.scoring.fast.letters import LetterAttributions
from satori_hpc.scoring.fast.precision import exactly
from satori_hpc.scoring.sites import Sites, site_scores

# The mutants that are compared with the original, and the response that is read: the features of DFIM.
#
# Letters are (4, L) columns, so that a site can also be replaced by base frequencies or by nothing.


@dataclass(frozen=True)
class Mutants:
    """The mutants of one sequence.

    Attributes:
        letters: (V, 4, L).
        site: int64 (V,), number of the mutated site.
    """

    letters: torch.Tensor
    site: torch.Tensor


def frequencies(like: torch.Tensor) -> torch.Tensor:
    """Return a column (4,) of base frequencies, 46 % G and C, as published."""
    return torch.tensor([0.27, 0.23, 0.23, 0.27], dtype=like.dtype, device=like.device)


def make(original: torch.Tensor, windows: torch.Tensor, drawn: torch.Tensor, *, settings: Dfim) -> Mutants:
    """Make all mutants of a sequence, grouped by site.

    Args:
        original: (4, L) bases.
        windows: bool (m, L), the positions of each site.
        drawn: (number, 4, L) random bases, for `settings.mutation` "random".
        settings: which features; one draw counts with settings.legacy.
    """
    if settings.feature == "base" and not settings.legacy:
        return _bases(original, windows)
    if settings.legacy:
        fills = drawn[:1]
    elif settings.mutation == "random":
        fills = drawn
    else:
        column = frequencies(original) * (settings.mutation == "frequencies")
        fills = column[None, :, None].expand(1, -1, original.shape[1])
    site = torch.arange(len(windows), device=original.device).repeat_interleave(len(fills))
    repeated = fills.repeat(len(windows), 1, 1)
    return Mutants(torch.where(windows[site][:, None], repeated, original), site)


def _bases(original: torch.Tensor, windows: torch.Tensor) -> Mutants:
    """Change each base of each site to each other base; an unknown base to all four."""
    site, place, letter = (windows[:, :, None] & (original.T == 0)).nonzero().unbind(1)
    letters = original.repeat(len(site), 1, 1)
    rows = torch.arange(len(site), device=original.device)
    letters[rows, :, place] = 0
    letters[rows, letter, place] = 1
    return Mutants(letters, site)


def window_mask(starts: torch.Tensor, *, length: int, width: torch.Tensor) -> torch.Tensor:
    """Return bool (m, L): the positions of each site, from starts and widths, int64 (m,)."""
    track = torch.arange(length, device=starts.device)
    return (track >= starts[:, None]) & (track < (starts + width)[:, None])


def site_map(change: torch.Tensor, mutants: Mutants, windows: torch.Tensor, *, settings: Dfim) -> torch.Tensor:
    """Return the change of the attribution of every site when another is mutated, (m source, m target), signed.

    Args:
        change: (V, L), attribution of each base in the original minus that in the mutant.
        mutants: whose changes these are.
        windows: bool (m, L), the positions of each site.
        settings: which features; legacy: sums over one draw.
    """
    sites = len(windows)
    largest_source = settings.feature == "base" and not settings.legacy
    if not largest_source:  # different bases in place of a site are averaged, position by position
        change = change.unflatten(0, (sites, -1)).mean(dim=1)
    if settings.response == "sum" or settings.legacy:
        read = change @ windows.to(change.dtype).T
    else:
        read = torch.stack([_largest(change[:, window], dim=1) for window in windows], dim=1)
    if largest_source:
        read = (
            _largest(read.unflatten(0, (sites, -1)), dim=1) if _even(mutants, sites) else _by_site(read, mutants, sites)
        )
    return read


def _even(mutants: Mutants, sites: int) -> bool:
    """Return whether all sites have the same number of mutants, that is no unknown bases."""
    return bool((torch.bincount(mutants.site, minlength=sites) * sites == len(mutants.site)).all())


def _by_site(read: torch.Tensor, mutants: Mutants, sites: int) -> torch.Tensor:
    return torch.stack([_largest(read[mutants.site == site], dim=0) for site in range(sites)])


def _largest(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the value of largest magnitude, signed."""
    return values.gather(dim, values.abs().argmax(dim=dim, keepdim=True)).squeeze(dim)


LEGACY_STEPS = 50
PERMUTED = 2  # added to the side in keys: the permuted sequences draw their own bases


def rule_of(settings: Dfim, *, finer: int = 1) -> Rule:
    """Return the quadrature rule between baseline and sequence; `finer` times as many steps."""
    if settings.legacy:
        return Rule.of("gauss-legendre", finer * LEGACY_STEPS)
    if settings.attribution == "gradient":
        return rules.POINT
    if settings.attribution == "deeplift":
        return Rule.of("secant", finer)
    return Rule.of("secant" if settings.rule == "auto" else settings.rule, finer * settings.steps)


class DfimScorer:
    """Scores sequences by DFIM; see SiteScorer.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active where its activation is above (strictly).
        settings: the section [score].
        seed: of the run.
        composition: float64 (4,), base frequencies of random baselines.
        dtype: of the paths; float64 for references.

    Raises:
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    directed = True
    pool = 1
    effects: tuple[str, ...] = ("single",)  # the attribution of a site

    def __init__(
        self,
        model: Satori,
        threshold: torch.Tensor,
        *,
        settings: Score,
        seed: int,
        composition: np.ndarray,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        must_fit(model.length)
        self.model = model
        self.widths = model.site_widths.astype(np.int16)
        self.settings = settings.dfim
        self._sites = settings.sites
        self._seed = seed
        self._composition = composition
        self._net = Network(model, dtype=dtype, trunk=settings.precision)
        self.device = self._net.device
        self.threshold = threshold.to(self.device)
        self._letters = LetterAttributions(self._net, rule_of(self.settings))
        self._with_null = self.settings.null and not self.settings.legacy

    @property
    def extras(self) -> tuple[str, ...]:
        """The values in the permuted sequence, if they are asked for."""
        return ("null",) if self._with_null else ()

    @property
    def choose(self) -> str:
        """The larger direction of the largest pair; legacy: the pair that a loop over the sites meets first."""
        return FIRST if self.settings.legacy else LARGEST_SIZE

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example."""
        each = self.model.filters if self._sites.filters == "all" else 1
        return each * self._sites.max_sites, self._sites.max_sites

    @property
    def slice_size(self) -> int:
        """Sequences per call: one has hundreds of paths."""
        return 1

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound."""
        model, settings, most = self.model, self.settings, self._sites.max_sites
        each = 3 * model.width if settings.feature == "base" else settings.mutations
        letters = (
            8 * model.length * (4 * (3 * most * each + settings.baselines + 8) + 6 * model.stem.strands * model.filters)
        )
        return letters + self._letters.bytes_needed + 64 * most * (most + model.filters)

    @exactly
    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice."""
        activations = self._activations(batch)
        found = self._find_sites(activations)
        extras = {}
        if self._with_null:
            extras["null"], _ = self._maps(permuted(batch, seed=self._seed), found, self._letters)
        directed, single = self._maps(batch, found, self._letters)
        return site_scores(
            directed,
            found,
            sites.strengths(self.model, activations, self.threshold, found, self._sites),
            padding=self.model.padding,
            strand_at=partial(self.model.strand_at, batch.tokens),
            max_distance=0 if self.settings.legacy else self._sites.max_distance,
            directed=True,
            extras=extras,
            effects={"single": single},
        )

    @exactly
    @torch.inference_mode()
    def maps(self, batch: Batch) -> tuple[Sites, torch.Tensor]:
        """Return the sites, and float32 (B, M, M): change at the target (second) when the source (first) is mutated.

        Positive: the target contributes less without the source. NaN on the diagonal and for missing sites.
        """
        found = self._find_sites(self._activations(batch))
        return found, self._maps(batch, found, self._letters)[0]

    @exactly
    @torch.inference_mode()
    def map_sites(self, batch: Batch, found: Sites) -> torch.Tensor:
        """Compute the same map for given sites, float32 (B, M, M)."""
        return self._maps(batch, found, self._letters)[0]

    @exactly
    @torch.inference_mode()
    def permuted_maps(self, batch: Batch) -> torch.Tensor:
        """Compute the same maps for sequences with permuted bases, with the sites unchanged."""
        found = self._find_sites(self._activations(batch))
        return self._maps(permuted(batch, seed=self._seed), found, self._letters)[0]

    @exactly
    @torch.inference_mode()
    def attributions(self, batch: Batch) -> torch.Tensor:
        """Return the attribution of every base of the sequences, float32 (B, L), averaged over the baselines."""
        weights, found = self._weights(batch), []
        for row in range(len(batch)):
            only = slice(row, row + 1)
            end = self._net.one_hot(batch.tokens[only].to(self.device))
            starts = self._baselines(batch.keys[only], 1)
            every = self._letters.of(starts, end.expand_as(starts), weights[only], end)
            found.append(every.mean(dim=0))
        return torch.stack(found).float()

    @exactly
    @torch.inference_mode()
    def contributions(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the `attributions`, float32 (B, L), and the hypothetical contributions, float32 (B, 4, L).

        A hypothetical contribution is that of a base if it were there: with multipliers m on the path
        from a baseline s, m[base] - sum over c of m[c] s[c], the mean over the baselines. At the bases of the
        sequence these sum to the target minus its mean at the baselines; `attributions` exclude
        the contributions of the baselines' own bases there.
        """
        weights, letters, hypothetical = self._weights(batch), [], []
        for row in range(len(batch)):
            only = slice(row, row + 1)
            end = self._net.one_hot(batch.tokens[only].to(self.device))
            starts = self._baselines(batch.keys[only], 1)
            found = self._letters.multipliers(starts, end.expand_as(starts), weights[only])
            letters.append((found * (end - starts) * end).sum(dim=1).mean(dim=0))
            hypothetical.append((found - (found * starts).sum(dim=1, keepdim=True)).mean(dim=0))
        return torch.stack(letters).float(), torch.stack(hypothetical).float()

    @exactly
    @torch.inference_mode()
    def estimate(self, batch: Batch) -> dict[str, float]:
        """Estimate the error of a sample: maps compared with those of twice the steps (root mean square).

        None without steps.
        """
        if self.settings.attribution == "gradient" and not self.settings.legacy:
            return {}
        found = self._find_sites(self._activations(batch))
        coarse, _ = self._maps(batch, found, self._letters)
        fine, _ = self._maps(batch, found, LetterAttributions(self._net, rule_of(self.settings, finer=2)))
        there = ~coarse.isnan()
        scale = fine[there].norm()
        return {"steps": float((coarse[there] - fine[there]).norm() / scale)} if scale > 0 else {}

    def _activations(self, batch: Batch) -> torch.Tensor:
        return self.model.site_activations(batch.tokens.to(self.device))

    def _find_sites(self, activations: torch.Tensor) -> Sites:
        return sites.of_network(self.model, activations, self.threshold, self._sites, most=self._sites.max_sites)

    def _weights(self, batch: Batch) -> torch.Tensor:
        """Return (B, C), weights of the logits in the explained sum."""
        weights = self._net.weights(batch.targets, len(batch))
        if self.settings.legacy and self.model.config.output == "two":  # the logit of the sequence's own class
            own = (batch.keys[:, 0] % PERMUTED == 0).to(self.device, torch.int64)
            weights = torch.eye(2, dtype=weights.dtype, device=self.device)[own]
        return weights

    def _baselines(self, keys: torch.Tensor, number: int) -> torch.Tensor:
        """Return the baselines (n, 4, L) of one sequence: in legacy `number` of them, else the shared ones."""
        settings, length = self.settings, self.model.length
        fixed = torch.zeros(1, 4, length, dtype=self._net.dtype, device=self.device)
        if settings.legacy or (settings.baseline == "random" and settings.attribution != "gradient"):
            number = number if settings.legacy else settings.baselines
            drawn = draws.baselines(keys, seed=self._seed, number=number, length=length, composition=self._composition)
            return self._net.one_hot(drawn[0].to(self.device))
        if settings.baseline == "frequencies" and settings.attribution != "gradient":
            fixed += frequencies(fixed)[:, None]
        return fixed  # gradient x input starts at nothing

    def _maps(self, batch: Batch, found: Sites, letters: LetterAttributions) -> tuple[torch.Tensor, torch.Tensor]:
        """Return directed changes (B, M, M), NaN where there is none, and attributions of the sites (B, M)."""
        most, weights, widths = found.position.shape[1], self._weights(batch), found.widths_in(self.model)
        out = torch.full((len(batch), most, most), torch.nan, device=self.device)
        single = out[:, :, 0].clone()
        for row, used in enumerate(found.used.sum(dim=1).tolist()):
            if used:
                only = slice(row, row + 1)
                one = Batch(batch.tokens[only].to(self.device), batch.keys[only])
                out[row, :used, :used], single[row, :used] = self._map(
                    one, found.position[row, :used], widths[row, :used], weights[only], letters
                )
        return out, single

    def _map(
        self,
        one: Batch,
        position: torch.Tensor,
        width: torch.Tensor,
        weights: torch.Tensor,
        letters: LetterAttributions,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changes (m, m) and attributions (m,) of the sites of one sequence."""
        settings = self.settings
        number = 1 if settings.legacy else settings.mutations
        drawn = self._net.one_hot(draws.replacements(one.tokens, one.keys, seed=self._seed, number=number)[0])
        original, starts = self._net.one_hot(one.tokens), position - self.model.padding
        windows = window_mask(starts, length=original.shape[2], width=width)
        made = make(original[0], windows, drawn, settings=settings)
        if settings.legacy:
            change, own = self._legacy_change(one.keys, original, made, weights, letters)
        else:
            each = [
                letters.changes(start[None], original, made.letters, position=position[made.site], weights=weights)
                for start in self._baselines(one.keys, 1)
            ]
            change, own = (torch.stack(values).mean(dim=0) for values in zip(*each, strict=True))
        directed = site_map(change, made, windows, settings=settings)
        single = windows.to(own.dtype) @ own
        return directed.fill_diagonal_(torch.nan).float(), single.float()

    def _legacy_change(
        self,
        keys: torch.Tensor,
        original: torch.Tensor,
        made: Mutants,
        weights: torch.Tensor,
        letters: LetterAttributions,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (V, L) and (L,) as LetterAttributions.changes, with separate baselines for each mutant."""
        every = torch.cat((original, made.letters))
        found = letters.of(self._baselines(keys, len(every)), every, weights, original)
        return found[:1] - found[1:], found[0]


def permuted(batch: Batch, *, seed: int) -> Batch:
    """Return the sequences with their bases permuted, each independently."""
    keys = batch.keys.clone()
    keys[:, 0] += PERMUTED
    order = draws.permutations(keys, seed=seed, length=batch.tokens.shape[1])
    return Batch(batch.tokens.gather(1, order.to(batch.tokens.device)), keys, batch.targets)
