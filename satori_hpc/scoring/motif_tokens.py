"""Score networks over motif tokens: sites are winning hits of known motifs, with exact positions,
and windows of learned filters where no such hit is.

Attention between two sites is that between their bins. Epistasis removes a site as its hit, with all the hits that lost
to it, from the tokens; learned filters see random bases in its place. So no variant of a sequence is scanned again, and
random bases cannot create new hits.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from satori_hpc.errors import SatoriError
from satori_hpc.models.base import SMALLEST_THRESHOLD
from satori_hpc.models.motif_tokens import MotifTokenNetwork
from satori_hpc.motifs import hits as motif_hits
from satori_hpc.motifs.hits import Hits
from satori_hpc.scoring import draws
from satori_hpc.scoring.base import LARGEST_SIZE, Batch, SiteScores
from satori_hpc.scoring.fast import Rule, rules
from satori_hpc.scoring.fast.precision import precision
from satori_hpc.scoring.given import BinScorer, ListDfim, ListScorer, located
from satori_hpc.scoring.sites import Sites, strongest
from satori_hpc.sites.given import SiteTable

SLICE = 16
VARIANTS_AT_ONCE = 512
UNTOLD = "a multi-label network: which logits are explained must be given (targets of the batch)"
HITS_PER_BP = 1  # at most, of all motifs, that memory is reckoned with


@dataclass(frozen=True, eq=False)
class _Sites(SiteTable):
    """Sites of some sequences; learned filters come after the known motifs.

    Attributes:
        strength: -log10 p of a hit; activation of a learned filter, 1 = its threshold.
        hit: int64, row of the hit; -1: of a learned filter.
    """

    hit: np.ndarray


class _TokenScorer(ListScorer):
    """Common part of methods that score sites of known motifs and learned filters; arguments as of Scorer.

    A hit of a known motif that has won its place is a site. So is a window in which a learned filter is above its
    threshold, if it neither overlaps such a hit nor a stronger window by more than hits may. The thresholds, (M + F,),
    of learned filters come last; mutations have the composition of their sequence, whatever `composition` is.
    """

    model: MotifTokenNetwork

    def __init__(self, model: MotifTokenNetwork, threshold: torch.Tensor, **given: Any) -> None:
        super().__init__(model, threshold, **given)
        known, filters = model.known.bank.widths, model.settings.num_filters
        self.widths = np.concatenate([known, np.full(filters, model.settings.kernel_size)]).astype(np.int16)
        self.threshold = self.threshold[len(known) :]

    def sites_of(self, batch: Batch) -> list[_Sites]:
        return self._found(batch)[2]

    def bins(self, mine: SiteTable, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the bin whose token a site is, that of its middle, twice."""
        middle = (mine.start + mine.end) // 2 // self.model.pool
        return middle, middle

    @torch.inference_mode()
    def _found(self, batch: Batch) -> tuple[Hits, np.ndarray, list[_Sites]]:
        """Return all hits, the winner of each, and the sites of each sequence."""
        tokens = batch.tokens.to(self.device)
        every = self.model.known.every_hit(tokens)
        owner = motif_hits.compete(every)
        won = np.flatnonzero(owner == np.arange(len(owner)))
        known = _Sites(
            every.example[won], every.start[won], every.end[won], every.motif[won], every.strand[won],
            every.neg_log10_p[won], won,
        )  # fmt: skip
        learned = self._of_filters(tokens, known)
        most, sites = self.settings.sites.max_sites, []
        for example in range(len(batch)):
            mine, others = (each.take(np.flatnonzero(each.example == example)) for each in (known, learned))
            # The strengths of the two kinds do not compare: the best of either come in turn.
            turns = [np.argsort(np.lexsort((each.start, -np.round(each.strength, 6)))) for each in (mine, others)]
            both = SiteTable.joined([mine, others])
            kept = both.take(np.argsort(np.concatenate(turns), kind="stable")[:most])
            sites.append(kept.take(np.lexsort((kept.motif, kept.start))))
        return every, owner, sites

    def _of_filters(self, tokens: torch.Tensor, known: _Sites) -> _Sites:
        """Return sites of learned filters outside known motifs."""
        none = np.zeros(0, dtype=np.int64)
        if self.model.learned is None:
            return _Sites(none, none, none, none, none, np.zeros(0), none)
        width = self.model.settings.kernel_size
        with precision(self.device, "float32"):
            better, strand = self.model.learned.strands(tokens).max(dim=1)
        better = better * torch.from_numpy(~self._taken(known, len(tokens))).to(self.device)[:, None]
        found = strongest(
            better, self.threshold, padding=width // 2, width=width, most=self.settings.sites.max_sites,
            all_filters=False,
        )  # fmt: skip
        example, place, number = torch.nonzero(found.members, as_tuple=True)
        position = found.position[example, place]
        strength = better[example, number, position] / self.threshold[number].clamp(min=SMALLEST_THRESHOLD)
        backward = strand[example, number, position].bool()
        start = (position - width // 2).cpu().numpy()
        return _Sites(
            example=example.cpu().numpy(),
            start=start,
            end=start + width,
            motif=number.cpu().numpy() + len(self.model.known.bank),
            strand=np.where(backward.cpu().numpy(), -1, 1),
            strength=strength.double().cpu().numpy(),
            hit=np.full(len(start), -1, dtype=np.int64),
        )

    def _taken(self, known: _Sites, examples: int) -> np.ndarray:
        """Return bool (B, L): midpoints of windows that overlap a known site by more than hits may."""
        width = self.model.settings.kernel_size
        allowed = np.floor(motif_hits.OVERLAP * np.minimum(width, known.end - known.start)).astype(np.int64)
        first = np.maximum(known.start - width + allowed + 1, 0) + width // 2
        last = np.maximum(known.end - allowed - 1, 0) + width // 2  # the last start, as a middle
        steps = np.zeros((examples, self.model.length + width + 1), dtype=np.int64)
        np.add.at(steps, (known.example, first), 1)
        np.add.at(steps, (known.example, last + 1), -1)
        taken: np.ndarray = steps.cumsum(axis=1)[:, : self.model.length] > 0
        return taken


class TokenAttention(_TokenScorer, BinScorer):
    """Score slices of sequences by raw attention between the bins of hits."""

    slice_size = SLICE

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound in usual cases."""
        return _bytes(self, passes=1)

    @torch.inference_mode()
    def maps(self, batch: Batch) -> torch.Tensor:
        """Return attention, float32 (B, heads, n, n); rows look at columns."""
        with precision(self.device, "float32"):
            found: torch.Tensor = self.model(batch.tokens.to(self.device), attention=True).attention
        return found


class TokenAttribution(_TokenScorer, BinScorer):
    """Score slices of sequences by integrated gradients over attention, from none to all of it; see attribution.

    All heads are scaled together. What heads read is then proportional to the step, and only the last ReLU is not
    linear: attention and its backward pass are computed once.
    """

    adds = True
    slice_size = SLICE

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound in usual cases."""
        return _bytes(self, passes=4 + self.settings.attribution.steps)

    @torch.inference_mode()
    def maps(self, batch: Batch) -> torch.Tensor:
        """Return attributions of every attention value, float32 (B, heads, n, n)."""
        found = self._attributed(batch, self.settings.attribution.steps)[0]
        return found.abs() if self.settings.attribution.absolute else found

    @torch.inference_mode()
    def estimate(self, batch: Batch) -> dict[str, float]:
        """Return the relative errors of a sample: "completeness" and "steps", as of attribution.AttributionScorer."""
        steps = self.settings.attribution.steps
        (found, rise), (finer, _) = self._attributed(batch, steps), self._attributed(batch, 2 * steps)
        gap = (found.sum(dim=(1, 2, 3)) - rise).abs()
        return {
            "completeness": float(gap.sum() / rise.abs().sum().clamp(min=rules.TINY)),
            "steps": float((found - finer).norm() / finer.norm().clamp(min=rules.TINY)),
        }

    def _attributed(self, batch: Batch, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attributions (B, heads, n, n), and the change of the target from zero to full attention, (B,)."""
        model, rule = self.model, Rule.of(self.settings.attribution.rule, steps)
        weights = torch.ones(len(batch), 1) if batch.targets is None else batch.targets
        weights = weights.to(self.device, torch.float32)
        if weights.shape[1] != model.targets:
            raise SatoriError(UNTOLD)
        tokens = batch.tokens.to(self.device)
        with precision(self.device, "float32"):
            *parts, around = model.project(
                model.known(tokens), None if model.learned is None else model.learned(tokens)
            ).chunk(4, dim=2)
            mixed, attention, _ = model.attention(parts, torch.zeros(len(tokens), dtype=torch.bool))
            value = parts[2].unflatten(2, (model.attention.heads, -1)).transpose(1, 2)
            read = attention @ value > 0
            start = (model.attention.mix.bias + around + model.bias).expand_as(mixed)
            path = rule.along(start, mixed + around + model.bias)
            logits = model.output(torch.relu(path).sum(dim=1))
            repeated = weights.repeat(rule.segments, 1)
            ends = model.output(torch.relu(torch.stack((start, mixed + around + model.bias))).sum(dim=2))
            if self.settings.attribution.target == "probability":
                repeated = repeated * rules.sigmoid_slope(rule, logits, torch.sigmoid(logits))
                ends = torch.sigmoid(ends)
            of_mixed = rule.total((repeated @ model.output.weight)[:, None] * rules.relu_slope(rule, path))
            of_read = (of_mixed @ model.attention.mix.weight).unflatten(2, (model.attention.heads, -1)).transpose(1, 2)
            rise = ((ends[1] - ends[0]) * weights).sum(dim=1)
            return ((of_read * read) @ value.transpose(2, 3)) * attention, rise


class TokenDfim(_TokenScorer, ListDfim):
    """Score slices of sequences by DFIM, with gradients of hits' scores; see generic.dfim."""


def _bytes(scorer: _TokenScorer, *, passes: int) -> int:
    """Return the working memory of a call, per sequence, with so many passes: an upper bound in usual cases."""
    model, most = scorer.model, scorer.settings.sites.max_sites
    scan = 200 * HITS_PER_BP * model.length + 16 * model.length
    return scan + 32 * passes * model.largest_array + 16 * model.settings.num_filters * model.length + 200 * most**2


class TokenEpistasis(_TokenScorer):
    """Score slices of sequences by removing either or both of two sites."""

    choose = LARGEST_SIZE
    effects: tuple[str, ...] = ("single",)
    slice_size = SLICE

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound in usual cases."""
        return _bytes(self, passes=VARIANTS_AT_ONCE // SLICE)

    def maps(self, batch: Batch) -> tuple[Sites, torch.Tensor]:
        """Return the sites of each sequence and E between them: float32 (B, M, M), NaN = no pair."""
        sites, value, _ = self._scored(batch)
        return located(sites, value, self)

    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice; errors as `_scored`."""
        sites, value, single = self._scored(batch)
        return self.told(sites, value, {"single": single})

    @torch.inference_mode()
    def _scored(self, batch: Batch) -> tuple[list[_Sites], list[np.ndarray], list[np.ndarray]]:
        """Return the sites of each sequence, E between them, (m, m), and the effects of single ones, (m,).

        Raises:
            SatoriError: a logit is not finite, or the explained labels are not given.
        """
        if batch.targets is None and self.model.targets > 1:
            raise SatoriError(UNTOLD)
        hits, owner, sites = self._found(batch)
        value = [np.full((len(mine), len(mine)), np.nan) for mine in sites]
        single = [np.full(len(mine), np.nan) for mine in sites]
        offsets = hits.of_examples(len(batch))
        for row, mine in enumerate(sites):
            if len(mine):
                own = hits.take(np.arange(offsets[row], offsets[row + 1]))
                own = dataclasses.replace(own, example=np.zeros_like(own.example))
                first = offsets[row]
                here = dataclasses.replace(mine, hit=np.where(mine.hit < 0, -1, mine.hit - first))
                value[row], single[row] = self._map(batch, row, own, owner[first : offsets[row + 1]] - first, here)
        return sites, value, single

    def _map(
        self, batch: Batch, row: int, hits: Hits, owner: np.ndarray, mine: _Sites
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return E between the sites of one sequence, (m, m), and F(x) - F(x without the site), (m,)."""
        pair = np.argwhere(np.triu(~self.no_pairs(mine), k=1))
        without = np.zeros((1 + len(mine) + len(pair), len(mine)), dtype=bool)
        without[1 + np.arange(len(mine)), np.arange(len(mine))] = True
        for side in range(2):
            without[1 + len(mine) + np.arange(len(pair)), pair[:, side]] = True
        outputs = np.mean(
            [self._outputs(batch, row, hits, owner, mine, without, draw) for draw in self._draws()], axis=0
        )
        whole, alone, both = outputs[0], outputs[1 : 1 + len(mine)], outputs[1 + len(mine) :]
        value = np.full((len(mine), len(mine)), np.nan)
        first, second = pair.T
        value[first, second] = value[second, first] = whole - alone[first] - alone[second] + both
        return value, whole - alone

    def _draws(self) -> range:
        """Return the random bases that replace a site; tokens alone need none."""
        return range(self.settings.epistasis.mutations if self.model.learned is not None else 1)

    def _outputs(
        self,
        batch: Batch,
        row: int,
        hits: Hits,
        owner: np.ndarray,
        mine: _Sites,
        without: np.ndarray,
        draw: int,
    ) -> np.ndarray:
        """Return F of variants without some sites, float64 (variants,).

        Args:
            batch, row: the sequence.
            hits, owner: all its hits, and the winner that each belongs to.
            mine: its sites.
            without: bool (variants, sites), which sites are taken away.
            draw: number of the draw of random bases.
        """
        known = self.model.known
        tokens = batch.tokens[row : row + 1].to(self.device)
        seen = np.arange(len(hits)) if not known.compete else np.flatnonzero(owner == np.arange(len(hits)))
        gone = owner[seen][:, None] == mine.hit  # (hits that are seen, sites)
        letters = None
        if self.model.learned is not None:
            drawn = draws.replacements(
                tokens.cpu(), batch.keys[row : row + 1].cpu(), seed=self.seed, number=self.settings.epistasis.mutations
            )
            letters = drawn[0, draw].to(self.device)
        found = []
        for first in range(0, len(without), VARIANTS_AT_ONCE):
            some = without[first : first + VARIANTS_AT_ONCE]
            stay = ~(some.astype(np.int8) @ gone.T.astype(np.int8)).astype(bool)
            variant, number = np.nonzero(stay)
            table = dataclasses.replace(hits.take(seen[number]), example=variant)
            learned = None
            if self.model.learned is not None and letters is not None:
                place = np.arange(tokens.shape[1])
                window = (place >= mine.start[:, None]) & (place < mine.end[:, None])
                changed = torch.from_numpy((some.astype(np.int8) @ window.astype(np.int8)).astype(bool)).to(self.device)
                learned = self.model.learned(torch.where(changed, letters, tokens))
            with precision(self.device, "float32"):
                logits = self.model.of_tokens(known.tokens(table, len(some)), learned).logits
            found.append(self._explained(logits, None if batch.targets is None else batch.targets[row]))
        return np.concatenate(found)

    def _explained(self, logits: torch.Tensor, targets: torch.Tensor | None) -> np.ndarray:
        """Return F, float64 (variants,): the only logit, or the sum of those that `targets` (T,) names."""
        if not bool(torch.isfinite(logits).all()):
            raise SatoriError("the model's logits are not finite: its training diverged; train again")
        margin = self.model.margin(logits).double()
        if targets is None:
            return margin.squeeze(1).cpu().numpy()
        return (margin * targets.to(self.device)).sum(dim=1).cpu().numpy()
