"""Tests of labels against the rest, against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from satori_hpc.interactions.statistics import differential

value = st.sampled_from([0.0, 0.25, 0.5, 1.5, -2.0, float("nan")])


@given(st.lists(st.tuples(value, st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_equals_scipy_for_every_group(rows: list[tuple[float, bool, bool, bool]]) -> None:
    values = np.array([row[0] for row in rows], np.float32)
    members = np.array([row[1:] for row in rows])
    found = differential.compare(values, members)
    for group in range(3):
        seen = ~np.isnan(values)
        wide = values.astype(np.float64)
        inside, outside = wide[seen & members[:, group]], wide[seen & ~members[:, group]]
        assert (found.n_with[group], found.n_without[group]) == (len(inside), len(outside))
        np.testing.assert_equal(found.median_with[group], np.median(inside) if len(inside) else np.nan)
        np.testing.assert_equal(found.median_without[group], np.median(outside) if len(outside) else np.nan)
        if not len(inside) or not len(outside):
            assert np.isnan(found.p[group])
            assert np.isnan(found.auc[group])
            continue
        told = stats.mannwhitneyu(inside, outside, alternative="two-sided", method="asymptotic")
        assert found.auc[group] == pytest.approx(told.statistic / len(inside) / len(outside), rel=1e-12)
        p = told.pvalue if len(np.unique(values[seen])) > 1 else 1.0  # scipy divides by zero there
        assert found.p[group] == pytest.approx(p, rel=1e-9)
        assert found.neg_log10_p[group] == pytest.approx(-np.log10(p), abs=1e-9)


def test_groups_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    values, members = rng.random(500, dtype=np.float32), rng.random((500, 11)) < 0.3
    whole = differential.compare(values, members)
    monkeypatch.setattr(differential, "AT_ONCE", 1500)
    for name, part in vars(differential.compare(values, members)).items():
        np.testing.assert_array_equal(part, getattr(whole, name))


def test_p_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(2)
    p = [
        differential.compare(rng.gamma(1, 1, 300).astype(np.float32), rng.random((300, 1)) < 0.4).p[0]
        for _ in range(500)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01
