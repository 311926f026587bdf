"""What a value is above the median of the others of its row: exactly what a loop over all entries says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from satori_hpc.interactions.statistics import signed_rank
from tests.oracles import contrasts

NAN = np.float32(np.nan)


def ours(values: np.ndarray, *, least: float = -np.inf) -> np.ndarray:
    block = values.copy()
    signed_rank.subtract(block, signed_rank.row_medians(values, least=least), least=least)
    return block


@pytest.mark.parametrize("digits", [0, 1, 7])
@pytest.mark.parametrize("least", [-np.inf, -0.3])
def test_random_rows_with_ties_and_missing_values(digits: int, least: float) -> None:
    rng = np.random.default_rng(1)
    values = np.round(rng.standard_normal((200, 13)), digits).astype(np.float32)
    values[rng.random(values.shape) > rng.random((200, 1))] = NAN
    found = ours(values, least=least)
    np.testing.assert_array_equal(found, contrasts.contrasts(values, least=least))
    assert np.isfinite(found).sum() > 300
    assert np.isnan(found).all(axis=1).sum() > 5


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 8)),
        elements=st.one_of(st.sampled_from([NAN, 0.0, 1.0, 2.0, -1.0]), st.floats(-(2.0**90), 2.0**90, width=32)),
    )
)
def test_any_rows(values: np.ndarray) -> None:
    np.testing.assert_array_equal(ours(values), contrasts.contrasts(values))


def test_fewer_than_three_values_have_no_contrast() -> None:
    values = np.array([[1, NAN, NAN, NAN], [1, 5, NAN, NAN], [1, 5, 7, NAN], [NAN] * 4], np.float32)
    found = ours(values)
    assert np.isnan(found[[0, 1, 3]]).all()
    np.testing.assert_array_equal(found[2], np.array([-5, 1, 4, np.nan], np.float32))


def test_columns_of_a_row_may_be_subtracted_apart() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((30, 20), dtype=np.float32)
    rows = signed_rank.row_medians(values)
    parts = [values[:, :9].copy(), values[:, 9:].copy()]
    for part in parts:
        signed_rank.subtract(part, rows)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), ours(values))
