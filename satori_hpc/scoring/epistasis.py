"""Double mutants: the joint effect of two sites minus the sum of their single effects.

E = F(x) - F(x without i) - F(x without j) + F(x without both), where the windows of sites i and j have the same random
bases in all four sequences and F is a logit. It is 0 in a network that is additive in its motifs, and needs
for forward passes only.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from satori_hpc.config import Score
from satori_hpc.errors import SatoriError
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import draws, sites
from satori_hpc.scoring.base import LARGEST_SIZE, Batch, SiteScores, must_fit
from satori_hpc.scoring.fast.mutants import Variants
from satori_hpc.scoring.fast.precision import precision
from satori_hpc.scoring.sites import Sites, site_scores

CPU_SLICE = 4
DEVICE_SLICE_BYTES = 4 << 30


@dataclass(frozen=True)
class _Plan:
    """Variants of a sequence with m sites, of which p pairs are mutated together, c of them with shared bins.

    Attributes:
        first: int64 (m,), first bin of each site's region.
        pairs: int64 (2,p), sites i < j.
        close: int64 (2,c), those of them whose regions share bins.
        index: int64 (1 + m + p, n): rows of the table for the sequence, its single and its double mutants.
    """

    first: torch.Tensor
    pairs: torch.Tensor
    close: torch.Tensor
    index: torch.Tensor


@dataclass(frozen=True)
class _Drawn:
    """Effects for each of D draws of random bases.

    Attributes:
        sites: of the batch.
        strength: float32 (B,M,F), of the filters at the sites; None of sites that were given.
        value: float64 (B,D,M,M), E between sites, symmetric; NaN where they are no pair.
        single: float64 (B,D,M), F(x) - F(x without the site); NaN where there is none.
    """

    sites: Sites
    strength: torch.Tensor | None
    value: torch.Tensor
    single: torch.Tensor


class EpistasisScorer:
    """Score slices of sequences by double mutants; see SiteScorer.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active where its activation is above (strictly).
        settings: the section [score].
        seed: of the run.
        composition: not used; mutations have the composition of their sequence.

    Raises:
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    directed = False
    choose = LARGEST_SIZE
    extras: tuple[str, ...] = ()
    pool = 1
    effects: tuple[str, ...] = ("single",)

    def __init__(
        self, model: Satori, threshold: torch.Tensor, *, settings: Score, seed: int, composition: np.ndarray
    ) -> None:
        must_fit(model.length)
        self.model = model
        self.widths = model.site_widths.astype(np.int16)
        self._narrowest = int(model.site_widths.min())
        self.device = next(model.parameters()).device
        self.threshold = threshold.to(self.device)
        self.settings = settings
        self.seed = seed
        with precision(self.device, "float32"):
            self.variants = Variants(model, trunk=settings.precision)

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example."""
        each = self.model.filters if self.settings.sites.filters == "all" else 1
        return each * self._most, self._most

    @property
    def slice_size(self) -> int:
        """Sequences per call; follows from the model and the kind of device only."""
        if self.device.type == "cpu":
            return CPU_SLICE
        return max(1, DEVICE_SLICE_BYTES // self.bytes_per_sequence)

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound, with as many sites as there may be."""
        model, most = self.model, self._most
        letters = (64 + 16 * model.width) * (model.length + model.width)
        activations = 25 * model.stem.strands * model.filters * model.length
        results = 64 * most * (model.filters + most)
        # Neighbours whose regions share bins, per side; at the ends of the sequence there may be some more.
        reach = (self.variants.count * model.pool - 1) // self._narrowest
        mutants = min(most * (1 + reach) + 2 * (reach + 2), most * (most + 1) // 2)
        doubles = most * (most - 1) // 2
        distance = self.settings.sites.max_distance
        if distance:
            doubles = min(doubles, most * (distance // self._narrowest + 1))
        table = (model.bins + mutants * self.variants.count) * self.variants.bytes_per_row + 12 * mutants * model.length
        variants = 1 + most + doubles
        index = 24 * variants * model.bins
        return letters + activations + results + table + index + self.variants.bytes_at_once

    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice.

        Raises:
            SatoriError: a logit is not finite.
        """
        drawn = self._each_draw(batch)
        assert drawn.strength is not None
        with torch.inference_mode():
            return site_scores(
                drawn.value.mean(dim=1).float(),
                drawn.sites,
                drawn.strength,
                padding=self.model.padding,
                strand_at=partial(self.model.strand_at, batch.tokens),
                max_distance=self.settings.sites.max_distance,
                effects={"single": drawn.single.mean(dim=1).float()},
            )

    def maps(self, batch: Batch) -> tuple[Sites, torch.Tensor]:
        """Return the sites of each sequence and E between them: float32 (B,M,M), symmetric, NaN = no pair."""
        drawn = self._each_draw(batch)
        return drawn.sites, drawn.value.mean(dim=1).float()

    def map_sites(self, batch: Batch, found: Sites) -> torch.Tensor:
        """Compute E between given sites, which may overlap: float32 (B,M,M), as in `maps`."""
        return self._each_draw(batch, found).value.mean(dim=1).float()

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Return "letters": standard error of E from the number of mutations, relative to the size of E."""
        each = self._each_draw(batch).value
        number = each.shape[1]
        there = ~each[:, 0].isnan()
        if number < 2 or not bool(there.any()):
            return {}
        error = each.var(dim=1)[there] / number
        size = each.mean(dim=1)[there].square().mean()
        return {"letters": float((error.mean() / size).sqrt())} if size > 0 else {}

    @torch.inference_mode()
    def _each_draw(self, batch: Batch, given: Sites | None = None) -> _Drawn:
        """Return sites, and the effects of each mutation.

        Args:
            batch: sequences.
            given: their sites; None = the strongest.
        """
        model, settings = self.model, self.settings
        if batch.targets is None and model.targets > 1:
            raise SatoriError("a multi-label network: which logits are explained must be given (targets of the batch)")
        tokens = batch.tokens.to(self.device)
        with precision(self.device, "float32"):
            pooled, activations = model.stem(tokens, activations=True)
            assert activations is not None
            found = given or sites.of_network(model, activations, self.threshold, settings.sites, most=self._most)
            strength = None
            if not given:
                strength = sites.strengths(model, activations, self.threshold, found, settings.sites)
            del activations
            number = settings.epistasis.mutations
            letters = draws.replacements(tokens, batch.keys, seed=self.seed, number=number)
            most = found.position.shape[1]
            shape = (len(tokens), number, most, most)
            value = torch.full(shape, torch.nan, dtype=torch.float64, device=self.device)
            alone = torch.full(shape[:3], torch.nan, dtype=torch.float64, device=self.device)
            together = 1 if self.device.type == "cpu" else number
            every = torch.stack((found.position, found.widths_in(model)), dim=2).cpu()
            placed = [row[there].unbind(1) for row, there in zip(every, found.used.cpu(), strict=True)]
            for b, (position, width) in enumerate(placed):
                plan, window = self._plan(position), self._windows(position, width)
                if not len(position):
                    continue
                first, second = plan.pairs
                for start in range(0, number, together):
                    part = slice(start, start + together)
                    logits = self._logits(tokens[b], pooled[b], letters[b, part], window, plan)
                    explained = self._explained(logits, None if batch.targets is None else batch.targets[b])
                    whole, single, double = explained.split([1, len(position), len(first)], dim=1)
                    # What is not changed at all changes nothing, to the last bit: the same variant in another row of a
                    # batch may come out with another one.
                    same = self._unchanged(tokens[b], letters[b, part], window)
                    epistasis = (whole - single[:, first]) - single[:, second] + double
                    epistasis.masked_fill_(same[:, first] | same[:, second], 0)
                    alone[b, part, : len(position)] = (whole - single).masked_fill_(same, 0)
                    value[b, part, first, second] = epistasis
                    value[b, part, second, first] = epistasis
        return _Drawn(found, strength, value, alone)

    @property
    def _most(self) -> int:
        """Return M, the maximal number of non-overlapping sites of a sequence."""
        return min(self.settings.sites.max_sites, self.model.length // self._narrowest)

    def _plan(self, position: torch.Tensor) -> _Plan:
        """Choose the mutants to run for a sequence with sites at these positions, int64 (m,) on the CPU."""
        model, count = self.model, self.variants.count
        sites_, bins = len(position), torch.arange(count)
        first = sites.first_bin(position, width=model.width, pool=model.pool, bins=model.bins)
        both = torch.triu_indices(sites_, sites_, 1)
        distance = self.settings.sites.max_distance
        if distance:
            both = both[:, position[both[1]] - position[both[0]] <= distance]
        i, j = both
        shared = first[j] < first[i] + count
        rows = model.bins + torch.arange(sites_ + int(shared.sum()))[:, None] * count + bins
        # Where regions share bins, the region of the latter site is that of the double mutant.
        of_second = torch.where(shared, sites_ - 1 + shared.cumsum(0), j)
        index = torch.arange(model.bins).repeat(1 + sites_ + len(i), 1)
        index[1 : 1 + sites_].scatter_(1, first[:, None] + bins, rows[:sites_])
        index[1 + sites_ :].scatter_(1, first[i, None] + bins, rows[i])
        index[1 + sites_ :].scatter_(1, first[j, None] + bins, rows[of_second])
        return _Plan(first=first, pairs=both, close=both[:, shared], index=index)

    def _logits(
        self, tokens: torch.Tensor, pooled: torch.Tensor, letters: torch.Tensor, window: torch.Tensor, plan: _Plan
    ) -> torch.Tensor:
        """Return logits (D,1 + m + p,C) of the sequence, its single and its double mutants, for D mutations.

        Args:
            tokens: uint8 (L,), the sequence.
            pooled: float32 (n,F), its bins.
            letters: uint8 (D,L), bases of the mutated windows.
            window: bool (m,L), its sites, on the CPU.
            plan: the variants to run.
        """
        model = self.model
        mutated = torch.cat((window, window[plan.close[0]] | window[plan.close[1]])).to(self.device)
        mutants = torch.where(mutated, letters[:, None], tokens)
        first = torch.cat((plan.first, plan.first[plan.close[1]])).to(self.device)
        table = self.variants.table(pooled, mutants.flatten(0, 1), first.repeat(len(letters)))
        # Rows of the mutants are ordered by mutation.
        index = plan.index.to(self.device)
        further = (index >= model.bins) * (len(first) * self.variants.count)
        each = torch.arange(len(letters), device=self.device)[:, None, None]
        return self.variants.logits(table, (index + each * further).flatten(0, 1)).unflatten(0, (len(letters), -1))

    def _windows(self, position: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
        """Return bool (m,L): the positions of sites, on the CPU."""
        start = (position - self.model.padding)[:, None]
        place = torch.arange(self.model.length)
        return (place >= start) & (place < start + width[:, None])

    def _unchanged(self, tokens: torch.Tensor, letters: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        """Return bool (D,m): mutations that leave a site unchanged; arguments as of `_logits`."""
        changed = (letters != tokens).to(torch.float32) @ window.T.to(letters.device, torch.float32)
        return changed == 0

    def _explained(self, logits: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        """Return F, float64 (...): the only logit, or the sum of those that `targets` (T,) names.

        Raises:
            SatoriError: a logit is not finite.
        """
        if not bool(torch.isfinite(logits).all()):
            raise SatoriError("the model's logits are not finite: its training diverged; train again")
        margin = self.model.margin(logits.flatten(0, -2)).unflatten(0, logits.shape[:-1]).double()
        if targets is None:
            return margin.squeeze(-1)
        return (margin * targets.to(self.device)).sum(dim=-1)
