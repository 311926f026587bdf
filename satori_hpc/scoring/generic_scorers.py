"""The scoring methods for networks that no hand-written path serves; see `generic` for what they compute.

A network must give back the activations of its first layer (`site_activations`), from which sites are chosen.
"""

import numpy as np
import torch

from satori_hpc import pairs
from satori_hpc.config import Score
from satori_hpc.errors import ConfigError
from satori_hpc.models.base import Scorable, TrainableModel, require_filters
from satori_hpc.scoring import generic, pair_kernel, sites
from satori_hpc.scoring.attention import strength
from satori_hpc.scoring.base import Batch, PairScores, must_fit
from satori_hpc.scoring.dfim import larger_direction, permuted
from satori_hpc.scoring.sites import Sites, site_pair_scores

SLICE = 4
MEMORY = 256 << 20  # bytes of the arrays of a pass


class _SiteScorer:
    """What is common to methods that mutate sites; see PairScorer.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active where its activation is above (strictly).
        settings: the section [score].
        seed: of the run.
        composition: float64 (4,), letter frequencies of random baselines.

    Raises:
        ConfigError: the network has no first-layer activations.
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    extras: tuple[str, ...] = ()
    slice_size = SLICE

    def __init__(
        self,
        model: TrainableModel,
        threshold: torch.Tensor,
        *,
        settings: Score,
        seed: int,
        composition: np.ndarray,
    ) -> None:
        must_fit(model.length)
        require_filters(model)
        self.model = model
        self.scorable = Scorable(model).eval()
        self.device = next(model.parameters()).device
        self.threshold = threshold.to(self.device)
        self.settings, self.seed, self.composition = settings, seed, composition

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence, of which passes through the network are held to MEMORY."""
        model, most = self.model, self.settings.sites.max_sites
        letters = 32 * model.length * (1 + most + most**2)
        results = (100 + 8 * len(self.extras)) * pairs.count(model.filters) + 16 * most * (model.filters + most)
        return MEMORY // SLICE + letters + 25 * model.filters * model.length + results

    def maps(self, batch: Batch) -> tuple[Sites, torch.Tensor]:
        """The sites, and the values between them, float32 (B, M, M), NaN where sites are no pair."""
        found = self._find_sites(batch)
        return found, self.map_sites(batch, found)

    def map_sites(self, batch: Batch, found: Sites) -> torch.Tensor:
        """The values between given sites, as of `maps`."""
        most = found.position.shape[1]
        out = torch.full((len(batch), most, most), torch.nan, device=self.device)
        for row, value in enumerate(self._values(batch, spans(found, self.model))):
            out[row, : len(value), : len(value)] = torch.from_numpy(value)
        return out

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Nothing: it is not told how far the scores are off."""
        return {}

    @torch.inference_mode()
    def _find_sites(self, batch: Batch) -> Sites:
        chosen = self.settings.sites
        return sites.strongest(
            self.model.site_activations(batch.tokens.to(self.device)),
            self.threshold,
            padding=self.model.padding,
            width=self.model.width,
            most=chosen.max_sites,
            all_filters=chosen.filters == "all",
        )

    def _values(self, batch: Batch, found: list[np.ndarray]) -> list[np.ndarray]:
        """Between the sites of each sequence, (m, m)."""
        raise NotImplementedError


class GenericEpistasis(_SiteScorer):
    """Scores slices of sequences by double mutants."""

    def __call__(self, batch: Batch) -> PairScores:
        """Score a slice."""
        found, value = self.maps(batch)
        distance, combine = self.settings.sites.max_distance, self.settings.epistasis.combine
        return site_pair_scores(value, found, max_distance=distance, combine=combine)

    def _values(self, batch: Batch, found: list[np.ndarray]) -> list[np.ndarray]:
        maps = generic.epistasis(
            self.scorable,
            batch,
            found,
            seed=self.seed,
            mutations=self.settings.epistasis.mutations,
            max_distance=self.settings.sites.max_distance,
            memory=MEMORY,
        )
        return [each.value for each in maps]


class GenericDfim(_SiteScorer):
    """Scores slices of sequences by DFIM; settings that only SATORI networks have are refused."""

    def __init__(
        self,
        model: TrainableModel,
        threshold: torch.Tensor,
        *,
        settings: Score,
        seed: int,
        composition: np.ndarray,
    ) -> None:
        super().__init__(model, threshold, settings=settings, seed=seed, composition=composition)
        generic.rule(settings.dfim)
        self.extras = ("a_to_b", "b_to_a", "null") if settings.dfim.null else ("a_to_b", "b_to_a")

    def __call__(self, batch: Batch) -> PairScores:
        """Score a slice."""
        found, directed = self.maps(batch)
        both = {"a_to_b": directed, "b_to_a": directed.transpose(1, 2)}
        if self.settings.dfim.null:
            both["null"] = larger_direction(self.map_sites(permuted(batch, seed=self.seed), found))
        distance = self.settings.sites.max_distance
        return site_pair_scores(larger_direction(directed), found, max_distance=distance, extras=both)

    def _values(self, batch: Batch, found: list[np.ndarray]) -> list[np.ndarray]:
        maps = generic.dfim(
            self.scorable,
            batch,
            found,
            settings=self.settings.dfim,
            seed=self.seed,
            composition=self.composition,
            memory=MEMORY,
        )
        return [each.value for each in maps]


class GenericAttention:
    """Scores slices of sequences by the attention that a network gives back; see PairScorer.

    Args: as of _SiteScorer; nothing is random.

    Raises:
        ConfigError: the network has no attention, or no first-layer activations.
    """

    extras: tuple[str, ...] = ()
    slice_size = SLICE

    def __init__(
        self,
        model: TrainableModel,
        threshold: torch.Tensor,
        *,
        settings: Score,
        seed: int,
        composition: np.ndarray,
    ) -> None:
        must_fit(model.length)
        require_filters(model)
        if not model.has_attention:
            raise ConfigError(
                "score.methods: attention, but the network has none; choose epistasis or dfim, or let the model family "
                "offer attention(one_hot)"
            )
        self.model = model
        self.device = next(model.parameters()).device
        self.threshold = threshold.to(self.device)

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence, of a network with 8 heads."""
        model, cells = self.model, self.model.length // self.model.pool
        activations = (16 * model.length + 48 * cells) * model.filters
        return 64 * model.length + activations + 128 * cells**2 + 8 * pairs.count(model.filters)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> PairScores:
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
        cells = pair_kernel.occupied_cells(active)
        rows = attention.gather(2, cells[:, None, :, None].expand(-1, attention.shape[1], -1, attention.shape[3]))
        return pair_kernel.pair_scores(strength(rows, cells), cells, active=active, pool=self.model.pool)

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Nothing: attention is read off, not approximated."""
        return {}


def spans(found: Sites, model: TrainableModel) -> list[np.ndarray]:
    """The letters of the sites of each sequence, int64 (m, 2): the first, and the one behind the last."""
    starts = [row[used].cpu().numpy() - model.padding for row, used in zip(found.position, found.used, strict=True)]
    return [np.stack((each, each + model.width), axis=1) for each in starts]
