"""Splits: sizes, equal sequences, chromosomes, and parts that cannot be used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satori_hpc.core import splits


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_groups_of_digests_are_numbered_by_digest_or_by_appearance(numbers):
    tokens = np.array(numbers, dtype=np.uint8)[:, None]
    digests = splits.digests(tokens)
    keys = [row.tobytes() for row in digests]
    assert splits.group_digests(digests).tolist() == [sorted(set(keys)).index(key) for key in keys]
    seen = list(dict.fromkeys(numbers))
    assert splits.group_equal(tokens).tolist() == [seen.index(number) for number in numbers]


def test_groups_are_equal_sequences_by_first_appearance():
    tokens = np.array([[0, 1], [2, 2], [0, 1], [1, 0], [2, 2]], dtype=np.uint8)
    assert splits.group_equal(tokens).tolist() == [0, 1, 0, 2, 1]
    assert splits.group_equal(tokens[:, ::-1]).tolist() == [0, 1, 0, 2, 1]


def test_sizes_are_exact_when_all_sequences_differ():
    split = splits.random(np.arange(1000), valid_fraction=0.1, test_fraction=0.25, seed=1)
    assert split.dtype == np.uint8
    assert np.bincount(split).tolist() == [650, 100, 250]
    again = splits.random(np.arange(1000), valid_fraction=0.1, test_fraction=0.25, seed=1)
    np.testing.assert_array_equal(split, again)
    other = splits.random(np.arange(1000), valid_fraction=0.1, test_fraction=0.25, seed=2)
    assert (split != other).any()


@given(st.lists(st.integers(0, 12), min_size=3, max_size=80), st.integers(0, 1000))
def test_a_group_is_never_parted_and_parts_never_exceed_their_share(numbers, seed):
    _, groups = np.unique(numbers, return_inverse=True)
    split = splits.random(groups, valid_fraction=0.2, test_fraction=0.3, seed=seed)
    for group in np.unique(groups):
        assert len(set(split[groups == group].tolist())) == 1
    assert (split == splits.VALID).sum() <= max(1, round(0.2 * len(groups)))
    assert (split == splits.TEST).sum() <= max(1, round(0.3 * len(groups)))
    assert splits.shared_groups(groups, split) == 0


def test_a_large_group_does_not_empty_the_small_parts():
    groups = np.array([0] * 500 + list(range(1, 501)))
    for seed in range(10):
        split = splits.random(groups, valid_fraction=0.1, test_fraction=0.1, seed=seed)
        assert np.bincount(split).tolist() == [800, 100, 100]
        assert (split[:500] == splits.TRAIN).all()


def test_chromosomes():
    chrom = np.array(["chr1", "chr2", "chr10", "chr1", "chr3"])
    split = splits.by_chromosome(chrom, valid=("chr2", "chr3"), test=("chr10",))
    assert split.tolist() == [0, 1, 2, 0, 1]
    with pytest.raises(ValueError, match="no example is on chrX, 7; there are: chr1, chr10, chr2, chr3"):
        splits.by_chromosome(chrom, valid=("chrX",), test=("7",))


def test_chromosomes_of_a_split_are_told_in_any_style():
    chrom = np.array(["NC_000001.11", "NC_000017.11", "NC_000021.9", "NC_000009.12", "NC_012920.1", "KI270728.1"])
    split = splits.by_chromosome(chrom, valid=("chr17", "chrM"), test=("21", "chrUn_KI270728v1"))
    assert split.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(ValueError, match=r"NC_000017.11 in both"):
        splits.by_chromosome(chrom, valid=("chr17",), test=("17",))
    assert splits.published(chrom, "human").tolist() == [0, 1, 1, 0, 2, 2]
    plant = np.array(["NC_003070.9", "Chr2", "chr02", "NC_003075.7", "ChrC"])
    assert splits.published(plant, "arabidopsis").tolist() == [0, 1, 1, 2, 0]
    told = splits.published_rule("human", ["NC_000001.11"])
    assert "17, 20, 21 for valid; all others for test; examples are on NC_000001.11" in told


def test_equal_sequences_on_several_chromosomes_are_counted():
    groups = np.array([0, 1, 0, 2, 1])
    assert splits.shared_groups(groups, np.array([0, 1, 2, 0, 1], dtype=np.uint8)) == 1


def complaints(labels: np.ndarray, split: np.ndarray, task: str) -> list[str]:
    """Of labels that come in two blocks."""
    tally = splits.tally((labels[:4], labels[4:]), split, targets=labels.shape[1])
    assert tally.examples.tolist() == [(split == part).sum() for part in range(3)]
    for part in range(3):
        np.testing.assert_array_equal(tally.ones[part], (labels[split == part] == 1).sum(axis=0))
    return splits.complaints(tally, task)


def test_complaints():
    split = np.array([0, 0, 1, 1, 2, 2])
    good = np.array([0, 1, 0, 1, 1, 0])[:, None]
    assert complaints(good, split, "binary") == []
    assert complaints(np.ones((6, 1), int), split, "binary")[1] == "valid: all 2 examples have label 1"
    assert complaints(good, np.zeros(6), "binary") == ["valid: no examples", "test: no examples"]
    many = np.array([[0, 1], [1, 1], [0, 0], [0, 1], [1, 1], [1, 1]])
    assert complaints(many, split, "multilabel") == ["test: each label is the same in all 2 examples"]
