"""Means over overlapping windows and distinct sites, against dictionaries."""

import functools
import operator
from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from satori_hpc.interactions.tracks.sites import Depth, distinct


@given(
    starts=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    length=st.integers(1, 15),
    batch=st.integers(1, 7),
    seed=st.integers(0, 9),
)
def test_means_are_those_of_a_dictionary_whatever_the_batches(
    starts: list[int], length: int, batch: int, seed: int
) -> None:
    start = np.sort(np.array(starts))
    values = np.random.default_rng(seed).normal(size=(len(start), length)).astype(np.float32)
    slow: dict[int, list[float]] = defaultdict(list)
    for first, row in zip(start.tolist(), values.astype(np.float64), strict=True):
        for k in range(length):
            slow[first + k].append(row[k])

    waiting, position, mean = Depth.empty(), [], []
    for begin in range(0, len(start), batch):
        waiting = waiting.add(start[begin : begin + batch], values[begin : begin + batch])
        following = int(start[begin + batch]) if begin + batch < len(start) else None
        done, waiting = waiting.split(following)
        assert len(waiting.position) <= length
        position += done.position.tolist()
        mean += done.mean.tolist()
    assert not len(waiting.position)
    assert position == sorted(slow)
    # Added in the order in which windows come: equal to the last bit.
    assert mean == [functools.reduce(operator.add, slow[k]) / len(slow[k]) for k in position]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from([0.25, 0.5, 1.0])), max_size=40),
)
def test_one_entry_of_each_key_stays(entries: list[tuple[int, int, float]]) -> None:
    slow: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, (a, b, _) in enumerate(entries):
        slow[a, b].append(number)
    best = [max(found, key=lambda number: (entries[number][2], -number)) for _, found in sorted(slow.items())]
    a, b, strength = (np.array([entry[k] for entry in entries]) for k in range(3))
    keep, count = distinct(a, b, strength=strength)
    assert keep.tolist() == best
    assert count.tolist() == [len(found) for _, found in sorted(slow.items())]
