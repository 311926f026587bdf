"""Scoring methods for networks without a hand-written implementation; see `generic` for the computations.

A network must give back the activations of its first layer (`site_activations`), from which sites are chosen.
"""

from functools import partial
from typing import Any

import numpy as np
import torch

from satori_hpc.errors import ConfigError
from satori_hpc.models.base import Scorable, TrainableModel, require_filters
from satori_hpc.scoring import generic, sites
from satori_hpc.scoring.attention import occupied_bins, of_bins, strength
from satori_hpc.scoring.base import LARGEST, LARGEST_SIZE, Batch, Scorer, SiteScores
from satori_hpc.scoring.dfim import permuted
from satori_hpc.scoring.sites import Sites, site_scores

SLICE = 4
MEMORY = 256 << 20  # bytes of the arrays of a pass


class _FilterScorer(Scorer):
    """What is common to methods that score the sites of filters; arguments as of Scorer.

    Raises:
        ConfigError: the network has no first-layer activations.
    """

    slice_size = SLICE

    def __init__(self, model: TrainableModel, threshold: torch.Tensor, **given: Any) -> None:
        require_filters(model)
        super().__init__(model, threshold, **given)
        self.widths = model.site_widths.astype(np.int16)


class _SiteScorer(_FilterScorer):
    """What is common to methods that mutate sites; arguments and errors as of _FilterScorer."""

    choose = LARGEST_SIZE
    effects: tuple[str, ...] = ("single",)

    def __init__(self, model: TrainableModel, threshold: torch.Tensor, **given: Any) -> None:
        super().__init__(model, threshold, **given)
        self.scorable = Scorable(model).eval()

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example."""
        chosen = self.settings.sites
        return (self.model.filters if chosen.filters == "all" else 1) * chosen.max_sites, chosen.max_sites

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence, of which passes through the network are held to MEMORY."""
        model, most = self.model, self.settings.sites.max_sites
        letters = 32 * model.length * (1 + most + most**2)
        results = 64 * most * (model.filters + most)
        return MEMORY // SLICE + letters + 25 * model.filters * model.length + results

    def maps(self, batch: Batch) -> tuple[Sites, torch.Tensor]:
        """Return the sites, and the values between them, float32 (B, M, M), NaN where sites are no pair."""
        found = self._find_sites(batch)
        return found, self.map_sites(batch, found)

    def map_sites(self, batch: Batch, found: Sites) -> torch.Tensor:
        """Return the values between given sites, as in `maps`."""
        return self._padded(batch, found)[0]

    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice."""
        with torch.inference_mode():
            activations = self.model.site_activations(batch.tokens.to(self.device))
            found = self._strongest(activations)
            strength = sites.strengths(self.model, activations, self.threshold, found, self.settings.sites)
        value, single = self._padded(batch, found)
        return site_scores(
            value,
            found,
            strength,
            padding=self.model.padding,
            strand_at=partial(self.model.strand_at, batch.tokens),
            max_distance=self.settings.sites.max_distance,
            directed=self.directed,
            extras=self._extras(batch, found),
            effects={"single": single},
        )

    def _extras(self, batch: Batch, found: Sites) -> dict[str, torch.Tensor]:
        """Return further values between the sites, by name."""
        return {}

    def _padded(self, batch: Batch, found: Sites) -> tuple[torch.Tensor, torch.Tensor]:
        """Return values between sites (B, M, M) and effects of single ones (B, M); NaN where there are none."""
        most = found.position.shape[1]
        out = torch.full((len(batch), most, most), torch.nan, device=self.device)
        single = out[:, :, 0].clone()
        for row, (value, alone) in enumerate(self._values(batch, spans(found, self.model))):
            out[row, : len(value), : len(value)] = torch.from_numpy(value)
            single[row, : len(alone)] = torch.from_numpy(alone)
        return out, single

    @torch.inference_mode()
    def _find_sites(self, batch: Batch) -> Sites:
        return self._strongest(self.model.site_activations(batch.tokens.to(self.device)))

    def _strongest(self, activations: torch.Tensor) -> Sites:
        chosen = self.settings.sites
        return sites.of_network(self.model, activations, self.threshold, chosen, most=chosen.max_sites)

    def _values(self, batch: Batch, found: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the values between the sites of each sequence, (m, m), and of each alone, (m,)."""
        raise NotImplementedError


class GenericEpistasis(_SiteScorer):
    """Score slices of sequences by double mutants."""

    def _values(self, batch: Batch, found: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        maps = generic.epistasis(
            self.scorable,
            batch,
            found,
            seed=self.seed,
            mutations=self.settings.epistasis.mutations,
            max_distance=self.settings.sites.max_distance,
            memory=MEMORY,
        )
        return [(each.value, each.single) for each in maps]


class GenericDfim(_SiteScorer):
    """Score slices of sequences by DFIM; settings that only SATORI networks have are refused."""

    directed = True

    def __init__(self, model: TrainableModel, threshold: torch.Tensor, **given: Any) -> None:
        super().__init__(model, threshold, **given)
        generic.rule(self.settings.dfim)
        self.extras = ("null",) if self.settings.dfim.null else ()

    def _extras(self, batch: Batch, found: Sites) -> dict[str, torch.Tensor]:
        if not self.extras:
            return {}
        return {"null": self._padded(permuted(batch, seed=self.seed), found)[0]}

    def _values(self, batch: Batch, found: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        maps = generic.dfim(
            self.scorable,
            batch,
            found,
            settings=self.settings.dfim,
            seed=self.seed,
            composition=self.composition,
            memory=MEMORY,
        )
        sums = [
            np.array([each.attribution[a:b].sum() for a, b in span]) for each, span in zip(maps, found, strict=True)
        ]
        return [(each.value, single) for each, single in zip(maps, sums, strict=True)]


class GenericAttention(_FilterScorer):
    """Score slices of sequences by the attention that a network returns; arguments as of Scorer.

    Raises:
        ConfigError: the network has no attention, or no first-layer activations.
    """

    choose = LARGEST

    def __init__(self, model: TrainableModel, threshold: torch.Tensor, **given: Any) -> None:
        super().__init__(model, threshold, **given)
        if not model.has_attention:
            raise ConfigError(
                "score.methods: attention, but the network has none; choose epistasis or dfim, or let the model family "
                "offer attention(one_hot)"
            )
        self.pool = model.pool

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence, of a network with 8 heads."""
        model, bins = self.model, self.model.length // self.model.pool
        return 64 * model.length + (16 * model.length + 160 * bins) * model.filters + 136 * bins**2

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example: every filter active in every bin."""
        bins = self.model.length // self.model.pool + 1  # a layer that pads may have one more
        return self.model.filters * bins, bins

    @torch.inference_mode()
    def maps(self, batch: Batch) -> torch.Tensor:
        """Return attention, float32 (B, heads, n, n); rows look at columns."""
        found: torch.Tensor = self.model(batch.tokens.to(self.device), attention=True).attention
        return found

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice; keys and targets play no part."""
        tokens = batch.tokens.to(self.device)
        attention = self.model(tokens, attention=True).attention
        pooled = self.model.pooled(tokens)
        if attention.shape[2:] != (pooled.shape[2], pooled.shape[2]):
            raise ConfigError(
                f"the network's attention is {tuple(attention.shape)}, expected {pooled.shape[2]} positions of "
                f"{self.model.pool} bp (pool); let the model family say its pool"
            )
        active = pooled > self.threshold[:, None]
        bins = occupied_bins(active)
        rows = attention.gather(2, bins[:, None, :, None].expand(-1, attention.shape[1], -1, attention.shape[3]))
        return of_bins(
            strength(rows, bins), pooled, active=active, threshold=self.threshold, model=self.model, tokens=tokens
        )


def spans(found: Sites, model: TrainableModel) -> list[np.ndarray]:
    """Return the intervals of the sites of each sequence, int64 (m, 2), half-open."""
    start = found.position - model.padding
    both = torch.stack((start, start + found.widths_in(model)), dim=2)
    return [row[used].cpu().numpy() for row, used in zip(both, found.used, strict=True)]
