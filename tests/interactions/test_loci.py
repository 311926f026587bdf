"""Letters of bins, and their places in a genome, against looking each letter up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satori_hpc.interactions import coordinates

COMPLEMENT = str.maketrans("ACGT", "TGCA")


@given(
    pool=st.integers(1, 9), width=st.integers(1, 21), length=st.integers(20, 60), share=st.floats(0, 1), bin=st.data()
)
def test_letters_are_those_under_any_position_of_the_bin(
    pool: int, width: int, length: int, share: float, bin: st.DataObject
) -> None:
    padding = round(share * (width - 1))
    number = bin.draw(st.integers(0, length // pool - 1))
    start, end = coordinates.letters(
        np.array([number * pool - padding]), pool=pool, width=np.array([width]), length=length
    )
    covered = {
        letter
        for position in range(number * pool, (number + 1) * pool)
        for letter in range(position - padding, position - padding + width)
        if 0 <= letter < length
    }
    assert set(range(start[0], end[0])) == covered


@pytest.mark.parametrize("strand", [1, 0, -1])
def test_the_genome_holds_these_letters(strand: int) -> None:
    rng = np.random.default_rng(1)
    genome = "".join(rng.choice(list("ACGT"), 300))
    example = genome[40:140]
    read = example.translate(COMPLEMENT)[::-1] if strand < 0 else example
    start = rng.integers(0, 80, 50)
    end = start + rng.integers(1, 20, 50)
    left, right = coordinates.on_genome(
        start, end, example_start=np.full(50, 40), example_end=np.full(50, 140), strand=np.full(50, strand, np.int8)
    )
    for k in range(50):
        found = genome[left[k] : right[k]]
        assert (found.translate(COMPLEMENT)[::-1] if strand < 0 else found) == read[start[k] : end[k]]
