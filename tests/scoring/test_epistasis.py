"""Double mutants against a loop that mutates letters and calls the whole network."""

import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from satori_hpc import models
from satori_hpc.config import Epistasis, Model, Score, Sites
from satori_hpc.errors import SatoriError
from satori_hpc.models.base import Scorable
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import draws, generic, registry
from satori_hpc.scoring.base import LARGEST_SIZE, Batch
from satori_hpc.scoring.epistasis import EpistasisScorer
from satori_hpc.scoring.fast.mutants import Variants
from tests.fixtures.scores import laid_out, same_bytes, starts_of, take

LENGTH = 80
UNIFORM = np.full(4, 0.25)


def make_model(*, length: int = LENGTH, targets: int = 1, entropy: float = 0.0, **change: object) -> Satori:
    """A network whose attention is not flat and whose batch norm has been moved."""
    torch.manual_seed(3)
    config = Model(**{"num_filters": 12, "kernel_size": 7, "num_heads": 3, "head_dim": 8, "mixing_size": 12, **change})
    task = "binary" if targets == 1 else "multilabel"
    model = models.build(config, length=length, targets=targets, task=task, entropy=entropy).eval()
    with torch.no_grad():
        model.stem.norm.weight.uniform_(0.5, 2)
        model.stem.norm.bias.normal_(std=0.3)
        model.stem.norm.running_mean.normal_(std=0.1)
        model.stem.norm.running_var.uniform_(0.2, 1.5)
        model.attention.project.weight.mul_(3)
        model.output.weight.mul_(5)
    return model


def make_batch(sequences: int, *, length: int = LENGTH, targets: int = 1) -> Batch:
    rng = np.random.default_rng(4)
    tokens = rng.integers(0, 4, (sequences, length)).astype(np.uint8)
    tokens[rng.random(tokens.shape) < 0.02] = 4
    keys = torch.stack((torch.arange(sequences) % 2, 5 * torch.arange(sequences)), dim=1)
    labels = rng.random((sequences, targets)) < 0.5
    return Batch(
        tokens=torch.from_numpy(tokens),
        keys=keys,
        targets=torch.from_numpy(labels.astype(np.uint8)) if targets > 1 else None,
    )


def make_scorer(
    model: Satori,
    batch: Batch,
    *,
    share: float = 0.5,
    most: int = 8,
    distance: int = 0,
    mutations: int = 2,
    **sites: str,
) -> EpistasisScorer:
    with torch.inference_mode():
        threshold = share * model.pooled(batch.tokens).amax(dim=(0, 2))
    settings = Score(
        sites=Sites(max_sites=most, max_distance=distance, **sites), epistasis=Epistasis(mutations=mutations)
    )
    return EpistasisScorer(model, threshold, settings=settings, seed=1, composition=UNIFORM)


@torch.inference_mode()
def largest_logit(model: Satori, batch: Batch) -> float:
    return float(model(batch.tokens).logits.abs().max())


def rows(batch: Batch, chosen: list[int]) -> Batch:
    targets = None if batch.targets is None else batch.targets[chosen]
    return Batch(tokens=batch.tokens[chosen], keys=batch.keys[chosen], targets=targets)


@torch.inference_mode()
def by_loop(
    scorer: EpistasisScorer, batch: Batch, *, mutations: int, distance: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """E (B,M,M) and effects of single sites (B,M) from whole forward passes of mutated letters, and what rounding may
    make of them."""
    model = scorer.model
    found, _ = scorer.maps(batch)
    number, most = found.position.shape
    letters = draws.replacements(batch.tokens, batch.keys, seed=scorer.seed, number=mutations)
    value, single = np.full((number, most, most), np.nan), np.full((number, most), np.nan)
    seen: dict[tuple[int, int, frozenset[int]], float] = {}

    def logit(b: int, draw: int, sites: frozenset[int]) -> float:
        if (b, draw, sites) not in seen:
            tokens = batch.tokens[b].clone()
            for site in sites:
                window = slice(site - model.padding, site - model.padding + model.width)
                tokens[window] = letters[b, draw, window]
            margin = model.margin(model(tokens[None]).logits)[0].double()
            seen[b, draw, sites] = float((margin if batch.targets is None else margin * batch.targets[b]).sum())
        return seen[b, draw, sites]

    for b in range(number):
        positions = found.position[b, found.used[b]].tolist()
        for i, first in enumerate(positions):
            alone = [logit(b, draw, frozenset()) - logit(b, draw, frozenset({first})) for draw in range(mutations)]
            single[b, i] = sum(alone) / mutations
            for j, second in enumerate(positions):
                if i == j or (distance and abs(second - first) > distance):
                    continue
                total = 0.0
                for draw in range(mutations):
                    whole, both = logit(b, draw, frozenset()), logit(b, draw, frozenset({first, second}))
                    total += whole - logit(b, draw, frozenset({first})) - logit(b, draw, frozenset({second})) + both
                value[b, i, j] = total / mutations
    return value, single, 2e-5 * float(np.std(list(seen.values()))) + 2e-6 * max(map(abs, seen.values()))


NETWORKS = {
    "basic": {},
    "exp": {"activation": "exp"},
    "positions": {"positions": True},
    "recurrent": {"recurrent": True, "positions": True, "recurrent_size": 9},
    "two outputs": {"output": "two"},
    "wide bins": {"pool": 11},
    "bins of 1": {"pool": 1, "kernel_size": 4, "padding": 0},
    **{readout: {"readout": readout} for readout in ("mean", "max", "flatten", "legacy_batchnorm")},
    "deep": {"architecture": "deep", "block_widths": (6, 8), "block_kernel": 5, "dilations": (1, 2), "hidden": 7},
}
NETWORKS["deep with residual"] = {**NETWORKS["deep"], "conv_residual": True, "recurrent": True}
NETWORKS["deep with identity"] = {**NETWORKS["deep"], "conv_residual": True, "positions": True, "mixing_size": 12}


def check_effects(scorer: EpistasisScorer, batch: Batch, single: np.ndarray, rounding: float) -> None:
    """What a store keeps of single sites is what forward passes without them say."""
    scores = scorer(batch)
    assert scores.effects.keys() == set(scorer.effects) == {"single"}
    there = single[~np.isnan(single)]
    assert len(scores.effects["single"]) == len(scores.place) == len(there)
    np.testing.assert_allclose(scores.effects["single"], there, rtol=0, atol=rounding)
    assert np.abs(there).max() > 50 * rounding


@pytest.mark.parametrize("change", NETWORKS.values(), ids=NETWORKS)
def test_equals_the_loop(change):
    model, batch = make_model(**change), make_batch(2)
    scorer = make_scorer(model, batch)
    found, value = scorer.maps(batch)
    expected, single, rounding = by_loop(scorer, batch, mutations=2)
    assert int(found.used.sum()) >= 10
    np.testing.assert_array_equal(value.isnan().numpy(), np.isnan(expected))
    np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=rounding)
    assert np.nanmax(np.abs(expected)) > 50 * rounding  # there is something to find
    check_effects(scorer, batch, single, rounding)


def test_multilabel_sums_the_logits_of_the_targets():
    model, batch = make_model(targets=4), make_batch(3, targets=4)
    scorer = make_scorer(model, batch, mutations=1)
    expected, single, rounding = by_loop(scorer, batch, mutations=1)
    np.testing.assert_allclose(scorer.maps(batch)[1].numpy(), expected, rtol=0, atol=rounding)
    check_effects(scorer, batch, single, rounding)
    nothing = dataclasses.replace(batch, targets=torch.zeros_like(batch.targets))
    assert not scorer.maps(nothing)[1].nan_to_num().any()
    assert not scorer(nothing).effects["single"].any()
    with pytest.raises(SatoriError, match="target"):
        scorer(dataclasses.replace(batch, targets=None))


def test_sites_beyond_the_largest_distance_are_no_pair():
    model, batch = make_model(), make_batch(3)
    scorer = make_scorer(model, batch, distance=20)
    found, value = scorer.maps(batch)
    apart = (found.position[:, :, None] - found.position[:, None]).abs()
    assert value.isnan()[apart > 20].all()
    expected, single, rounding = by_loop(scorer, batch, mutations=2, distance=20)
    np.testing.assert_array_equal(value.isnan().numpy(), np.isnan(expected))
    np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=rounding)
    check_effects(scorer, batch, single, rounding)  # of sites that have no partner, too
    scores = laid_out(scorer(batch), scorer, 12)
    there = np.isfinite(scores.score)
    assert there.any()
    assert np.abs(scores.distance()[there]).max() <= 20


def additive(model: Satori) -> Satori:
    """Make the logit a sum over letters: even attention, and every ReLU on its straight side."""
    with torch.no_grad():
        size = model.config.num_heads * model.config.head_dim
        project, mix = model.attention.project, model.attention.mix
        project.weight[: 2 * size] = 0
        project.bias[: 2 * size] = 0
        for layer in (project, mix):
            layer.weight.abs_()
            layer.bias.abs_()
        model.stem.norm.bias.fill_(8)
    return model


def test_an_additive_network_has_none():
    batch = make_batch(3)
    model = additive(make_model(pool=1, readout="mean"))
    scorer = make_scorer(model, batch, share=0.9)
    value = scorer.maps(batch)[1]
    with torch.inference_mode():
        found = model(batch.tokens, activations=True)
    assert float(found.activations.min()) > 0
    size = float(found.logits.abs().max())
    assert float(found.logits.std()) > 1e-3 * size  # letters do have effects
    assert int(value.isfinite().sum()) > 100
    assert float(value.nan_to_num().abs().max()) < 1e-5 * size
    bent = make_model(pool=1, readout="mean")
    assert float(make_scorer(bent, batch).maps(batch)[1].nan_to_num().abs().max()) > 1e-3 * largest_logit(bent, batch)


def test_a_mutation_that_changes_nothing_scores_exactly_zero():
    """A sequence of one letter draws that letter only."""
    model = make_model()
    tokens = torch.full((1, LENGTH), 2, dtype=torch.uint8)
    batch = Batch(tokens=tokens, keys=torch.tensor([[0, 1]]))
    scorer = make_scorer(model, batch, share=0.1)
    value = scorer.maps(batch)[1]
    assert int(value.isfinite().sum()) > 10
    assert not value.nan_to_num().any()
    assert not scorer(batch).effects["single"].any()
    places = [np.stack([start := np.arange(0, 40, 10), start + 7], axis=1)]
    (other,) = generic.epistasis(Scorable(model), batch, places, seed=1)
    assert not np.nan_to_num(other.value).any()
    assert not other.single.any()


@pytest.mark.parametrize("change", ["basic", "deep with identity", "recurrent"])
def test_a_sequence_is_scored_alike_in_any_company(change):
    model, batch = make_model(**NETWORKS[change]), make_batch(5)
    scorer = make_scorer(model, batch)
    whole = scorer(batch)
    assert float(np.isfinite(laid_out(whole, scorer, 12).score).mean()) > 0.1
    for chosen in ([0], [4, 2, 1], [3, 3]):
        part, expected = scorer(rows(batch, chosen)), take(whole, chosen)
        for name in ("value", "single"):
            scale = float(np.nanmax(np.abs(expected.arrays()[name])))
            np.testing.assert_allclose(part.arrays()[name], expected.arrays()[name], rtol=1e-6, atol=1e-6 * scale)
        for name in ("counts", "site", "place"):
            np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))


@pytest.mark.parametrize("change", ["basic", "deep", "recurrent"])
def test_the_size_of_micro_batches_is_no_matter(change, monkeypatch):
    model, batch = make_model(**NETWORKS[change]), make_batch(2)
    scorer = make_scorer(model, batch)
    value = scorer.maps(batch)[1]
    for size in (1, 3, 1000):
        monkeypatch.setattr(Variants, "at_once", size)
        torch.testing.assert_close(
            scorer.maps(batch)[1], value, rtol=0, atol=2e-6 * largest_logit(model, batch), equal_nan=True
        )


def test_the_score_is_the_signed_value_of_the_largest_site_pair():
    model, batch = make_model(), make_batch(4)
    scorer = make_scorer(model, batch, filters="all")
    found, value = scorer.maps(batch)
    result = scorer(batch)
    scores = laid_out(result, scorer, 12)
    distance, starts = scores.distance(), starts_of(scores)
    assert bool((scores.score < 0).any())
    assert bool((scores.score > 0).any())
    assert result.counts[:, 1].tolist() == found.used.sum(dim=1).tolist()
    assert result.counts[:, 0].tolist() == found.members.sum(dim=(1, 2)).tolist()
    assert result.extras == {}
    assert (result.counts <= np.array(scorer.most)).all()
    for b in range(4):
        where = {int(j) - model.padding: number for number, j in enumerate(found.position[b, found.used[b]])}
        for pair in np.flatnonzero(np.isfinite(scores.score[b])).tolist():
            start = int(starts[b, pair])
            entry = where[start], where[start + int(distance[b, pair])]
            assert float(scores.score[b, pair]) == float(value[b][entry])


def test_the_estimate_is_the_error_of_few_mutations():
    model, batch = make_model(), make_batch(4)
    few, many = (make_scorer(model, batch, mutations=number) for number in (4, 60))
    difference = few.maps(batch)[1] - many.maps(batch)[1]
    size = many.maps(batch)[1].nan_to_num().square().sum().sqrt()
    found = float(difference.nan_to_num().square().sum().sqrt() / size)
    assert few.estimate(batch)["letters"] == pytest.approx(found, rel=0.5)
    assert make_scorer(model, batch, mutations=1).estimate(batch) == {}


def test_threads_side_by_side_give_the_bytes_of_one():
    model, batch = make_model(), make_batch(12)
    scorer = make_scorer(model, batch)
    slices = [rows(batch, list(range(first, first + scorer.slice_size))) for first in range(0, 12, scorer.slice_size)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = [scorer(part) for part in slices]
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(scorer, slices * 3))
    finally:
        torch.set_num_threads(before)
    assert all(same_bytes(found, alone[number % len(alone)]) for number, found in enumerate(together))


def test_sequences_without_a_pair_of_sites_have_no_score():
    model, batch = make_model(), make_batch(2)
    settings = Score(epistasis=Epistasis(mutations=1))
    scorer = EpistasisScorer(model, torch.full((12,), torch.inf), settings=settings, seed=1, composition=UNIFORM)
    found = scorer(batch)
    assert np.isnan(laid_out(found, scorer, 12).score).all()
    assert found.counts.tolist() == [[0, 0], [0, 0]]
    assert scorer.estimate(batch) == {}


def test_logits_that_are_not_finite_are_an_error():
    model, batch = make_model(), make_batch(1)
    scorer = make_scorer(model, batch)
    with torch.no_grad():
        model.output.bias.fill_(torch.nan)
    with pytest.raises(SatoriError, match="not finite"):
        scorer(batch)


def test_is_one_of_the_methods():
    model, batch = make_model(), make_batch(1)
    scorer = registry.build(
        "epistasis", model, threshold=torch.zeros(12), settings=Score(), seed=1, composition=UNIFORM
    )
    assert len(scorer(batch)) == 1
    assert (scorer.directed, scorer.choose, scorer.extras, scorer.effects) == (False, LARGEST_SIZE, (), ("single",))
    with pytest.raises(SatoriError, match="32,767"):
        EpistasisScorer(make_model(length=32_768), torch.zeros(12), settings=Score(), seed=1, composition=UNIFORM)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("tf32", 1e-2), ("bfloat16", 5e-2)])
@pytest.mark.parametrize("change", ["basic", "deep with residual", "deep with identity"])
def test_the_device_gives_the_same(change, precision, tolerance):
    model, batch = make_model(**NETWORKS[change]), make_batch(3)
    scorer = make_scorer(model, batch)
    here, size = scorer.maps(batch), largest_logit(model, batch)
    settings = dataclasses.replace(scorer.settings, precision=precision)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    there = EpistasisScorer(model.cuda(), scorer.threshold, settings=settings, seed=1, composition=UNIFORM).maps(batch)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert torch.equal(there[0].position.cpu(), here[0].position)
    torch.testing.assert_close(there[1].cpu(), here[1], rtol=0, atol=tolerance * size, equal_nan=True)


def test_a_call_needs_no_more_memory_than_it_says():
    """Peak memory of a process that scores sequences full of sites."""
    code = r"""
import re
import numpy as np, torch
from satori_hpc import models
from satori_hpc.config import Epistasis, Model, Score, Sites
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.epistasis import EpistasisScorer
torch.set_num_threads(1)
torch.manual_seed(1)

def scorer_of(**config):
    model = models.build(Model(**config), length=300, targets=1, task="binary", entropy=0.0).eval()
    settings = Score(sites=Sites(max_sites=24, max_distance=60), epistasis=Epistasis(mutations=1))
    zero = torch.zeros(model.filters)
    return EpistasisScorer(model, zero, settings=settings, seed=1, composition=np.full(4, 0.25))

batch = Batch(tokens=torch.randint(0, 4, (1, 300), dtype=torch.uint8), keys=torch.tensor([[0, 1]]))
def peak():  # of this program; what getrusage tells begins with the peak of the process that started it
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])

scorer_of(num_filters=4, num_heads=1, head_dim=4)(batch)  # compiles and loads what any call needs
scorer = scorer_of(architecture="deep", conv_residual=True)
before = peak()
assert int(scorer(batch).counts[:, 1].min()) > 12
print(peak() - before, scorer.bytes_per_sequence)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    grown, said = (int(word) for word in done.stdout.split())
    assert grown <= said
    assert grown >= said / 8  # nor does it frighten
