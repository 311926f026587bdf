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
from satori_hpc.scoring.base import LARGEST, LARGEST_SIZE, Batch, Scorer, SiteScores, ragged
from satori_hpc.scoring.fast.precision import precision
from satori_hpc.scoring.sites import strongest

SLICE = 16
VARIANTS_AT_ONCE = 512
HITS_PER_BP = 1  # at most, of all motifs, that memory is reckoned with


@dataclass(frozen=True, eq=False)
class _Sites:
    """Sites of some sequences, arrays of equal length, by example, start, motif.

    Attributes:
        example, start, end: int64, bp, half open. motif: int64; learned filters come after the known motifs. strand: 1
            or -1.
        strength: -log10 p of a hit; activation of a learned filter, 1 = its threshold.
        hit: int64, row of the hit; -1: of a learned filter.
    """

    example: np.ndarray
    start: np.ndarray
    end: np.ndarray
    motif: np.ndarray
    strand: np.ndarray
    strength: np.ndarray
    hit: np.ndarray

    def __len__(self) -> int:
        return len(self.example)

    def take(self, rows: np.ndarray) -> "_Sites":
        return _Sites(**{name: column[rows] for name, column in vars(self).items()})


def _joined(tables: list[_Sites]) -> _Sites:
    return _Sites(**{name: np.concatenate([vars(each)[name] for each in tables]) for name in vars(tables[0])})


class _TokenScorer(Scorer):
    """Common part of methods that score sites of known motifs and learned filters; arguments as of Scorer.

    A hit of a known motif that has won its place is a site. So is a window in which a learned filter is above its
    threshold, if it neither overlaps such a hit nor a stronger window by more than hits may. The thresholds, (M + F,),
    of learned filters come last; mutations have the composition of their sequence, whatever `composition` is.
    """

    slice_size = SLICE
    model: MotifTokenNetwork

    def __init__(self, model: MotifTokenNetwork, threshold: torch.Tensor, **given: Any) -> None:
        super().__init__(model, threshold, **given)
        known, filters = model.known.bank.widths, model.settings.filters
        self.widths = np.concatenate([known, np.full(filters, model.settings.width)]).astype(np.int16)
        self.threshold = self.threshold[len(known) :]

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example: each site is a place."""
        return self.settings.sites.max_sites, self.settings.sites.max_sites

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound in usual cases."""
        model, most = self.model, self.settings.sites.max_sites
        scan = 200 * HITS_PER_BP * model.length + 16 * model.length
        passes = 4 * VARIANTS_AT_ONCE * 8 * model.largest_array // SLICE
        learned = 16 * model.settings.filters * model.length
        return scan + passes + learned + 200 * most**2

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
            kept = _joined([mine, others]).take(np.argsort(np.concatenate(turns), kind="stable")[:most])
            sites.append(kept.take(np.lexsort((kept.motif, kept.start))))
        return every, owner, sites

    def _of_filters(self, tokens: torch.Tensor, known: _Sites) -> _Sites:
        """Return sites of learned filters outside known motifs."""
        none = np.zeros(0, dtype=np.int64)
        if self.model.learned is None:
            return _Sites(none, none, none, none, none, np.zeros(0), none)
        width = self.model.settings.width
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
        width = self.model.settings.width
        allowed = np.floor(motif_hits.OVERLAP * np.minimum(width, known.end - known.start)).astype(np.int64)
        first = np.maximum(known.start - width + allowed + 1, 0) + width // 2
        last = np.maximum(known.end - allowed - 1, 0) + width // 2  # the last start, as a middle
        steps = np.zeros((examples, self.model.length + width + 1), dtype=np.int64)
        np.add.at(steps, (known.example, first), 1)
        np.add.at(steps, (known.example, last + 1), -1)
        taken: np.ndarray = steps.cumsum(axis=1)[:, : self.model.length] > 0
        return taken

    def _ragged(
        self, sites: list[_Sites], value: np.ndarray, effects: dict[str, np.ndarray] | None = None
    ) -> SiteScores:
        """Return SiteScores of sites, each with its own place; value: float (B, M, M), NaN = no pair."""
        most = value.shape[1]
        used = np.arange(most) < np.array([len(each) for each in sites])[:, None]
        every = _joined(sites)
        start = np.zeros(used.shape, dtype=np.int64)
        start[used] = every.start
        example, place = np.nonzero(used)
        table = np.stack([example, every.motif, every.start, every.strand, place], axis=1)
        order = np.lexsort((table[:, 4], table[:, 1], table[:, 0]))
        strength = every.strength.astype(np.float32)
        return ragged(table[order], strength[order], start, used, value.astype(np.float32), effects=effects)

    def _no_pairs(self, mine: _Sites, *, cells: bool) -> np.ndarray:
        """Return bool (m, m): sites that overlap, are too far apart or, where bins count, are in one bin."""
        start, end = mine.start, mine.end
        gap = np.maximum(start[:, None], start) - np.minimum(end[:, None], end)
        out = gap < 0
        if self.settings.sites.max_distance:
            out |= np.abs(start[:, None] - start) > self.settings.sites.max_distance
        if cells:
            cell = self._cell(mine)
            out |= cell[:, None] == cell
        return out

    def _cell(self, mine: _Sites) -> np.ndarray:
        """Return the bin that contains a site, int64."""
        cell: np.ndarray = (mine.start + mine.end) // 2 // self.model.known.pool
        return cell


class TokenAttention(_TokenScorer):
    """Score slices of sequences by raw attention between the bins of hits."""

    choose = LARGEST

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice; keys and targets play no part."""
        _, _, sites = self._found(batch)
        with precision(self.device, "float32"):
            attention = self.model(batch.tokens.to(self.device), attention=True).attention
        strongest = attention.amax(dim=1)
        if not bool(torch.isfinite(strongest).all()):
            raise SatoriError(
                "the model's attention holds values that are not finite: its training diverged; train again"
            )
        either = torch.maximum(strongest, strongest.transpose(1, 2)).float().cpu().numpy()
        most = max(1, *(len(mine) for mine in sites))
        value = np.full((len(batch), most, most), np.nan, dtype=np.float32)
        for row, mine in enumerate(sites):
            cell = self._cell(mine)
            found = either[row][np.ix_(cell, cell)]
            found[self._no_pairs(mine, cells=True)] = np.nan
            value[row, : len(mine), : len(mine)] = found
        return self._ragged(sites, value)


class TokenEpistasis(_TokenScorer):
    """Score slices of sequences by removing either or both of two sites."""

    choose = LARGEST_SIZE
    effects: tuple[str, ...] = ("single",)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice.

        Raises:
            SatoriError: a logit is not finite, or the explained labels are not given.
        """
        if batch.targets is None and self.model.targets > 1:
            raise SatoriError("a multi-label network: which logits are explained must be given (targets of the batch)")
        hits, owner, sites = self._found(batch)
        most = max(1, *(len(mine) for mine in sites))
        value = np.full((len(batch), most, most), np.nan)
        single = np.full((len(batch), most), np.nan)
        offsets = hits.of_examples(len(batch))
        for row, mine in enumerate(sites):
            if len(mine):
                own = hits.take(np.arange(offsets[row], offsets[row + 1]))
                own = dataclasses.replace(own, example=np.zeros_like(own.example))
                first = offsets[row]
                here = dataclasses.replace(mine, hit=np.where(mine.hit < 0, -1, mine.hit - first))
                value[row, : len(mine), : len(mine)], single[row, : len(mine)] = self._map(
                    batch, row, own, owner[first : offsets[row + 1]] - first, here
                )
        return self._ragged(sites, value, {"single": single})

    def _map(
        self, batch: Batch, row: int, hits: Hits, owner: np.ndarray, mine: _Sites
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return E between the sites of one sequence, (m, m), and F(x) - F(x without the site), (m,)."""
        pair = np.argwhere(np.triu(~self._no_pairs(mine, cells=False), k=1))
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
