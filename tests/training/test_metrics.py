"""Metrics over whole sets, against counts of pairs; the schedules at their corners."""

import math

import numpy as np
import pytest

from satori_hpc.data.splits import UNKNOWN
from satori_hpc.training import metrics
from satori_hpc.training import step as training_step


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (40, 1)), rng.integers(0, 6, (40, 1)).astype(float)
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert metrics.classification(labels, scores).auroc == pytest.approx(wins / (len(positive) * len(negative)))


def test_aupr_is_average_precision():
    labels, scores = np.array([[1], [0], [1], [0]]), np.array([[4.0], [3.0], [2.0], [1.0]])
    assert metrics.classification(labels, scores).aupr == pytest.approx((1 + 2 / 3) / 2)


def test_labels_of_one_class_are_skipped_and_counted():
    labels = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 0]])
    scores = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.9], [0.3, 0.1, 0.1]])
    found = metrics.classification(labels, scores)
    assert (found.labels, found.skipped, found.auroc, found.aupr) == (1, 2, 1.0, 1.0)
    nothing = metrics.classification(labels[:, :2], scores[:, :2])
    assert math.isnan(nothing.auroc)
    assert math.isnan(nothing.aupr)
    assert (nothing.labels, nothing.skipped) == (0, 2)


def test_threads_change_nothing():
    rng = np.random.default_rng(3)
    labels, scores = rng.choice([0, 1, 1, UNKNOWN], (300, 9)).astype(np.uint8), rng.normal(size=(300, 9))
    labels[:, 4] = 1
    one, many = metrics.by_label(labels, scores), metrics.by_label(labels, scores, threads=3)
    assert np.isnan(one[0]).tolist() == [column == 4 for column in range(9)]
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_onecycle_rises_to_the_peak_and_falls(steps):
    rates = [training_step.learning_rate("onecycle", step, steps=steps, peak=0.1) for step in range(steps)]
    assert max(rates) <= 0.1
    assert min(rates) > 0
    if steps == 100:
        top = int(np.argmax(rates))
        assert top in (29, 30)
        assert rates[top] == pytest.approx(0.1, rel=0.01)
        assert rates[0] == pytest.approx(0.1 / 25)
        assert rates[-1] == pytest.approx(0.1 / 25e4)
        assert np.all(np.diff(rates[: top + 1]) > 0)
        assert np.all(np.diff(rates[top:]) < 0)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_cosine_and_linear_fall_from_the_peak_to_nothing(kind):
    rates = [training_step.learning_rate(kind, step, steps=100, peak=0.1) for step in range(101)]
    assert rates[0] == 0.1
    assert rates[50] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert np.all(np.diff(rates) < 0)
    assert training_step.learning_rate(kind, 0, steps=1, peak=0.1) == 0.1
    if kind == "linear":
        np.testing.assert_allclose(np.diff(rates), -0.001)


@pytest.mark.parametrize("kind", ["constant", "cosine", "linear"])
def test_warmup_rises_to_the_peak(kind):
    rates = [training_step.learning_rate(kind, step, steps=100, peak=0.1, warmup=0.1) for step in range(100)]
    np.testing.assert_allclose(rates[:11], np.arange(1, 12) / 11 * 0.1)
    assert max(rates) == rates[10] == 0.1
    for warmup in (0.0, 1.0):
        assert training_step.learning_rate(kind, 0, steps=1, peak=0.1, warmup=warmup) > 0


def test_constant_rate_and_entropy_weight():
    assert {training_step.learning_rate("constant", step, steps=5, peak=0.1) for step in range(5)} == {0.1}
    weights = [training_step.entropy_weight(0.01, step, steps=100, warmup=0.1) for step in range(100)]
    assert weights[0] == 0
    assert weights[5] == pytest.approx(0.005)
    assert set(weights[10:]) == {0.01}
    assert training_step.entropy_weight(0.01, 0, steps=100, warmup=0.0) == 0.01


@pytest.mark.parametrize(("positives", "negatives"), [(8, 8), (30, 30), (40, 120), (5, 300)])
def test_the_bound_of_chance_is_what_random_scores_reach_once_in_forty(positives: int, negatives: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], [positives, negatives])[:, None].astype(np.uint8)
    scores = rng.random((positives + negatives, 4000))
    auroc, _ = metrics.by_label(np.broadcast_to(labels, scores.shape), scores)
    bound = metrics.chance_bound(positives, negatives)
    assert bound > metrics.LEAST_AUROC
    assert 0.015 < (auroc >= bound).mean() < 0.035
    assert metrics.chance_bound(100 * positives, 100 * negatives) == metrics.LEAST_AUROC


def test_outputs_are_constant_when_the_middle_99_percent_of_them_are_the_same() -> None:
    rng = np.random.default_rng(1)
    logits = np.full((1000, 4), -7.25, np.float32)
    logits[:, 0] += rng.normal(0, 1e-3, 1000).astype(np.float32)  # a network that has hardly begun
    logits[:, 1] += rng.normal(0, 1e-6, 1000).astype(np.float32)  # rounding
    logits[:4, 2] += 3  # a few examples in which a filter is still active
    assert metrics.constant_outputs(logits) == 3
    assert metrics.constant_outputs(logits[:, :1]) == 0
