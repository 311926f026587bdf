"""Confidence intervals of AUCs cover the true value as often as they say."""

import numpy as np
import pytest
from scipy import special, stats

from satori_hpc.interactions.statistics import intervals

REPEATS = 2000


def covered(found: dict[str, np.ndarray], true: float) -> float:
    return float(np.mean((found["auc_low"] <= true) & (true <= found["auc_high"])))


@pytest.mark.parametrize("sizes", [(30, 300), (100, 100), (400, 50)])
@pytest.mark.parametrize("shift", [0.0, -0.4, 1.5])
def test_two_groups(sizes: tuple[int, int], shift: float) -> None:
    rng = np.random.default_rng([*sizes, round(10 * abs(shift))])
    x, y = rng.normal(shift, size=(REPEATS, sizes[0])), rng.normal(size=(REPEATS, sizes[1]))
    ranks = stats.rankdata(np.concatenate([x, y], axis=1), axis=1)[:, : sizes[0]].sum(axis=1)
    auc = (ranks - sizes[0] * (sizes[0] + 1) / 2) / (sizes[0] * sizes[1])
    found = intervals.two_sample(auc, np.full(REPEATS, sizes[0]), np.full(REPEATS, sizes[1]))
    assert 0.93 <= covered(found, special.ndtr(shift / np.sqrt(2))) <= 0.975


@pytest.mark.parametrize("size", [30, 300])
@pytest.mark.parametrize("shift", [0.0, -0.3, 1.0])
def test_one_group(size: int, shift: float) -> None:
    rng = np.random.default_rng([size, round(10 * abs(shift))])
    x = rng.normal(shift, size=(REPEATS, size))
    ranks = stats.rankdata(np.abs(x), axis=1)
    auc = (ranks * (x > 0)).sum(axis=1) / (size * (size + 1) / 2)
    found = intervals.one_sample(auc, np.full(REPEATS, size))
    assert 0.93 <= covered(found, special.ndtr(np.sqrt(2) * shift)) <= 0.975


def test_the_ends_and_what_is_not_there() -> None:
    found = intervals.two_sample(np.array([0.0, 1.0, np.nan]), np.full(3, 20), np.full(3, 20))
    assert found["auc_low"][0] < 0.001
    assert 0.001 < found["auc_high"][0] < 0.2
    assert found["auc_low"][1] == pytest.approx(1 - found["auc_high"][0])
    assert np.isnan([found["auc_low"][2], found["auc_high"][2]]).all()
    alone = intervals.one_sample(np.array([0.5, 0.5]), np.array([0, 10]))
    assert alone["auc_low"][1] < 0.35
    assert not alone["auc_low"][0] > 0
