"""Side effects: the plain signed-rank test calls them, the null made of the pairs themselves does not."""

import numpy as np
import pytest
from scipy import stats

from satori_hpc.interactions.statistics import mann_whitney, signed_rank
from satori_hpc.interactions.statistics.signed_rank import Null


def judged(effects: np.ndarray, sequences: int, *, seed: int) -> signed_rank.SignedRank:
    """Contrasts with these true effects (in standard deviations), heavy-tailed, in so many sequences."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_t(5, (sequences, len(effects))) * rng.gamma(4, 0.25, (sequences, 1))
    return signed_rank.wilcoxon((noise + effects).astype(np.float32))


def called(found: signed_rank.SignedRank) -> tuple[np.ndarray, np.ndarray]:
    """(plain calls, calls by the empirical null)."""
    effect, error = signed_rank.effects(found.auc, found.auc_error, found.nonzero)
    null = signed_rank.fit(effect, error)
    assert null is not None
    held = np.minimum(found.neg_log10_p, signed_rank.neg_log10_p(effect, error, null))
    return mann_whitney.q_values(found.p) <= 0.05, mann_whitney.q_values(10**-held) <= 0.05


def test_small_side_effects_are_called_by_the_plain_test_only() -> None:
    plain, empirical = 0, 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        effects = rng.normal(0.1, 0.1, 200)
        calls = called(judged(effects, 5000, seed=seed))
        plain, empirical = plain + int(calls[0].sum()), empirical + int(calls[1].sum())
    assert plain > 0.6 * 600
    assert empirical <= 2


def test_true_pairs_are_found_among_side_effects() -> None:
    for seed in range(3):
        rng = np.random.default_rng(10 + seed)
        true = np.arange(200) < 40
        effects = np.where(true, rng.uniform(0.8, 2.0, 200), rng.normal(0, 0.1, 200))
        plain, empirical = called(judged(effects, 5000, seed=seed))
        assert plain[~true].sum() > 40
        assert empirical[true].mean() >= 0.95
        assert empirical[~true].sum() <= 5


def test_without_side_effects_little_is_lost() -> None:
    true = np.arange(150) < 30
    found = judged(np.where(true, 0.5, 0.0), 400, seed=20)
    plain, empirical = called(found)
    assert empirical[true].sum() >= plain[true].sum() - 2
    assert empirical[~true].sum() <= plain[~true].sum() + 1


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_centre_and_scale_are_found_whatever_lies_above(share: float) -> None:
    fits = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        effect = rng.normal(-0.02, 0.05, 300)
        effect[: int(share * 300)] = rng.uniform(0.3, 0.9, int(share * 300))
        effect[-3:] = -2.0  # outliers below
        null = signed_rank.fit(effect + rng.normal(0, 0.02, 300), np.full(300, 0.02))
        assert null is not None
        fits.append((null.centre, null.scale))
    centre, scale = np.mean(fits, axis=0)
    assert centre == pytest.approx(-0.02, abs=0.004)
    assert scale == pytest.approx(0.05, rel=0.06)


def test_sampling_error_is_not_taken_for_scatter() -> None:
    rng = np.random.default_rng(2)
    error = rng.uniform(0.01, 0.2, 1000)
    null = signed_rank.fit(rng.normal(0, error), error)
    assert null is not None
    assert null.scale < 0.02
    wide = signed_rank.fit(rng.normal(0, 0.1, 1000) + rng.normal(0, error), error)
    assert wide is not None
    assert wide.scale == pytest.approx(0.1, rel=0.15)


def test_few_pairs_and_equal_effects() -> None:
    assert signed_rank.fit(np.zeros(29), np.ones(29)) is None
    null = signed_rank.fit(np.zeros(40), np.full(40, 0.1))
    assert null is not None
    assert (null.centre, null.scale) == (0, 0)
    assert np.isfinite(signed_rank.neg_log10_p(np.zeros(2), np.zeros(2), null)).all()


def test_effects_are_those_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(3)
    for true in (0.0, 0.3, 1.0):
        found = signed_rank.wilcoxon(rng.normal(true, 1, (1000, 60)).astype(np.float32))
        effect, error = signed_rank.effects(found.auc, found.auc_error, found.nonzero)
        assert effect.mean() == pytest.approx(true, abs=0.02)
        if true == 0:
            assert effect.std() == pytest.approx(error[0], rel=0.25)
    ones = signed_rank.wilcoxon(np.ones((12, 1), np.float32) * np.arange(1, 13, dtype=np.float32)[:, None])
    assert np.isfinite(signed_rank.effects(ones.auc, ones.auc_error, ones.nonzero)).all()


@pytest.mark.parametrize("freedom", [10.0, 22.0, 300.0])
def test_the_tail_is_students(freedom: float) -> None:
    deviates = np.array([-3.0, -0.5, 0.0, 1.0, 2.0, 4.0, 7.0])
    found = signed_rank.neg_log10_p(deviates, np.zeros(7), Null(centre=0, scale=1, freedom=freedom))
    np.testing.assert_allclose(10**-found, stats.t.sf(deviates, freedom), rtol=0.06)
    assert (np.diff(found) > 0).all()
