"""The kernel against a double loop over cells, on every path."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc import models
from satori_hpc.config import Model, Score
from satori_hpc.errors import SatoriError
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import pair_kernel, registry
from satori_hpc.scoring.attention import AttentionScorer, strength
from satori_hpc.scoring.base import PairScores
from tests.fixtures.scores import batch_of
from tests.oracles.pair_scores import brute_force, largest_attention

Kernel = Callable[..., PairScores]


def by_tensors(value: torch.Tensor, cells: torch.Tensor, *, active: torch.Tensor, pool: int) -> PairScores:
    return pair_kernel.best_entries(value, pair_kernel.find_sites(active, cells), pool=pool)


KERNELS = pytest.mark.parametrize("score", [pair_kernel.pair_scores, by_tensors], ids=["compiled", "tensors"])


def check(score: Kernel, value: np.ndarray, active: np.ndarray, *, pool: int = 4) -> PairScores:
    """Score a batch from whole (n, n) matrices and compare each sequence with the double loop."""
    there = torch.from_numpy(active)
    cells = pair_kernel.occupied_cells(there)
    gathered = torch.from_numpy(value)[torch.arange(len(value))[:, None, None], cells[:, :, None], cells[:, None, :]]
    found = score(gathered.contiguous(), cells, active=there, pool=pool)
    for b in range(len(value)):
        expected_score, expected_distance, expected_position = brute_force(value[b], active[b], pool=pool)
        np.testing.assert_array_equal(found.score[b].numpy(), expected_score)
        np.testing.assert_array_equal(found.distance[b].numpy(), expected_distance)
        np.testing.assert_array_equal(found.position[b].numpy(), expected_position)
    np.testing.assert_array_equal(found.sites.numpy(), active.sum(axis=(1, 2)))
    assert (found.score.dtype, found.distance.dtype, found.position.dtype) == (torch.float32, torch.int16, torch.int16)
    return found


@KERNELS
@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 4),
    filters=st.integers(2, 7),
    cells=st.integers(1, 9),
    density=st.sampled_from([0.02, 0.15, 0.5, 1.0]),
    levels=st.sampled_from([1, 2, 3, 0]),
)
def test_equals_the_double_loop(
    score: Kernel, seed: int, batch: int, filters: int, cells: int, density: float, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    value = rng.standard_normal((batch, cells, cells)).astype(np.float32)  # signed, not symmetric
    if levels:  # few distinct values, so that ties decide the distance; minus zero among them
        value = (np.round(value * levels) / levels).astype(np.float32)
    check(score, value, rng.random((batch, filters, cells)) < density)


@KERNELS
def test_a_realistic_size(score: Kernel) -> None:
    rng = np.random.default_rng(1)
    active = rng.random((3, 25, 30)) < 0.06
    active[1] = False
    check(score, rng.random((3, 30, 30)).astype(np.float32), active, pool=6)


@KERNELS
def test_filters_that_share_their_only_cell_are_not_observed(score: Kernel) -> None:
    active = np.zeros((1, 3, 5), dtype=bool)
    active[0, [0, 1], 2] = True
    active[0, 2, 4] = True
    found = check(score, np.ones((1, 5, 5), np.float32), active)
    assert found.score.isnan().tolist() == [[True, False, False]]
    assert found.distance.tolist() == [[-32768, 8, 8]]
    assert found.position.tolist() == [[-32768, 8, 8]]


@KERNELS
def test_distance_runs_from_the_smaller_filter_to_the_larger(score: Kernel) -> None:
    active = np.zeros((1, 3, 9), dtype=bool)
    active[0, 0, 2] = active[0, 1, 7] = active[0, 2, 0] = True
    found = check(score, np.ones((1, 9, 9), np.float32), active, pool=6)
    assert found.distance.tolist() == [[30, -12, -42]]
    assert found.position.tolist() == [[12, 12, 42]]


@KERNELS
def test_the_longest_sequence_fits_the_numbers(score: Kernel) -> None:
    active = np.zeros((1, 2, 32_767), dtype=bool)
    active[0, 0, 32_766] = active[0, 1, 0] = True
    there = torch.from_numpy(active)
    found = score(torch.ones(1, 2, 2), pair_kernel.occupied_cells(there), active=there, pool=1)
    assert (found.distance.item(), found.position.item()) == (-32_766, 32_766)


@KERNELS
def test_ties_go_to_the_first_entry_in_row_major_order(score: Kernel) -> None:
    active = np.zeros((1, 2, 8), dtype=bool)
    active[0, 0, [3, 6]] = True
    active[0, 1, [0, 5, 6]] = True
    assert check(score, np.zeros((1, 8, 8), np.float32), active).distance.item() == -4 * 3
    minus = np.zeros((1, 8, 8), np.float32)
    minus[0, 3, 0] = -0.0  # equal to zero, so still the first
    assert check(score, minus, active).distance.item() == -4 * 3


@KERNELS
def test_extreme_values_are_kept_exactly(score: Kernel) -> None:
    tiny = np.finfo(np.float32).tiny
    for number in (-np.finfo(np.float32).max, np.finfo(np.float32).max, -tiny, tiny, tiny / 4, -tiny / 4):
        active = np.ones((1, 2, 2), dtype=bool)
        check(score, np.full((1, 2, 2), number, np.float32), active)


@KERNELS
def test_no_active_cell_at_all(score: Kernel) -> None:
    found = check(score, np.zeros((2, 4, 4), np.float32), np.zeros((2, 3, 4), dtype=bool))
    assert bool(found.score.isnan().all())


def make_model(*, filters: int = 12, length: int = 80) -> Satori:
    torch.manual_seed(3)
    config = Model(filters=filters, width=7, pool=4, heads=3, head_size=8, mixing_size=12)
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
    found = registry.build(
        "attention", model, threshold=threshold, settings=Score(), seed=1, composition=np.full(4, 0.25)
    )(batch_of(tokens))
    assert found.extras == {}
    with torch.inference_mode():
        attention = model(tokens, attention=True).attention.numpy()
        active = (model.pooled(tokens) > threshold[:, None]).numpy()
    for b in range(len(tokens)):
        score, distance, position = brute_force(largest_attention(attention[b]), active[b], pool=4)
        np.testing.assert_allclose(found.score[b].numpy(), score, rtol=2e-6)
        np.testing.assert_array_equal(found.distance[b].numpy(), distance)
        np.testing.assert_array_equal(found.position[b].numpy(), position)
    assert not bool(found.score[:, :11].isfinite().any())  # the pairs of the dead filter
    assert 0.1 < float(found.score.isfinite().float().mean()) < 1


def test_a_sequence_is_scored_alike_in_any_company() -> None:
    model, tokens = make_model(), random_tokens(9)
    scorer = AttentionScorer(model, thresholds(model, tokens))
    whole = scorer(batch_of(tokens))
    for part in (slice(0, 1), slice(2, 5), slice(8, None, -3)):
        rows = torch.arange(9)[:9].tolist()[part]
        alone = scorer(batch_of(tokens[rows]))
        torch.testing.assert_close(alone.score, whole.score[rows], rtol=2e-6, atol=0, equal_nan=True)
        assert torch.equal(alone.distance, whole.distance[rows])
        assert torch.equal(alone.position, whole.position[rows])
        assert torch.equal(alone.score.isnan(), whole.score[rows].isnan())


def same_bytes(left: PairScores, right: PairScores) -> bool:
    return all(
        getattr(left, name).numpy().tobytes() == getattr(right, name).numpy().tobytes()
        for name in ("score", "distance", "position", "sites")
    )


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


def test_first_calls_may_come_from_several_threads() -> None:
    """The compilation of the kernel is the trap: a new process whose first calls come together."""
    code = """
import numpy as np, threading
from concurrent.futures import ThreadPoolExecutor
from satori_hpc.scoring import pair_kernel
start = threading.Barrier(4)
def call(_):
    start.wait()
    score, distance, position = np.full((1, 1), np.nan, np.float32), np.zeros((1, 1), "i2"), np.zeros((1, 1), "i2")
    active = np.array([[[True, False], [False, True]]])
    pair_kernel.fill(np.ones((1, 2, 2), np.float32), np.array([[0, 1]]), active=active, pool=4,
                     score=score, distance=distance, position=position)
    return score[0, 0], distance[0, 0], position[0, 0]
with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(call, range(4))) == {(1.0, 4, 0)}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
    """Peak memory of a process that scores slices in which every filter is active in every cell."""
    code = r"""
import re, sys
import torch
from satori_hpc import models
from satori_hpc.config import Model
from satori_hpc.scoring.attention import AttentionScorer
from tests.fixtures.scores import batch_of
torch.set_num_threads(1)
model = models.build(Model(filters=150), length=600, targets=1, task="binary", entropy=0.0).eval()
scorer = AttentionScorer(model, torch.full((150,), -1.0))
tokens = torch.randint(0, 4, (int(sys.argv[1]), 600), dtype=torch.uint8)

def peak():  # of this program; what getrusage tells begins with the peak of the process that started it
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])

scorer(batch_of(tokens[:1]))
before = peak()
found = scorer(batch_of(tokens))
assert bool(found.score.isfinite().all())
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
def test_the_device_gives_the_same_bits() -> None:
    rng = np.random.default_rng(5)
    value = torch.from_numpy(np.round(rng.standard_normal((6, 40, 40)), 2).astype(np.float32))
    active = torch.from_numpy(rng.random((6, 30, 40)) < 0.1)
    active[:, 0] = True
    cells = torch.arange(40).repeat(6, 1)
    here = pair_kernel.pair_scores(value, cells, active=active, pool=4)
    there = pair_kernel.pair_scores(value.cuda(), cells.cuda(), active=active.cuda(), pool=4)
    np.testing.assert_array_equal(there.score.cpu().numpy(), here.score.numpy())
    np.testing.assert_array_equal(there.distance.cpu().numpy(), here.distance.numpy())
    np.testing.assert_array_equal(there.position.cpu().numpy(), here.position.numpy())
    np.testing.assert_array_equal(there.sites.cpu().numpy(), here.sites.numpy())
