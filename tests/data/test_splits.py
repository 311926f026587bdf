"""Splits: sizes, equal sequences, chromosomes, and parts that cannot be used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satori_hpc.data import splits


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


def components_by_hand(chrom: np.ndarray, start: np.ndarray, end: np.ndarray) -> list[set[int]]:
    """Grow groups of overlapping intervals one by one."""
    groups: list[set[int]] = []
    for k in range(len(start)):
        meets = [
            group
            for group in groups
            if any(chrom[k] == chrom[j] and start[k] < end[j] and start[j] < end[k] for j in group)
        ]
        groups = [group for group in groups if group not in meets] + [set().union({k}, *meets)]
    return groups


@pytest.mark.parametrize("seed", range(6))
def test_overlapping_intervals_are_in_one_group_with_all_that_they_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chrom, start = rng.integers(0, 3, 60), rng.integers(0, 400, 60)
    end = start + rng.integers(1, 12, 60)
    found = splits.group_overlapping(chrom, start, end)
    expected = components_by_hand(chrom, start, end)
    assert {frozenset(np.flatnonzero(found == number).tolist()) for number in set(found.tolist())} == set(
        map(frozenset, expected)
    )


def test_intervals_that_touch_do_not_overlap() -> None:
    found = splits.group_overlapping(np.zeros(3, dtype=int), np.array([0, 10, 19]), np.array([10, 20, 30]))
    assert found[0] != found[1]
    assert found[1] == found[2]


def test_groups_join_through_others() -> None:
    assert splits.join_groups(np.array([0, 0, 1, 2, 3]), np.array([5, 1, 1, 2, 2])).tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_no_test_interval_overlaps_a_training_interval_after_a_random_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    place = rng.integers(0, 4, 900), (start := rng.integers(0, 60_000, 900)), start + 100
    split = splits.random(splits.group_overlapping(*place), valid_fraction=0.1, test_fraction=0.1, seed=seed)
    assert splits.count_overlapping_test(*place, split) == 0
    assert min(np.bincount(split, minlength=3)[1:]) > 45
    alone = splits.random(np.arange(900), valid_fraction=0.1, test_fraction=0.1, seed=seed)
    assert splits.count_overlapping_test(*place, alone) > 20


def test_whole_chromosomes_are_drawn_to_their_shares() -> None:
    rng = np.random.default_rng(0)
    chrom = rng.choice(30, size=20_000)
    parts = []
    for seed in range(3):
        split = splits.draw_chromosomes(chrom, valid_fraction=0.1, test_fraction=0.2, seed=seed)
        shares = np.bincount(split, minlength=3) / len(split)
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.05)
        assert all(len(set(split[chrom == name])) == 1 for name in range(30))
        parts.append(tuple(np.unique(chrom[split == splits.TEST])))
    assert len(set(parts)) == 3


@pytest.mark.parametrize(("count", "parts"), [(5, {0: 3, 1: 1, 2: 1}), (3, {0: 1, 1: 1, 2: 1}), (1, {0: 1})])
def test_large_chromosomes_make_parts_too(count: int, parts: dict[int, int]) -> None:
    chrom = np.repeat(np.arange(count), 100)
    split = splits.draw_chromosomes(chrom, valid_fraction=0.1, test_fraction=0.1, seed=1)
    assert {part: len(set(chrom[split == part])) for part in set(split.tolist())} == parts


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ([f"chr{k}" for k in (*range(1, 23), "X", "Y", "M")] + ["chrUn_KI270742v1"], "human"),
        ([str(k) for k in (*range(1, 23), "X", "MT")] + ["KI270728.1"], "human"),
        ([f"Chr{k}" for k in (1, 2, 3, 4, 5, "C", "M")], "arabidopsis"),
        ([f"chr{k}" for k in (*range(1, 20), "X", "Y")], None),  # mouse
        (["chr2L", "chr2R", "chr3L", "chr3R", "chr4", "chrX", "chrY"], None),
        ([f"chr{k}" for k in (1, 2, 3, 4, 5, "X")], None),
    ],
)
def test_genomes_with_a_published_split_are_known_by_their_chromosomes(names: list[str], known: str | None) -> None:
    assert splits.known_genome(names) == known
