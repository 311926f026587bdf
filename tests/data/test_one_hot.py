"""One-hot columns against a look at each of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from satori_hpc.data import sequence

NUMBERS = st.sampled_from([0.0, 1.0, 0.25, 0.5, -1.0, 2.0, float("nan"), -0.0, 1 + 2**-40])


def one_column(column: list[float], letters: str) -> int | None:
    """The token of a column; None: not one."""
    if column in ([0, 0, 0, 0], [0.25] * 4):
        return sequence.N
    for place, letter in enumerate(letters):
        if column == [float(place == other) for other in range(4)]:
            return "ACGT".index(letter)
    return None


@given(arrays(np.float64, (2, 4, 3), elements=NUMBERS), st.permutations("ACGT"))
@settings(max_examples=300, deadline=None)
def test_every_column_is_a_letter_or_told(columns, order):
    letters = "".join(order)
    tokens, wrong = sequence.decode_one_hot(columns, letters=letters)
    for example in range(2):
        for position in range(3):
            expected = one_column(columns[example, :, position].tolist(), letters)
            told = [example, position] in wrong.tolist()
            assert told == (expected is None)
            assert told or tokens[example, position] == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool, np.float16, np.float32, np.float64])
def test_all_kinds_of_numbers(dtype):
    tokens = np.random.default_rng(1).integers(0, 5, (50, 30)).astype(np.uint8)
    columns = (tokens[:, None, :] == np.arange(4)[:, None]).astype(dtype)
    made, wrong = sequence.decode_one_hot(columns)
    np.testing.assert_array_equal(made, tokens)
    assert made.dtype == np.uint8
    assert not len(wrong)
