"""Scores of networks over motif tokens: sites are hits of known motifs, exact to the letter, that have won their place.

Attention between two sites is that between their cells. Epistasis takes a site away as its hit, with all the hits that
it won against, from the tokens; learned filters beside the motifs see random letters in its place. So no variant of a
sequence is scanned again, and no motif that random letters happen to make comes in.
"""

import dataclasses

import numpy as np
import torch

from satori_hpc.config import Score
from satori_hpc.errors import SatoriError
from satori_hpc.models.motif_tokens import MotifTokenNetwork
from satori_hpc.motifs import hits as motif_hits
from satori_hpc.motifs.hits import Hits
from satori_hpc.scoring import draws
from satori_hpc.scoring.base import LARGEST, LARGEST_SIZE, Batch, SiteScores, must_fit, ragged
from satori_hpc.scoring.fast.precision import precision

SLICE = 16
VARIANTS_AT_ONCE = 512
HITS_PER_BP = 1  # at most, of all motifs, that memory is reckoned with


class _TokenScorer:
    """What is common to methods that score sites of known motifs; see SiteScorer.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: not used; the gate of the network says what is a hit.
        settings: the section [score].
        seed: of the run.
        composition: not used; mutations have the composition of their sequence.

    Raises:
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    directed = False
    extras: tuple[str, ...] = ()
    pool = 1
    slice_size = SLICE

    def __init__(
        self,
        model: MotifTokenNetwork,
        threshold: torch.Tensor,
        *,
        settings: Score,
        seed: int,
        composition: np.ndarray,
    ) -> None:
        must_fit(model.length)
        self.model = model
        self.device = next(model.parameters()).device
        self.settings, self.seed = settings, seed
        self.widths = model.known.bank.widths.astype(np.int16)

    @property
    def most(self) -> tuple[int, int]:
        """Sites and places that an example can have: each site is a place."""
        return self.settings.sites.max_sites, self.settings.sites.max_sites

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound of what is usual."""
        model, most = self.model, self.settings.sites.max_sites
        scan = 200 * HITS_PER_BP * model.length + 16 * model.length
        passes = 4 * VARIANTS_AT_ONCE * 8 * model.largest_array // SLICE
        return scan + passes + 200 * most**2

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    def _found(self, batch: Batch) -> tuple[Hits, np.ndarray, list[np.ndarray]]:
        """All hits, the winner that each belongs to, and of each sequence the winners that are its sites, by start."""
        known = self.model.known
        every = known.every_hit(batch.tokens.to(self.device))
        owner = motif_hits.compete(every)
        rows = np.flatnonzero(owner == np.arange(len(owner)))
        sites = []
        for example in range(len(batch)):
            mine = rows[every.example[rows] == example]
            best = np.argsort(-np.round(every.neg_log10_p[mine], 6), kind="stable")[: self.settings.sites.max_sites]
            sites.append(np.sort(mine[best]))
        return every, owner, sites

    def _ragged(
        self, hits: Hits, sites: list[np.ndarray], value: np.ndarray, effects: dict[str, np.ndarray] | None = None
    ) -> SiteScores:
        """SiteScores of sites, each a place of its own; value: float (B, M, M), NaN = no pair."""
        most = value.shape[1]
        used = np.arange(most) < np.array([len(each) for each in sites])[:, None]
        start = np.zeros(used.shape, dtype=np.int64)
        rows = np.concatenate([*sites, np.zeros(0, np.int64)]).astype(np.int64)
        start[used] = hits.start[rows]
        example, place = np.nonzero(used)
        table = np.stack([example, hits.motif[rows], hits.start[rows], hits.strand[rows], place], axis=1)
        order = np.lexsort((table[:, 4], table[:, 1], table[:, 0]))
        strength = hits.neg_log10_p[rows].astype(np.float32)
        return ragged(table[order], strength[order], start, used, value.astype(np.float32), effects=effects)

    def _no_pairs(self, hits: Hits, mine: np.ndarray, *, cells: bool) -> np.ndarray:
        """bool (m, m): sites that overlap, are further apart than asked for or, where cells count, in one cell."""
        start, end = hits.start[mine], hits.end[mine]
        gap = np.maximum(start[:, None], start) - np.minimum(end[:, None], end)
        out = gap < 0
        if self.settings.sites.max_distance:
            out |= np.abs(start[:, None] - start) > self.settings.sites.max_distance
        if cells:
            cell = (start + end) // 2 // self.model.known.pool
            out |= cell[:, None] == cell
        return out


class TokenAttention(_TokenScorer):
    """Scores slices of sequences by raw attention between the cells of hits."""

    choose = LARGEST
    effects: tuple[str, ...] = ()

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice; keys and targets play no part."""
        hits, _, sites = self._found(batch)
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
            cell = (hits.start[mine] + hits.end[mine]) // 2 // self.model.known.pool
            found = either[row][np.ix_(cell, cell)]
            found[self._no_pairs(hits, mine, cells=True)] = np.nan
            value[row, : len(mine), : len(mine)] = found
        return self._ragged(hits, sites, value)


class TokenEpistasis(_TokenScorer):
    """Scores slices of sequences by taking away either or both of two sites."""

    choose = LARGEST_SIZE
    effects: tuple[str, ...] = ("single",)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice.

        Raises:
            SatoriError: a logit is not finite, or which labels are explained is not told.
        """
        if batch.targets is None and self.model.targets > 1:
            raise SatoriError("a multi-label network: which logits are explained must be told (targets of the batch)")
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
                value[row, : len(mine), : len(mine)], single[row, : len(mine)] = self._map(
                    batch, row, own, owner[first : offsets[row + 1]] - first, mine - first
                )
        return self._ragged(hits, sites, value, {"single": single})

    def _map(
        self, batch: Batch, row: int, hits: Hits, owner: np.ndarray, mine: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """E between the sites of one sequence, (m, m), and F(x) - F(x without the site), (m,)."""
        pair = np.argwhere(np.triu(~self._no_pairs(hits, mine, cells=False), k=1))
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
        """Which random letters are put in place of a site; tokens alone need none."""
        return range(self.settings.epistasis.mutations if self.model.learned is not None else 1)

    def _outputs(
        self,
        batch: Batch,
        row: int,
        hits: Hits,
        owner: np.ndarray,
        mine: np.ndarray,
        without: np.ndarray,
        draw: int,
    ) -> np.ndarray:
        """F of variants without some sites, float64 (variants,).

        Args:
            batch, row: the sequence.
            hits, owner: all its hits, and the winner that each belongs to.
            mine: its sites, rows of hits.
            without: bool (variants, sites), which sites are taken away.
            draw: number of the random letters.
        """
        known = self.model.known
        tokens = batch.tokens[row : row + 1].to(self.device)
        seen = np.arange(len(hits)) if not known.compete else np.flatnonzero(owner == np.arange(len(hits)))
        gone = owner[seen][:, None] == mine  # (hits that are seen, sites)
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
                window = (place >= hits.start[mine][:, None]) & (place < hits.end[mine][:, None])
                changed = torch.from_numpy((some.astype(np.int8) @ window.astype(np.int8)).astype(bool)).to(self.device)
                learned = self.model.learned(torch.where(changed, letters, tokens))
            with precision(self.device, "float32"):
                logits = self.model.of_tokens(known.tokens(table, len(some)), learned).logits
            found.append(self._explained(logits, None if batch.targets is None else batch.targets[row]))
        return np.concatenate(found)

    def _explained(self, logits: torch.Tensor, targets: torch.Tensor | None) -> np.ndarray:
        """F, float64 (variants,): the only logit, or the sum of those that `targets` (T,) names."""
        if not bool(torch.isfinite(logits).all()):
            raise SatoriError("the model's logits are not finite: its training diverged; train again")
        margin = self.model.margin(logits).double()
        if targets is None:
            return margin.squeeze(1).cpu().numpy()
        return (margin * targets.to(self.device)).sum(dim=1).cpu().numpy()
