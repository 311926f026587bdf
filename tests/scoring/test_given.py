"""Scores of given sites: those of SATORI's own paths at the same sites, and attention bin by bin."""

import dataclasses

import numpy as np
import pytest
import torch

from satori_hpc.config import Attribution, Dfim, Epistasis, Score, Sites
from satori_hpc.errors import ConfigError
from satori_hpc.scoring import registry
from satori_hpc.scoring.epistasis import EpistasisScorer
from satori_hpc.scoring.generic_scorers import spans
from satori_hpc.sites.given import ListedSites, SiteTable
from tests.models.test_motif_tokens import network
from tests.scoring.test_epistasis import make_batch, make_model, make_scorer
from tests.scoring.test_motif_token_scores import unpacked

SETTINGS = Score(
    sites=Sites(max_sites=6),
    epistasis=Epistasis(mutations=2),
    dfim=Dfim(rule="midpoint", steps=3, baselines=1, mutations=1),
    attribution=Attribution(steps=3),
)


def listed(rows: list[tuple[int, int, int, int]], names: int) -> ListedSites:
    """Sites of (example, start, end, motif), the first the strongest."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    strength = -np.arange(len(rows), dtype=np.float64)
    table = SiteTable(*columns[:4], np.ones(len(rows), dtype=np.int64), strength)
    order = np.lexsort((table.motif, table.start, table.example))
    return ListedSites(table.take(order), [f"m{k}" for k in range(names)], digest="")


def given_scorer(method: str, model, sites: ListedSites, settings: Score = SETTINGS):
    return registry.build(
        method, model, threshold=torch.zeros(0), settings=settings, seed=3, composition=np.full(4, 0.25), given=sites
    )


@pytest.mark.parametrize("method", ["epistasis", "dfim"])
def test_mutations_of_given_sites_are_those_of_satori_at_the_same_sites(method):
    model, batch = make_model(), make_batch(4)
    batch = dataclasses.replace(batch, keys=torch.stack((torch.zeros(4, dtype=torch.int64), torch.arange(4)), dim=1))
    own: EpistasisScorer = make_scorer(model, batch, most=6)
    found, _ = own.maps(batch)
    hand = registry.build(
        method, model, threshold=own.threshold, settings=SETTINGS, seed=own.seed, composition=np.full(4, 0.25)
    )
    expected = hand.map_sites(batch, found)
    table = [
        (row, int(start), int(end), 0) for row, each in enumerate(spans(found, model)) for start, end in each.tolist()
    ]
    scorer = registry.build(
        method, model, threshold=torch.zeros(0), settings=SETTINGS, seed=own.seed, composition=np.full(4, 0.25),
        given=listed(table, 1),
    )  # fmt: skip
    sites, values = scorer.maps(batch)
    torch.testing.assert_close(sites.position[sites.used], found.position[found.used])
    most = values.shape[1]
    assert int((~values.isnan()).sum()) > 20
    torch.testing.assert_close(values, expected[:, :most, :most], rtol=1e-3, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("family", ["satori", "tokens"])
@pytest.mark.parametrize("method", ["attention", "attribution"])
def test_attention_is_read_from_the_bins_of_the_bases_of_a_site(family, method):
    if family == "satori":
        model, batch = make_model(pool=4), make_batch(2)
    else:
        model = network(pool=4)
        batch = dataclasses.replace(make_batch(2, length=model.length), targets=None)
    batch = dataclasses.replace(batch, keys=torch.tensor([[0, 0], [1, 5]]))
    table = [(0, 2, 6, 0), (0, 8, 21, 1), (0, 21, 25, 0), (5, 1, 5, 0), (5, 12, 25, 1)]
    scorer = given_scorer(method, model, listed(table, 2))
    found, maps = unpacked(scorer(batch)), scorer.maps(batch).numpy()

    def bins(start: int, end: int) -> list[int]:
        # Base p is the middle of the window at p - width // 2, which is place p - width // 2 + padding of the track.
        shift = model.padding - model.width // 2
        return sorted({min(max((p + shift) // 4, 0), maps.shape[2] - 1) for p in range(start, end)})

    compared = 0
    for example, row in enumerate((0, 5)):
        mine = [each for each in table if each[0] == row]
        sites, value = found[example]
        assert sites[:, :2].tolist() == [[each[3], each[1]] for each in mine]
        for i in range(len(mine)):
            for u in range(i + 1, len(mine)):
                here, there = bins(*mine[i][1:3]), bins(*mine[u][1:3])
                if set(here) & set(there):
                    assert np.isnan(value[i, u])
                    continue
                both = [maps[example][:, a][:, :, b] for a, b in ((here, there), (there, here))]
                each = [part.sum(axis=(1, 2)).max() if method == "attribution" else part.max() for part in both]
                assert value[i, u] == pytest.approx(max(each), rel=1e-5)
                compared += 1
    assert compared >= 3


def test_the_strongest_sites_of_an_example_are_kept():
    model, batch = make_model(), make_batch(1)
    batch = dataclasses.replace(batch, keys=torch.tensor([[0, 0]]))
    table = [(0, 10 * k, 10 * k + 5, 0) for k in (5, 2, 7, 0)]
    settings = dataclasses.replace(SETTINGS, sites=Sites(max_sites=2))
    ((sites, _),) = unpacked(given_scorer("attention", model, listed(table, 1), settings)(batch))
    assert sites[:, 1].tolist() == [20, 50]
    with pytest.raises(ConfigError, match=r"rule = 'secant' are hand-written for SATORI networks and their own sites"):
        given_scorer("dfim", model, listed(table, 1), dataclasses.replace(SETTINGS, dfim=Dfim(rule="secant")))
