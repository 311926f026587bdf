"""Score pairs of listed sites: those of a scan or a file with any network, and the common part of motif tokens.

Every site is a place of its own. Sites that overlap are no pair. Attention and its attribution are read from the bins
in which a site lies; epistasis and DFIM mutate the site, by `generic`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from satori_hpc.config.score import METHODS
from satori_hpc.errors import ConfigError, SatoriError
from satori_hpc.models.base import Scorable, TrainableModel
from satori_hpc.registry import load
from satori_hpc.scoring import generic
from satori_hpc.scoring.base import LARGEST, LARGEST_SIZE, Batch, Scorer, SiteScores, ragged
from satori_hpc.scoring.dfim import permuted
from satori_hpc.scoring.fast.precision import precision
from satori_hpc.scoring.sites import Sites
from satori_hpc.sites.given import GivenSites, SiteTable

SLICE = 4
MEMORY = 256 << 20  # bytes of the arrays of a pass


class ListScorer(Scorer):
    """Common part of methods that score a table of sites per sequence; arguments as of Scorer."""

    slice_size = SLICE
    widths: np.ndarray

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example: each site is a place."""
        return self.settings.sites.max_sites, self.settings.sites.max_sites

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence, of which passes through the network are held to MEMORY."""
        most = self.settings.sites.max_sites
        return MEMORY // SLICE + 32 * self.model.length * (1 + most + most**2) + 200 * most**2

    def sites_of(self, batch: Batch) -> Sequence[SiteTable]:
        """Return the sites of each sequence, the strongest of them."""
        raise NotImplementedError

    def bins(self, mine: SiteTable, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last of so many bins of the attention in which sites lie, int64."""
        # The filter that has a base in its middle starts width // 2 left of it, and padding is left of the sequence.
        shift, pool = self.model.padding - self.model.width // 2, self.model.pool
        first, last = (np.clip((at + shift) // pool, 0, count - 1) for at in (mine.start, mine.end - 1))
        return first, last

    def no_pairs(self, mine: SiteTable) -> np.ndarray:
        """Return bool (m, m): sites that overlap or are too far apart."""
        start, end = mine.start, mine.end
        out: np.ndarray = np.maximum(start[:, None], start) < np.minimum(end[:, None], end)
        if self.settings.sites.max_distance:
            out |= np.abs(start[:, None] - start) > self.settings.sites.max_distance
        return out

    def told(
        self,
        sites: Sequence[SiteTable],
        value: list[np.ndarray],
        effects: dict[str, list[np.ndarray]] | None = None,
        extras: dict[str, list[np.ndarray]] | None = None,
    ) -> SiteScores:
        """Return SiteScores of sites, each with its own place.

        Args:
            sites: of each sequence.
            value: between them, float (m, m) of each; NaN = no pair.
            effects: of single sites, (m,) of each, by name.
            extras: further values, by name.
        """
        most = max(1, *(len(each) for each in sites))
        used = np.arange(most) < np.array([len(each) for each in sites])[:, None]
        every = SiteTable.joined(sites)
        start = np.zeros(used.shape, dtype=np.int64)
        start[used] = every.start
        example, place = np.nonzero(used)
        table = np.stack([example, every.motif, every.start, every.strand, place], axis=1)
        order = np.lexsort((table[:, 4], table[:, 1], table[:, 0]))
        return ragged(
            table[order],
            every.strength.astype(np.float32)[order],
            start,
            used,
            _padded(value, most),
            directed=self.directed,
            extras={name: _padded(each, most) for name, each in (extras or {}).items()},
            effects={name: _padded(each, most) for name, each in (effects or {}).items()},
        )


def located(sites: Sequence[SiteTable], values: list[np.ndarray], scorer: ListScorer) -> tuple[Sites, torch.Tensor]:
    """Convert sites of each sequence, and values (m, m) between them, to padded tensors (B, M) and (B, M, M)."""
    most = max(1, *(len(each) for each in sites))
    members = torch.zeros(len(sites), most, len(scorer.widths), dtype=torch.bool)
    for row, mine in enumerate(sites):
        members[row, torch.arange(len(mine)), torch.from_numpy(mine.motif)] = True

    def columns(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.pad(vars(each)[name], (0, most - len(each))) for each in sites]))

    start = columns("start")
    found = Sites(start + scorer.model.padding, members.any(dim=2), members, columns("end") - start)
    return found, torch.from_numpy(_padded(values, most))


def _padded(values: list[np.ndarray], most: int) -> np.ndarray:
    """Return (B, most, ...) float32 of arrays (m, ...), NaN where there is nothing."""
    return np.stack(
        [np.pad(each, [(0, most - size) for size in each.shape], constant_values=np.nan) for each in values]
    ).astype(np.float32)


class BinScorer(ListScorer):
    """Common part of methods that score pairs of bins; arguments as of Scorer.

    The score of two sites is that of their bins, the largest over heads and both directions: of several bins the
    largest or, for values that add up, their sum. Sites that share a bin are no pair.
    """

    choose = LARGEST
    adds = False

    def maps(self, batch: Batch) -> torch.Tensor:
        """Return values between all bins, float32 (B, heads, n, n)."""
        raise NotImplementedError

    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice.

        Raises:
            SatoriError: a value is not finite.
        """
        maps = self.maps(batch)
        if not bool(torch.isfinite(maps).all()):
            raise SatoriError(
                "the model's attention holds values that are not finite: its training diverged; train again"
            )
        sites, values = self.sites_of(batch), []
        for of_heads, mine in zip(maps.float().cpu().numpy(), sites, strict=True):
            first, last = self.bins(mine, of_heads.shape[1])
            found = np.zeros((len(mine), len(mine)), dtype=np.float32)
            for a in range(len(mine)):
                rows = of_heads[:, first[a] : last[a] + 1]
                for b in range(len(mine)):
                    both = rows[:, :, first[b] : last[b] + 1]
                    found[a, b] = both.sum(axis=(1, 2)).max() if self.adds else both.max()
            found = np.maximum(found, found.T)
            shared = np.maximum(first[:, None], first) <= np.minimum(last[:, None], last)
            found[shared | self.no_pairs(mine)] = np.nan
            values.append(found)
        return self.told(sites, values)


class MutationScorer(ListScorer):
    """Common part of methods that mutate sites, for any network; arguments as of Scorer."""

    choose = LARGEST_SIZE
    effects: tuple[str, ...] = ("single",)

    def __init__(self, model: TrainableModel, *given: Any, **settings: Any) -> None:
        super().__init__(model, *given, **settings)
        self.scorable = Scorable(model).eval()

    def maps(self, batch: Batch) -> tuple[Sites, torch.Tensor]:
        """Return the sites, and the values between them, float32 (B, M, M), NaN where sites are no pair."""
        sites = self.sites_of(batch)
        return located(sites, self._of_pairs(batch, sites)[0], self)

    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice."""
        sites = self.sites_of(batch)
        value, single = self._of_pairs(batch, sites)
        return self.told(sites, value, {"single": single}, self._extras(batch, sites))

    def _of_pairs(self, batch: Batch, sites: Sequence[SiteTable]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        spans = [np.stack([each.start, each.end], axis=1) for each in sites]
        value, single = zip(*self._values(batch, spans), strict=True)
        for found, mine in zip(value, sites, strict=True):
            found[self.no_pairs(mine)] = np.nan
        return list(value), list(single)

    def _values(self, batch: Batch, spans: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the values between the intervals of each sequence, (m, m), and of each alone, (m,)."""
        raise NotImplementedError

    def _extras(self, batch: Batch, sites: Sequence[SiteTable]) -> dict[str, list[np.ndarray]]:
        return {}


class ListDfim(MutationScorer):
    """Score slices of sequences by DFIM; settings that only SATORI networks have are refused."""

    directed = True

    def __init__(self, model: TrainableModel, *given: Any, **settings: Any) -> None:
        super().__init__(model, *given, **settings)
        generic.rule(self.settings.dfim)
        self.extras = ("null",) if self.settings.dfim.null else ()

    def attributions(self, batch: Batch) -> torch.Tensor:
        """Return the attribution of every base of the sequences, float32 (B, L), averaged over the baselines."""
        found = generic.attributions(self.scorable, batch, **self._how)
        return torch.from_numpy(found).float()

    @property
    def _how(self) -> dict[str, Any]:
        return {
            "settings": self.settings.dfim,
            "seed": self.seed,
            "composition": self.composition,
            "memory": MEMORY,
        }

    def _values(self, batch: Batch, spans: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        maps = generic.dfim(self.scorable, batch, spans, **self._how)
        sums = [
            np.array([each.attribution[a:b].sum() for a, b in span]) for each, span in zip(maps, spans, strict=True)
        ]
        return [(each.value, single) for each, single in zip(maps, sums, strict=True)]

    def _extras(self, batch: Batch, sites: Sequence[SiteTable]) -> dict[str, list[np.ndarray]]:
        if not self.extras:
            return {}
        return {"null": self._of_pairs(permuted(batch, seed=self.seed), sites)[0]}


class _Given(ListScorer):
    """Sites come from `given`; else arguments as of Scorer."""

    def __init__(self, model: TrainableModel, given: GivenSites, **settings: Any) -> None:
        super().__init__(model, torch.zeros(0), **settings)
        self.given = given
        self.widths = given.widths.astype(np.int16)

    def sites_of(self, batch: Batch) -> list[SiteTable]:
        table = self.given.find(batch.tokens.cpu().numpy(), batch.keys[:, 1].cpu().numpy())
        each = (table.take(np.flatnonzero(table.example == row)) for row in range(len(batch)))
        return [mine.strongest(self.settings.sites.max_sites) for mine in each]


class GivenAttention(_Given, BinScorer):
    """Score given sites by the attention that a network returns.

    Raises:
        ConfigError: the network has no attention.
    """

    def __init__(self, model: TrainableModel, given: GivenSites, **settings: Any) -> None:
        super().__init__(model, given, **settings)
        if not model.has_attention:
            raise ConfigError(
                "score.methods: attention, but the network has none; choose epistasis or dfim, or let the model family "
                "offer attention(one_hot)"
            )

    @torch.inference_mode()
    def maps(self, batch: Batch) -> torch.Tensor:
        with precision(self.device, "float32"):
            found: torch.Tensor = self.model(batch.tokens.to(self.device), attention=True).attention
        return found


class GivenAttribution(_Given, BinScorer):
    """Score given sites by attributions of attention, which add up over the bins of a site.

    Raises:
        ConfigError: the network has no such attributions.
    """

    adds = True

    def __init__(self, model: TrainableModel, given: GivenSites, **settings: Any) -> None:
        super().__init__(model, given, **settings)
        make = load(model.scorers.get("attribution", METHODS["attribution"].scorer))
        self._maps: Callable[[Batch], torch.Tensor] = make(model, torch.zeros(model.motifs), **settings).maps

    def maps(self, batch: Batch) -> torch.Tensor:
        found = self._maps(batch)
        return found.abs() if self.settings.attribution.absolute else found


class GivenEpistasis(_Given, MutationScorer):
    """Score given sites by double mutants."""

    def _values(self, batch: Batch, spans: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        maps = generic.epistasis(
            self.scorable,
            batch,
            spans,
            seed=self.seed,
            mutations=self.settings.epistasis.mutations,
            max_distance=self.settings.sites.max_distance,
            memory=MEMORY,
        )
        return [(each.value, each.single) for each in maps]


class GivenDfim(_Given, ListDfim):
    """Score given sites by DFIM."""
