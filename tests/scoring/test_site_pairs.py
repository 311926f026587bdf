"""Scores of filter pairs from values of site pairs, against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.scoring.sites import Sites, site_pair_scores
from tests.oracles import sites_oracle


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


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(2, 7),
    filters=st.integers(2, 6),
    max_distance=st.sampled_from([0, 20, 60]),
    combine=st.sampled_from(["largest", "sum"]),
    levels=st.sampled_from([0, 2]),
)
def test_equal_the_loops(seed, most, filters, max_distance, combine, levels):
    rng = np.random.default_rng(seed)
    sites = random_sites(rng, batch=3, most=most, filters=filters)
    value = rng.standard_normal((3, most, most)).astype(np.float32)  # signed, not symmetric
    if levels:
        value = (np.round(value * levels) / levels).astype(np.float32)
    value[rng.random(value.shape) < 0.1] = np.nan
    extra = torch.from_numpy(rng.standard_normal(value.shape).astype(np.float32))
    found = site_pair_scores(
        torch.from_numpy(value), sites, max_distance=max_distance, combine=combine, extras={"extra": extra}
    )
    for b in range(3):
        number = int(sites.used[b].sum())
        places = [
            (int(sites.position[b, i]), set(sites.members[b, i].nonzero().flatten().tolist())) for i in range(number)
        ]
        score, distance, position, which = sites_oracle.pair_scores(
            value[b], places, filters=filters, max_distance=max_distance, combine=combine
        )
        np.testing.assert_allclose(found.score[b].numpy(), score, rtol=0 if combine == "largest" else 1e-6, atol=1e-6)
        np.testing.assert_array_equal(found.distance[b].numpy(), distance)
        np.testing.assert_array_equal(found.position[b].numpy(), position)
        expected = [np.nan if entry is None else float(extra[b][entry]) for entry in which]
        np.testing.assert_array_equal(found.extras["extra"][b].numpy(), np.array(expected, np.float32))
    assert found.sites.tolist() == sites.used.sum(dim=1).tolist()
    assert (found.score.dtype, found.distance.dtype, found.position.dtype) == (torch.float32, torch.int16, torch.int16)


def two_sites() -> Sites:
    members = torch.zeros(1, 3, 2, dtype=torch.bool)
    members[0, 0, 1] = members[0, 1, 0] = True
    return Sites(torch.tensor([[10, 40, 0]]), torch.tensor([[True, True, False]]), members)


def test_the_sign_is_kept_and_distance_runs_from_the_smaller_filter():
    value = torch.full((1, 3, 3), torch.nan)
    value[0, 1, 0], value[0, 0, 1] = -3.0, 5.0  # filter 0 has site 1, filter 1 site 0
    found = site_pair_scores(value, two_sites(), max_distance=0)
    assert (found.score.item(), found.distance.item(), found.position.item()) == (-3.0, -30, 40)


@pytest.mark.parametrize(("max_distance", "seen"), [(29, False), (30, True)])
def test_the_largest_distance_still_counts(max_distance, seen):
    found = site_pair_scores(torch.zeros(1, 3, 3), two_sites(), max_distance=max_distance)
    assert bool(found.score.isfinite().item()) == seen
    assert (found.position.item() == 40) == seen


def test_two_filters_of_one_site_are_no_pair():
    members = torch.ones(1, 1, 2, dtype=torch.bool)
    sites = Sites(torch.tensor([[4]]), torch.tensor([[True]]), members)
    for combine in ("largest", "sum"):
        assert site_pair_scores(torch.ones(1, 1, 1), sites, max_distance=0, combine=combine).score.isnan().all()


def test_no_site_at_all():
    empty = Sites(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, 4) > 0)
    found = site_pair_scores(torch.zeros(2, 3, 3), empty, max_distance=60)
    assert found.score.shape == (2, 6)
    assert found.score.isnan().all()
    assert (found.distance == -32768).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("combine", ["largest", "sum"])
def test_the_device_gives_the_same(combine):
    rng = np.random.default_rng(2)
    here = random_sites(rng, batch=4, most=6, filters=5)
    there = Sites(here.position.cuda(), here.used.cuda(), here.members.cuda())
    value = torch.from_numpy(rng.standard_normal((4, 6, 6)).astype(np.float32))
    one = site_pair_scores(value, here, max_distance=60, combine=combine)
    other = site_pair_scores(value.cuda(), there, max_distance=60, combine=combine)
    torch.testing.assert_close(other.score.cpu(), one.score, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert torch.equal(other.distance.cpu(), one.distance)
    assert torch.equal(other.position.cpu(), one.position)
