"""Raw attention: the sites and values of a model against loops over bins and filters."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from satori_hpc import models
from satori_hpc.config import Model, Score
from satori_hpc.errors import SatoriError
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import registry
from satori_hpc.scoring.attention import AttentionScorer, occupied_bins, of_bins, strength
from satori_hpc.scoring.base import LARGEST
from tests.fixtures.scores import batch_of, laid_out, same_bytes, starts_of, take
from tests.oracles.pair_scores import MISSING, brute_force, largest_attention


def symmetric(value: torch.Tensor) -> torch.Tensor:
    return torch.maximum(value, value.transpose(1, 2))


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_sites_are_the_active_filters_of_bins_and_values_lie_between_bins(density: float) -> None:
    model, rng = make_model(), np.random.default_rng(5)
    bins, filters = model.bins, model.filters
    pooled = torch.from_numpy(rng.random((3, filters, bins)).astype(np.float32))
    threshold = torch.full((filters,), 1 - density)
    pooled[1] = 0  # a sequence without any site
    active = pooled > threshold[:, None]
    occupied = occupied_bins(active)
    value = symmetric(torch.from_numpy(rng.random((3, bins, bins)).astype(np.float32)))
    gathered = value[torch.arange(3)[:, None, None], occupied[:, :, None], occupied[:, None, :]]
    found = of_bins(gathered, pooled, active=active, threshold=threshold, model=model)
    site, place, between = iter(found.site.tolist()), iter(found.place.tolist()), iter(found.value.tolist())
    strength_ = iter(found.strength.tolist())
    for b in range(3):
        there = [bin for bin in range(bins) if active[b, :, bin].any()]
        assert found.counts[b].tolist() == [int(active[b].sum()), len(there)]
        for f in range(filters):
            for bin in range(bins):
                if active[b, f, bin]:
                    start = bin * model.pool - model.padding
                    assert next(site) == [f, start, 1, there.index(bin)]
                    assert next(strength_) == pytest.approx(float(pooled[b, f, bin] / max(threshold[f], 1e-12)))
        for i, bin in enumerate(there):
            assert next(place) == bin * model.pool - model.padding
            for other in there[i + 1 :]:
                assert next(between) == float(value[b, bin, other])
    assert [next(rest, None) for rest in (site, place, between, strength_)] == [None] * 4


def test_strength_is_the_largest_over_heads_and_both_directions() -> None:
    attention = torch.rand(2, 3, 4, 9)
    bins = torch.tensor([[0, 2, 5, 8], [1, 3, 0, 0]])
    found = strength(attention, bins)
    for b in range(2):
        among = np.stack([attention[b, :, i].numpy()[:, bins[b].numpy()] for i in range(4)], axis=1)
        off = ~np.eye(4, dtype=bool)
        np.testing.assert_array_equal(found[b].numpy()[off], largest_attention(among)[off])


def make_model(*, filters: int = 12, length: int = 80) -> Satori:
    torch.manual_seed(3)
    config = Model(num_filters=filters, kernel_size=7, pool=4, num_heads=3, head_dim=8, mixing_size=12)
    return models.build(config, length=length, targets=1, task="binary", entropy=0.0).eval()


def random_tokens(sequences: int, *, length: int = 80) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(4).integers(0, 5, (sequences, length)).astype(np.uint8))


def thresholds(model: Satori, tokens: torch.Tensor, share: float = 0.5) -> torch.Tensor:
    with torch.inference_mode():
        highest = model.pooled(tokens).amax(dim=(0, 2))
    values = share * highest
    values[0] = torch.inf  # a dead filter
    return values


def test_the_scorer_equals_the_loop_on_the_attention_of_a_model() -> None:
    model, tokens = make_model(), random_tokens(6)
    threshold = thresholds(model, tokens)
    scorer = registry.build(
        "attention", model, threshold=threshold, settings=Score(), seed=1, composition=np.full(4, 0.25)
    )
    scores = scorer(batch_of(tokens))
    assert (scores.extras, scores.effects) == ({}, {})
    assert (scorer.directed, scorer.choose, scorer.extras, scorer.effects) == (False, LARGEST, (), ())
    found = laid_out(scores, scorer, model.filters)
    distances, starts = found.distance(), starts_of(found)
    with torch.inference_mode():
        attention = model(tokens, attention=True).attention.numpy()
        active = (model.pooled(tokens) > threshold[:, None]).numpy()
    for b in range(len(tokens)):
        score, distance, position = brute_force(largest_attention(attention[b]), active[b], pool=4)
        np.testing.assert_allclose(found.score[b], score, rtol=2e-6)
        np.testing.assert_array_equal(distances[b], distance)
        np.testing.assert_array_equal(starts[b], np.where(position == MISSING, MISSING, position - model.padding))
    np.testing.assert_array_equal(scores.counts[:, 0], active.sum(axis=(1, 2)))
    assert not bool(np.isfinite(found.score[:, :11]).any())  # the pairs of the dead filter
    assert 0.1 < float(np.isfinite(found.score).mean()) < 1
    assert (scores.counts <= np.array(scorer.most)).all()


def test_a_sequence_is_scored_alike_in_any_company() -> None:
    model, tokens = make_model(), random_tokens(9)
    scorer = AttentionScorer(model, thresholds(model, tokens))
    whole = scorer(batch_of(tokens))
    for part in (slice(0, 1), slice(2, 5), slice(8, None, -3)):
        rows = list(range(9))[part]
        alone, expected = scorer(batch_of(tokens[rows])), take(whole, rows)
        np.testing.assert_allclose(alone.value, expected.value, rtol=2e-6, atol=0)
        np.testing.assert_allclose(alone.strength, expected.strength, rtol=2e-6, atol=0)
        for name in ("counts", "site", "place"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(expected, name))


def test_threads_side_by_side_give_the_bytes_of_one() -> None:
    """In a process of its own thread setting: one intra-op thread, as the score stage has it."""
    model, tokens = make_model(), random_tokens(100)
    scorer = AttentionScorer(model, thresholds(model, tokens))
    slices = [batch_of(part) for part in tokens.split(scorer.slice_size)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = [scorer(part) for part in slices]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(scorer, slices * 3))
    finally:
        torch.set_num_threads(before)
    assert all(same_bytes(found, alone[number % len(alone)]) for number, found in enumerate(together))


def test_the_slice_follows_from_the_model_alone() -> None:
    model = make_model()
    scorer = AttentionScorer(model, torch.zeros(12))
    before = torch.get_num_threads()
    assert scorer.slice_size == 16
    torch.set_num_threads(1)
    assert scorer.slice_size == 16
    torch.set_num_threads(before)
    larger = AttentionScorer(make_model(length=160), torch.zeros(12))
    assert larger.bytes_per_sequence > 2 * scorer.bytes_per_sequence - 2**14


def test_a_call_needs_no_more_memory_than_it_says() -> None:
    """Peak memory of a process that scores slices in which every filter is active in every bin."""
    code = r"""
import re, sys
import numpy as np
import torch
from satori_hpc import models
from satori_hpc.config import Model
from satori_hpc.scoring.attention import AttentionScorer
from tests.fixtures.scores import batch_of
torch.set_num_threads(1)
model = models.build(Model(num_filters=150), length=600, targets=1, task="binary", entropy=0.0).eval()
scorer = AttentionScorer(model, torch.full((150,), -1.0))
tokens = torch.randint(0, 4, (int(sys.argv[1]), 600), dtype=torch.uint8)

def peak():  # of this program; what getrusage tells begins with the peak of the process that started it
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])

scorer(batch_of(tokens[:1]))
before = peak()
found = scorer(batch_of(tokens))
assert bool(np.isfinite(found.value).all()) and found.counts.min(axis=0).tolist() == list(scorer.most)
print(peak() - before, scorer.bytes_per_sequence)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "64"], check=True, capture_output=True, text=True, env=environment
    )
    grown, said = (int(word) for word in done.stdout.split())
    assert grown <= 64 * said
    assert grown >= 64 * said / 8  # nor does it frighten


def test_attention_that_is_not_finite_is_an_error() -> None:
    attention = torch.rand(1, 2, 3, 3)
    attention[0, 1, 2, 0] = torch.nan
    with pytest.raises(SatoriError, match="not finite"):
        strength(attention, torch.arange(3)[None])


def test_sequences_too_long_for_the_store_are_refused() -> None:
    with pytest.raises(SatoriError, match="32,767"):
        AttentionScorer(make_model(length=32_768), torch.zeros(12))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_gives_the_same() -> None:
    model, tokens = make_model(), random_tokens(6)
    threshold = thresholds(model, tokens)
    with torch.inference_mode():
        pooled = model.pooled(tokens)
    active = pooled > threshold[:, None]
    bins = occupied_bins(active)
    value = strength(torch.rand(6, 3, bins.shape[1], model.bins), bins)
    parts = [
        of_bins(value.to(where), pooled.to(where), active=active.to(where), threshold=threshold.to(where), model=model)
        for where in ("cpu", "cuda")
    ]
    assert same_bytes(*parts)
    here = AttentionScorer(model, threshold)(batch_of(tokens))
    there = AttentionScorer(model.cuda(), threshold)(batch_of(tokens))
    for name in ("counts", "site", "place"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    np.testing.assert_allclose(there.value, here.value, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(there.strength, here.strength, rtol=1e-5)
