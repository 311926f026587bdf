"""The k largest of columns against sorting them whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from satori_hpc.interactions.instances import Strongest


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 60),
    block=st.integers(1, 25),
    keep=st.integers(1, 6),
    levels=st.sampled_from([1, 3, 1000]),
    present=st.sampled_from([0.0, 0.1, 0.9]),
    floor=st.sampled_from([-np.inf, 0.5]),
)
def test_equals_sorting(seed: int, rows: int, block: int, keep: int, levels: int, present: float, floor: float) -> None:
    rng = np.random.default_rng(seed)
    values = (np.round(rng.random((rows, 7)) * levels) / levels).astype(np.float32)
    values[rng.random(values.shape) > present] = np.nan
    found = Strongest(7, keep, floor=floor)
    for first in range(0, rows, block):
        for columns in (np.array([5, 0, 3]), np.array([1, 2, 4, 6])):
            found.add(values[first : first + block, columns], columns, first_row=first)
    for column in range(7):
        expected = sorted((-float(v), row) for row, v in enumerate(values[:, column]) if v >= floor)[:keep]
        assert [row for row in found.row[column].tolist() if row >= 0] == [row for _, row in expected]
        assert found.score[column, : len(expected)].tolist() == [-value for value, _ in expected]
        assert (found.score[column, len(expected) :] == -np.inf).all()
