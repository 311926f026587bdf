"""Which strand of which example an epoch shows."""

import numpy as np
import pytest

from satori_hpc.training import step


def test_given_shows_every_example_once_as_it_is():
    found = step.shown(50, "none", seed=1, epoch=0)
    assert sorted(found.tolist()) == list(range(50))


def test_both_shows_every_example_both_ways():
    found = step.shown(50, "both", seed=1, epoch=0)
    assert len(found) == step.per_epoch(50, "both") == 100
    assert sorted(found.tolist()) == list(range(100))


def test_random_shows_every_example_once_and_half_of_them_turned():
    epochs = np.stack([step.shown(2000, "random", seed=1, epoch=epoch) for epoch in range(20)])
    assert (np.sort(epochs % 2000, axis=1) == np.arange(2000)).all()
    turned = np.array([np.isin(np.arange(2000, 4000), epoch) for epoch in epochs])
    assert abs(turned.mean() - 0.5) < 0.01
    # Each example turns up both ways: a coin per epoch, not one for all epochs; coins are no image of the order.
    assert abs(turned.mean(axis=0).std() - 0.5 / 20**0.5) < 0.01
    assert abs(np.corrcoef((epochs >= 2000).ravel(), np.tile(np.arange(2000), 20))[0, 1]) < 0.02


@pytest.mark.parametrize("kind", ["none", "random", "both"])
def test_it_follows_from_seed_and_epoch_alone(kind):
    first = step.shown(100, kind, seed=1, epoch=3)
    assert (first == step.shown(100, kind, seed=1, epoch=3)).all()
    for other in ({"seed": 2, "epoch": 3}, {"seed": 1, "epoch": 4}):
        assert (first != step.shown(100, kind, **other)).any()
