"""Folds of several TFs against the slow rules, and the shuffles that become negatives."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.data import sequence
from satori_hpc.data.sources import chipseq_folds
from satori_hpc.data.sources.chipseq_folds import Fold
from satori_hpc.data.splits import UNKNOWN
from tests.oracles import folds_oracle

WORDS = ["ACG", "ACT", "GGG", "TTA", "CAN", "TTT"]


@st.composite
def files(draw):
    """Rows of a file per TF: equal sequences have equal labels."""
    count = draw(st.integers(1, 3))
    made = []
    for _ in range(2 * count):
        bound = draw(st.lists(st.integers(0, 1), min_size=len(WORDS), max_size=len(WORDS)))
        words = draw(st.lists(st.integers(0, len(WORDS) - 1), min_size=1, max_size=8))
        made.append([(WORDS[word], bound[word]) for word in words])
    return made[:count], made[count:]


def rows_of(tokens: np.ndarray, bound: np.ndarray) -> Fold:
    return Fold([f"row{row}" for row in range(len(tokens))], tokens, bound, np.arange(len(tokens)))


def fold(rows: list[tuple[str, int]]) -> Fold:
    return rows_of(
        np.stack([sequence.encode(text) for text, _ in rows]), np.array([bound for _, bound in rows], dtype=np.uint8)
    )


@given(files(), st.sampled_from(["unknown", "absent"]))
@settings(max_examples=300, deadline=None)
def test_files_are_joined_by_the_rules(given_files, missing_label):
    train, test = given_files
    made = chipseq_folds.join(list(map(fold, train)), list(map(fold, test)), missing_label=missing_label)
    expected, excluded_records = folds_oracle.join(train, test, missing_label=missing_label)
    assert [sequence.decode(row) for row in made.tokens] == list(expected)
    assert made.test.tolist() == [tests for tests, _ in expected.values()]
    assert made.labels.tolist() == [labels for _, labels in expected.values()]
    assert len(made.in_test) == excluded_records
    texts = [text for rows in (*train, *test) for text, _ in rows]
    assert [texts[row] for row in made.first] == list(expected)
    tested = {text for rows in test for text, _ in rows}
    assert all(texts[row] in tested for row in made.in_test)


def some_set(count: int = 200, length: int = 31) -> chipseq_folds.MergedFolds:
    tokens = np.random.default_rng(0).integers(0, 4, (count, length), dtype=np.uint8)
    bound = np.ones(count, dtype=np.uint8)
    bound[::7] = 0
    return chipseq_folds.join(
        [rows_of(tokens[:150], bound[:150])], [rows_of(tokens[150:], bound[150:])], missing_label="unknown"
    )


@pytest.mark.parametrize("kind", chipseq_folds.SHUFFLES)
def test_every_bound_training_sequence_gets_a_shuffle_that_follows_from_seed_and_example(kind):
    joined = some_set()
    made, parents, repeats = chipseq_folds.negatives(joined, kind=kind, seed=5)
    assert repeats == 0
    assert parents.tolist() == [row for row in range(150) if row % 7]
    np.testing.assert_array_equal(np.sort(made, axis=1), np.sort(joined.tokens[parents], axis=1))
    assert (made != joined.tokens[parents]).any(axis=1).all()
    again, _, _ = chipseq_folds.negatives(joined, kind=kind, seed=5)
    np.testing.assert_array_equal(made, again)
    assert (chipseq_folds.negatives(joined, kind=kind, seed=6)[0] != made).any()
    first = {name: getattr(joined, name)[:10] for name in ("tokens", "labels", "test", "first")}
    fewer = dataclasses.replace(joined, **first)
    np.testing.assert_array_equal(
        chipseq_folds.negatives(fewer, kind=kind, seed=5)[0], made[: len(parents[parents < 10])]
    )


def test_a_shuffle_that_is_a_sequence_of_the_set_or_an_earlier_shuffle_is_left_out():
    rows = [("ATATATAT", 1), ("GGGGGGGG", 1), ("ACGTTGCA", 1)]
    joined = chipseq_folds.join([fold(rows)], [fold([("CCCCCCCC", 1)])], missing_label="unknown")
    made, parents, repeats = chipseq_folds.negatives(joined, kind="dinucleotide", seed=1)
    assert repeats == 3 - len(made) >= 2  # the first two have no other order
    assert set(parents.tolist()) <= {2}


@given(st.text("ACGTN", min_size=1, max_size=20), st.integers(0, 99))
def test_block_shuffle_moves_blocks_of_two_from_the_start(text, seed):
    tokens = sequence.encode(text)
    made = sequence.decode(chipseq_folds.block_shuffle(tokens, np.random.default_rng(seed)))
    blocks = [text[start : start + 2] for start in range(0, len(text), 2)]

    def can_be_cut(rest: str, left: list[str]) -> bool:
        return not left or any(
            rest.startswith(block) and can_be_cut(rest[len(block) :], left[:at] + left[at + 1 :])
            for at, block in enumerate(left)
            if block not in left[:at]
        )

    assert len(made) == len(text)
    assert can_be_cut(made, blocks)


def test_what_nobody_looked_at_is_unknown():
    joined = chipseq_folds.join(
        [fold([("ACG", 1)]), fold([("TTT", 1)])], [fold([("GGG", 0)]), fold([("CCC", 1)])], missing_label="unknown"
    )
    assert joined.labels.tolist() == [[1, UNKNOWN], [UNKNOWN, 1], [0, UNKNOWN], [UNKNOWN, 1]]
