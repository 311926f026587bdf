"""Sites of a sequence against a search over every position."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.scoring import sites
from tests.oracles import sites_oracle


def rows_of(found: sites.Sites, b: int) -> list[tuple[int, set[int]]]:
    """[(position, filters)] of one sequence."""
    used = int(found.used[b].sum())
    assert found.used[b, :used].all()  # the used ones first
    assert not found.position[b, used:].any()
    assert not found.members[b, used:].any()
    members = [set(row.nonzero().flatten().tolist()) for row in found.members[b, :used]]
    return list(zip(found.position[b, :used].tolist(), members, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    filters=st.integers(1, 5),
    length=st.integers(8, 60),
    width=st.integers(1, 8),
    most=st.integers(1, 9),
    levels=st.sampled_from([0, 2]),
    density=st.sampled_from([0.0, 0.03, 0.5]),
    all_filters=st.booleans(),
)
def test_equal_the_search(seed, filters, length, width, most, levels, density, all_filters):
    rng = np.random.default_rng(seed)
    padding = int(rng.integers(width))
    activations = rng.random((3, filters, length)).astype(np.float32) * (rng.random((3, filters, length)) < density)
    threshold = rng.uniform(0.2, 0.6, filters).astype(np.float32)
    if levels:  # ties, of positions and of filters
        activations, threshold = (
            (np.ceil(activations * levels) / levels).astype(np.float32),
            np.full_like(threshold, 0.4),
        )
    if filters > 1:
        threshold[0] = np.inf  # a dead filter
    options = {"padding": padding, "width": width, "most": most, "all_filters": all_filters}
    found = sites.strongest(torch.from_numpy(activations), torch.from_numpy(threshold), **options)
    for b in range(3):
        assert rows_of(found, b) == sites_oracle.sites(activations[b], threshold, **options)


def test_do_not_depend_on_company_or_layout():
    torch.manual_seed(1)
    activations, threshold = torch.rand(5, 7, 90), torch.full((7,), 0.9)
    options = {"padding": 3, "width": 7, "most": 6, "all_filters": True}
    whole = sites.strongest(activations, threshold, **options)
    strided = activations.transpose(1, 2).contiguous().transpose(1, 2)  # as convolutions in channels-last give them
    for number in range(5):
        alone = sites.strongest(strided[number : number + 1], threshold, **options)
        assert rows_of(alone, 0) == rows_of(whole, number)


def test_a_threshold_of_zero_still_takes_the_largest_first():
    activations = torch.tensor([[[0.0, 1.0, 2.0, 0.0, 3.0, 0.5]]])
    found = sites.strongest(activations, torch.zeros(1), padding=0, width=1, most=2, all_filters=False)
    assert found.position.tolist() == [[2, 4]]


@pytest.mark.parametrize("padding", [0, 4])
def test_windows_lie_inside_the_sequence(padding):
    found = sites.strongest(
        torch.ones(1, 1, 20), torch.full((1,), 0.5), padding=padding, width=5, most=9, all_filters=False
    )
    start = found.position[found.used] - padding
    assert start.tolist() == [0, 5, 10, 15]
