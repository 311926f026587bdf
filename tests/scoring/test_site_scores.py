"""Values between sites as a store keeps them, and the pairs of filters that follow from them, against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.interactions.site_pairs import PairBlock, Partition, Units
from satori_hpc.models.base import TrainableModel
from satori_hpc.scoring.site_scores import LARGEST_SIZE, SiteScores
from satori_hpc.scoring.sites import Sites, largest_at, site_scores
from tests.fixtures.scores import same_bytes, starts_of
from tests.oracles import sites_oracle

PADDING = 3


def random_sites(rng: np.random.Generator, *, batch: int, most: int, filters: int) -> Sites:
    position = np.zeros((batch, most), np.int64)
    used = np.zeros((batch, most), bool)
    members = np.zeros((batch, most, filters), bool)
    for b in range(batch):
        number = int(rng.integers(most + 1))
        used[b, :number] = True
        position[b, :number] = np.sort(rng.choice(40, number, replace=False)) * 5
        members[b, :number] = rng.random((number, filters)) < 0.4
        members[b, np.arange(number), rng.integers(filters, size=number)] = True
    return Sites(*(torch.from_numpy(array) for array in (position, used, members)))


def laid_out(scores: SiteScores, filters: int, *, combine: str = "largest", directed: bool = False) -> PairBlock:
    partition = Partition(scores, Units.motifs(filters, combine), choose=LARGEST_SIZE, directed=directed)
    return partition.block(0, partition.units.pairs, slice(0, len(scores)))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(2, 7),
    filters=st.integers(2, 6),
    max_distance=st.sampled_from([0, 20, 60]),
    combine=st.sampled_from(["largest", "sum"]),
    directed=st.booleans(),
    levels=st.sampled_from([0, 2]),
)
def test_equal_the_loops(seed, most, filters, max_distance, combine, directed, levels):
    rng = np.random.default_rng(seed)
    sites = random_sites(rng, batch=3, most=most, filters=filters)
    value, extra = rng.standard_normal((2, 3, most, most)).astype(np.float32)
    if levels:
        value = (np.round(value * levels) / levels).astype(np.float32)
    gone = rng.random(value.shape) < 0.1
    value[gone | gone.transpose(0, 2, 1)] = np.nan
    if not directed:
        value, extra = (np.triu(maps) + np.triu(maps, k=1).transpose(0, 2, 1) for maps in (value, extra))
    activations = rng.random((3, most, filters)).astype(np.float32)
    single = rng.standard_normal((3, most)).astype(np.float32)
    scores = site_scores(
        torch.from_numpy(value),
        sites,
        torch.from_numpy(activations),
        padding=PADDING,
        max_distance=max_distance,
        directed=directed,
        extras={"extra": torch.from_numpy(extra)},
        effects={"single": torch.from_numpy(single)},
    )
    found = laid_out(scores, filters, combine=combine, directed=directed)
    distances, starts, between, effects = (
        found.distance(),
        starts_of(found),
        found.between("extra"),
        found.effects("single"),
    )
    site, strength = scores.site.tolist(), scores.strength.tolist()
    for b in range(3):
        number = int(sites.used[b].sum())
        places = [
            (int(sites.position[b, i]), set(sites.members[b, i].nonzero().flatten().tolist())) for i in range(number)
        ]
        seen, seen_extra = value[b], extra[b]
        if directed:
            seen, seen_extra = (np.maximum(np.abs(maps), np.abs(maps.T)) for maps in (seen, seen_extra))
        score, distance, position, which = sites_oracle.pair_scores(
            seen, places, filters=filters, max_distance=max_distance, combine=combine
        )
        np.testing.assert_allclose(found.score[b], score, rtol=0 if combine == "largest" else 1e-6, atol=1e-6)
        np.testing.assert_array_equal(distances[b], distance)
        missing = position == sites_oracle.MISSING
        np.testing.assert_array_equal(starts[b], np.where(missing, position, position - PADDING))
        expected = [np.nan if entry is None else float(seen_extra[entry]) for entry in which]
        np.testing.assert_array_equal(between[b], np.array(expected, np.float32))
        for side in (0, 1):
            expected = [np.nan if entry is None else float(single[b, entry[side]]) for entry in which]
            np.testing.assert_array_equal(effects[side][b], np.array(expected, np.float32))
        for motif in range(filters):  # one site for each filter that a site counts for, by motif, then place
            for i, (start, members) in enumerate(places):
                if motif in members:
                    assert site.pop(0) == [motif, start - PADDING, 1, i]
                    assert strength.pop(0) == activations[b, i, motif]
    assert not site
    assert not strength
    assert scores.counts[:, 1].tolist() == sites.used.sum(dim=1).tolist()
    assert {name: values.dtype.name for name, values in scores.arrays().items()} == {
        "counts": "int32",
        "site": "int16",
        "strength": "float32",
        "place": "int16",
        "value": "float32",
        "extra": "float32",
        "single": "float32",
    }


def two_sites() -> Sites:
    members = torch.zeros(1, 3, 2, dtype=torch.bool)
    members[0, 0, 1] = members[0, 1, 0] = True
    return Sites(torch.tensor([[10, 40, 0]]), torch.tensor([[True, True, False]]), members)


def scored(value: torch.Tensor, sites: Sites, *, max_distance: int = 0, directed: bool = False) -> SiteScores:
    activations = torch.ones(sites.members.shape)
    return site_scores(value, sites, activations, padding=0, max_distance=max_distance, directed=directed)


def test_the_sign_is_kept_and_distance_runs_from_the_smaller_filter():
    value = torch.full((1, 3, 3), torch.nan)
    value[0, 1, 0] = value[0, 0, 1] = -3.0  # filter 0 has site 1, filter 1 site 0
    found = laid_out(scored(value, two_sites()), 2)
    assert (found.score.item(), found.distance().item(), starts_of(found).item()) == (-3.0, -30, 40)


def test_both_directions_are_kept_in_their_places():
    value = torch.full((1, 3, 3), torch.nan)
    value[0, 1, 0], value[0, 0, 1] = -3.0, 5.0
    scores = scored(value, two_sites(), directed=True)
    np.testing.assert_array_equal(scores.value.reshape(2, 2), [[np.nan, 5], [-3, np.nan]])


@pytest.mark.parametrize(("max_distance", "seen"), [(29, False), (30, True)])
@pytest.mark.parametrize("directed", [False, True])
def test_the_largest_distance_still_counts(max_distance, seen, directed):
    scores = scored(torch.zeros(1, 3, 3), two_sites(), max_distance=max_distance, directed=directed)
    found = laid_out(scores, 2, directed=directed)
    assert bool(np.isfinite(found.score.item())) == seen
    assert (starts_of(found).item() == 40) == seen
    assert len(scores.value) == (4 if directed else 1)


def test_two_filters_of_one_site_are_no_pair():
    members = torch.ones(1, 1, 2, dtype=torch.bool)
    sites = Sites(torch.tensor([[4]]), torch.tensor([[True]]), members)
    scores = scored(torch.ones(1, 1, 1), sites)
    assert scores.counts.tolist() == [[2, 1]]
    for combine in ("largest", "sum"):
        assert np.isnan(laid_out(scores, 2, combine=combine).score).all()


def test_no_site_at_all():
    empty = Sites(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, 4) > 0)
    found = laid_out(scored(torch.zeros(2, 3, 3), empty, max_distance=60), 4)
    assert found.score.shape == (2, 6)
    assert np.isnan(found.score).all()
    assert (found.distance() == -32768).all()


@pytest.mark.parametrize("reach", [0, 3])
def test_strength_is_the_largest_activation_near_the_site_relative_to_the_threshold(reach):
    rng = np.random.default_rng(8)
    sites = random_sites(rng, batch=3, most=5, filters=4)
    activations = rng.standard_normal((3, 4, 200)).astype(np.float32)
    threshold = np.array([0.5, 0, 2, 1], np.float32)
    strength = TrainableModel().strength(torch.from_numpy(activations), torch.from_numpy(threshold))
    found = largest_at(strength, sites, reach=reach).numpy()
    for b in range(3):
        for i, position in enumerate(sites.position[b].tolist()):
            near = activations[b, :, max(0, position - reach) : position + reach + 1].max(axis=1)
            np.testing.assert_allclose(found[b, i], near / np.maximum(threshold, 1e-12), rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_gives_the_same():
    rng = np.random.default_rng(2)
    here = random_sites(rng, batch=4, most=6, filters=5)
    there = Sites(here.position.cuda(), here.used.cuda(), here.members.cuda())
    value = torch.from_numpy(rng.standard_normal((4, 6, 6)).astype(np.float32))
    activations = torch.from_numpy(rng.random((4, 6, 5)).astype(np.float32))
    one = site_scores(value, here, activations, padding=3, max_distance=60)
    other = site_scores(value.cuda(), there, activations.cuda(), padding=3, max_distance=60)
    assert same_bytes(one, other)
