import itertools

import numpy as np
import pytest

from satori_hpc import pairs


@pytest.mark.parametrize("filters", [2, 3, 7, 200])
def test_the_numbers_follow_the_upper_triangle(filters: int) -> None:
    expected = list(itertools.combinations(range(filters), 2))
    first, second = pairs.filters_of(filters)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert pairs.count(filters) == len(expected)
    numbers = pairs.index(first.astype(np.int64), second.astype(np.int64), filters=filters)
    np.testing.assert_array_equal(numbers, np.arange(len(expected)))
    assert pairs.index(*expected[-1], filters=filters) == len(expected) - 1
