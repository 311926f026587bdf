"""Every column equals scipy's asymptotic test of that column, to 1e-12."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from satori_hpc.interactions.statistics import mann_whitney

NAN = np.float32(np.nan)


def check(foreground: np.ndarray, background: np.ndarray) -> mann_whitney.RankTest:
    found = mann_whitney.mann_whitney(foreground, background)
    for column in range(foreground.shape[1]):
        # In float64: scipy computes the p-value of float32 input in float32.
        x, y = (side[~np.isnan(side[:, column]), column].astype(np.float64) for side in (foreground, background))
        assert (found.n_fg[column], found.n_bg[column]) == (len(x), len(y))
        for values, median in ((x, found.median_fg[column]), (y, found.median_bg[column])):
            np.testing.assert_equal(median, np.median(values) if len(values) else np.nan)
        np.testing.assert_array_equal(found.max_fg[column], x.max() if len(x) else np.nan)
        if not len(x) or not len(y):
            assert np.isnan([found.u[column], found.auc[column], found.p[column]]).all()
            continue
        expected = stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")
        assert found.u[column] == expected.statistic
        assert found.auc[column] == pytest.approx(expected.statistic / (len(x) * len(y)), rel=1e-12)
        np.testing.assert_allclose(found.p[column], expected.pvalue, rtol=1e-12, atol=0)
    return found


def sample(rng: np.random.Generator, rows: int, columns: int, *, present: float = 0.6) -> np.ndarray:
    values = rng.standard_normal((rows, columns)).astype(np.float32)
    values[rng.random(values.shape) > present] = NAN
    return values


def test_random_columns_with_missing_values() -> None:
    rng = np.random.default_rng(1)
    check(sample(rng, 150, 37), sample(rng, 90, 37))


def test_ties_within_and_between_the_sides() -> None:
    rng = np.random.default_rng(2)
    check(np.round(sample(rng, 200, 20), 1), np.round(sample(rng, 130, 20), 1))
    within = sample(rng, 60, 9)
    within[30:] = within[:30]  # ties inside one side only
    check(within, sample(rng, 60, 9))


def test_strong_differences_keep_tiny_p_values_exact() -> None:
    rng = np.random.default_rng(3)
    foreground = sample(rng, 400, 5) + np.float32(3)
    found = check(foreground, sample(rng, 400, 5))
    assert (found.p < 1e-40).all()


@pytest.mark.parametrize(("rows_fg", "rows_bg"), [(1, 1), (1, 5), (2, 1), (3, 3)])
def test_tiny_samples(rows_fg: int, rows_bg: int) -> None:
    rng = np.random.default_rng(4)
    check(sample(rng, rows_fg, 30, present=0.8), sample(rng, rows_bg, 30, present=0.8))


def test_all_equal_gives_one() -> None:
    found = check(np.full((12, 3), 0.25, np.float32), np.full((7, 3), 0.25, np.float32))
    np.testing.assert_array_equal(found.p, 1.0)
    np.testing.assert_array_equal(found.auc, 0.5)


def test_empty_sides() -> None:
    rng = np.random.default_rng(5)
    values, nothing = sample(rng, 20, 4), np.full((20, 4), NAN)
    check(values, nothing)
    check(nothing, values)
    check(nothing, nothing)
    check(values, np.empty((0, 4), np.float32))
    assert len(mann_whitney.mann_whitney(values[:, :0], values[:, :0]).p) == 0


def test_minus_zero_equals_zero_and_infinities_are_values() -> None:
    foreground = np.array([[0.0, np.inf], [-0.0, 1.0], [NAN, -np.inf]], np.float32)
    background = np.array([[-0.0, np.inf], [0.0, -np.inf], [-NAN, 2.0]], np.float32)
    found = check(foreground, background)
    assert (found.p[0], found.u[0]) == (1.0, 2.0)


def test_more_ties_than_a_cube_can_hold_in_32_bits() -> None:
    # 80,000^3 > 2^48, and 3,000,000^3 > 2^64.
    column = np.zeros((80_000, 1), np.float32)
    column[:100] = 1
    check(column, np.zeros((70_001, 1), np.float32))
    check(np.ones((3_000_000, 1), np.float32), np.array([[1.0], [0.0]], np.float32))


def test_swapped_sides_give_a_p_near_one() -> None:
    rng = np.random.default_rng(6)
    low, high = sample(rng, 300, 8), sample(rng, 300, 8) + np.float32(1)
    assert (mann_whitney.mann_whitney(high, low).p < 1e-6).all()
    assert (mann_whitney.mann_whitney(low, high).p > 1 - 1e-6).all()


def test_columns_do_not_depend_on_their_block() -> None:
    rng = np.random.default_rng(7)
    foreground, background = sample(rng, 80, 21), sample(rng, 60, 21)
    whole = mann_whitney.mann_whitney(foreground, background).p
    parts = [mann_whitney.mann_whitney(foreground[:, k : k + 5], background[:, k : k + 5]).p for k in range(0, 21, 5)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


values = st.one_of(st.sampled_from([NAN, 0.0, -0.0, 1.0, 2.0]), st.floats(width=32, allow_infinity=False))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), columns=st.integers(1, 4))
def test_anything(data: st.DataObject, columns: int) -> None:
    sides = [
        data.draw(hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(columns)), elements=values))
        for _ in range(2)
    ]
    found = mann_whitney.mann_whitney(*sides)
    for column in range(columns):
        x, y = (side[~np.isnan(side[:, column]), column].astype(np.float64) for side in sides)
        if len(x) and len(y):
            expected = stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")
            assert found.u[column] == expected.statistic
            np.testing.assert_allclose(found.p[column], expected.pvalue, rtol=1e-12, atol=0)
        else:
            assert np.isnan(found.p[column])


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        mann_whitney.mann_whitney(np.zeros((2, 2), np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="float32"):
        mann_whitney.mann_whitney(np.zeros((2, 2)), np.zeros((2, 2)))


def test_q_values_of_a_worked_example() -> None:
    # Benjamini-Hochberg by hand: p(i) m / i, made monotone from the top.
    np.testing.assert_allclose(
        mann_whitney.q_values(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.16 / 3, 0.16 / 3, 0.5]
    )
    assert len(mann_whitney.q_values(np.empty(0))) == 0


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_q_values_are_those_of_scipy_to_the_bit(count: int) -> None:
    rng = np.random.default_rng(count)
    p = np.concatenate([rng.random(count) ** 3, np.repeat(0.5, count // 3)])
    expected = stats.false_discovery_control(p, method="bh") if count else p
    np.testing.assert_array_equal(mann_whitney.q_values(p), expected)


@pytest.mark.parametrize("true", [0.0, 0.3, 0.8])
def test_the_share_of_true_tests_is_estimated_from_p_values(true: float) -> None:
    rng = np.random.default_rng(3)
    p = np.where(rng.random(4000) < true, rng.random(4000) * 1e-3, rng.random(4000))
    assert mann_whitney.share_true(p) == pytest.approx(true, abs=0.04)
    cautious = np.where(p > 1e-3, p**0.25, p)  # one-sided tests of values below the null
    assert mann_whitney.share_true(cautious) <= mann_whitney.share_true(p)
    assert mann_whitney.share_true(p[:19]) is None
