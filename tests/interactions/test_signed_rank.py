"""Every column equals scipy's asymptotic signed-rank test of that column, to 1e-12."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from satori_hpc.interactions.columns import Columns
from satori_hpc.interactions.statistics import mann_whitney, signed_rank

NAN = np.float32(np.nan)


def expected_p(x: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns that few values are no sample for the normal approximation
        return float(stats.wilcoxon(x, zero_method="wilcox", alternative="greater", method="asymptotic").pvalue)


def check(values: np.ndarray) -> signed_rank.SignedRank:
    found = signed_rank.wilcoxon(values)
    for column in range(values.shape[1]):
        x = values[~np.isnan(values[:, column]), column].astype(np.float64)
        some = x[x != 0]
        assert (found.n[column], found.nonzero[column]) == (len(x), len(some))
        if not len(x):
            assert np.isnan([found.w_plus[column], found.auc[column], found.p[column], found.median[column]]).all()
            continue
        assert found.median[column] == np.median(x)
        ranks = stats.rankdata(abs(some))
        plus, minus = ranks[some > 0].sum(), ranks[some < 0].sum()
        assert found.w_plus[column] == plus
        if not len(some):
            assert (found.p[column], found.auc[column], found.neg_log10_p[column]) == (1, 0.5, 0)
            continue
        assert 2 * found.auc[column] - 1 == pytest.approx((plus - minus) / (plus + minus), abs=1e-12)
        np.testing.assert_allclose(found.p[column], expected_p(x), rtol=1e-12, atol=0)
        np.testing.assert_allclose(found.neg_log10_p[column], -np.log10(found.p[column]), rtol=1e-10, atol=1e-12)
    return found


def sample(rng: np.random.Generator, rows: int, columns: int, *, present: float = 0.6) -> np.ndarray:
    values = rng.standard_normal((rows, columns)).astype(np.float32)
    values[rng.random(values.shape) > present] = NAN
    return values


def test_random_columns_with_missing_values() -> None:
    rng = np.random.default_rng(1)
    check(sample(rng, 200, 31) + np.float32(0.2))


def test_ties_of_both_signs_and_zeros() -> None:
    rng = np.random.default_rng(2)
    found = check(np.round(sample(rng, 300, 25), 1))
    assert (found.nonzero < found.n).any()


def test_tiny_samples_zeros_and_nothing() -> None:
    rng = np.random.default_rng(3)
    for rows in (1, 2, 3, 5):
        check(np.round(sample(rng, rows, 40, present=0.8), 0))
    check(np.zeros((9, 2), np.float32))
    check(np.full((9, 2), NAN))
    check(np.array([[0.0, np.inf], [-0.0, -np.inf], [1.0, 2.0]], np.float32))


def test_the_farthest_tail_is_told_in_logarithms() -> None:
    found = signed_rank.wilcoxon(np.arange(1, 40_001, dtype=np.float32)[:, None])
    assert found.p[0] == 0
    n = 40_000.0
    z = (n * (n + 1) / 4) / np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    assert found.neg_log10_p[0] == pytest.approx(-stats.norm.logsf(z) / np.log(10), rel=1e-12)
    assert found.auc[0] == 1
    assert found.auc_error[0] == pytest.approx(1 / np.sqrt(3 * n), rel=1e-3)


def test_error_is_the_spread_of_auc_under_thrown_signs() -> None:
    rng = np.random.default_rng(4)
    sizes = np.round(rng.random(30) * 8 + 0.5)
    thrown = (sizes[:, None] * rng.choice([-1, 1], (30, 4000))).astype(np.float32)
    found = signed_rank.wilcoxon(thrown)
    assert found.auc.std() == pytest.approx(found.auc_error[0], rel=0.05)


def test_one_side_of_columns_among_others() -> None:
    rng = np.random.default_rng(5)
    values, others = sample(rng, 90, 7), sample(rng, 60, 7)
    columns = Columns(7, rows=150)
    columns.add(0, others)
    columns.add(2, values[:50].copy())
    columns.add(2, values[50:].copy())
    np.testing.assert_array_equal(signed_rank.test(columns, 2).p, signed_rank.wilcoxon(values).p)


values = st.one_of(st.sampled_from([NAN, 0.0, -0.0, 1.0, -1.0, 2.0]), st.floats(width=32, allow_infinity=False))


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.integers(1, 3)), elements=values))
def test_anything(sides: np.ndarray) -> None:
    check(sides)


def test_simes_is_the_smallest_benjamini_hochberg_q() -> None:
    rng = np.random.default_rng(6)
    for count in (1, 2, 7, 300):
        p = rng.random(count) ** 3
        assert 10 ** -mann_whitney.simes(-np.log10(p)) == pytest.approx(mann_whitney.q_values(p).min(), rel=1e-12)
    assert mann_whitney.simes(np.array([0.0, 0.0])) == 0
    assert mann_whitney.simes(np.array([5000.0, 0.0])) == pytest.approx(5000 - np.log10(2))
