import numpy as np
import pytest

from satori_hpc.config import Score
from satori_hpc.errors import SatoriError
from satori_hpc.scoring import select

LABEL = np.array([1, 1, 1, 0, 0, 0, 1, 0], np.uint8)
PROBABILITY = np.array([0.9, 0.65, 0.2, 0.1, 0.35, 0.9, 0.99, 0.0], np.float32)
ROWS = np.arange(7)  # the last example is of another split


def test_binary_sides_hold_what_was_predicted_right() -> None:
    chosen = select.binary(
        LABEL, PROBABILITY, rows=ROWS, settings=Score(positive_probability=0.65, negative_probability=0.35), seed=1
    )
    # Strictly beyond the limits: rows 1 and 4 lie on them.
    assert chosen.foreground.tolist() == [0, 6]
    assert chosen.background.tolist() == [3]


def test_include_mispredicted_takes_every_example_of_the_split() -> None:
    chosen = select.binary(LABEL, PROBABILITY, rows=ROWS, settings=Score(include_mispredicted=True), seed=1)
    assert chosen.foreground.tolist() == [0, 1, 2, 6]
    assert chosen.background.tolist() == [3, 4, 5]


def test_the_draw_follows_the_seed_and_is_sorted() -> None:
    label = np.tile(np.array([1, 0], np.uint8), 100)
    probability = label.astype(np.float32)
    rows = np.arange(200)

    def draw(seed: int) -> select.Selection:
        return select.binary(label, probability, rows=rows, settings=Score(max_examples=10), seed=seed)

    first, again, other = draw(1), draw(1), draw(2)
    for side in ("foreground", "background"):
        chosen = getattr(first, side)
        assert len(chosen) == 10
        assert (np.diff(chosen) > 0).all()
        assert (chosen == getattr(again, side)).all()
        assert not np.array_equal(chosen, getattr(other, side))
    assert (label[first.foreground] == 1).all()
    assert (label[first.background] == 0).all()
    everything = select.binary(label, probability, rows=rows, settings=Score(max_examples=0), seed=1)
    assert len(everything.foreground) == 100


def test_an_empty_side_says_what_to_change() -> None:
    with pytest.raises(SatoriError, match=r"of 4 positives .* 0 are foreground .*positive_probability"):
        select.binary(LABEL, PROBABILITY, rows=ROWS, settings=Score(positive_probability=1.0), seed=1)


def test_precision_counts_right_predictions_among_all_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([[1, 0, 1], [1, 1, 1], [0, 0, 1], [0, 0, 0]], np.uint8)
    probability = np.array([[0.9, 0.9, 0.1], [0.5, 0.4, 0.9], [0.6, 0.6, 0.2], [0.1, 0.1, 0.1]], np.float32)
    np.testing.assert_allclose(select.precision(labels, probability, 0.5), [0.5, 1.0, 0.0, 0.0])
    chosen = select.multilabel(labels, probability, rows=np.arange(4), settings=Score(), seed=1)
    assert chosen.tolist() == [0, 1]
    rows = np.array([3, 1, 0])
    np.testing.assert_array_equal(
        select.true_positives_of(rows, labels, probability, 0.5), [[0, 0, 0], [1, 0, 1], [1, 0, 0]]
    )
    monkeypatch.setattr(select, "BLOCK", 2)
    np.testing.assert_array_equal(
        select.true_positives_of(rows, labels, probability, 0.5), [[0, 0, 0], [1, 0, 1], [1, 0, 0]]
    )
    assert select.multilabel(labels, probability, rows=np.arange(4), settings=Score(), seed=1).tolist() == [0, 1]
    every = select.multilabel(labels, probability, rows=np.arange(4), settings=Score(include_mispredicted=True), seed=1)
    assert every.tolist() == [0, 1, 2, 3]
    with pytest.raises(SatoriError, match="min_precision"):
        select.multilabel(labels, probability, rows=np.array([2, 3]), settings=Score(), seed=1)


def test_true_positives_are_predicted_and_true() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 1]], np.uint8)
    probability = np.array([[0.5, 0.49, 0.9], [0.8, 0.6, 0.5]], np.float32)
    found = select.true_positives(labels, probability, 0.5)
    assert found.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert found.dtype == np.uint8


def test_the_record_holds_what_the_selection_followed_from() -> None:
    binary = select.record(Score(), task="binary", seed=3)
    assert set(binary) == {
        "task",
        "split",
        "include_mispredicted",
        "max_examples",
        "positive_probability",
        "negative_probability",
        "seed",
    }
    assert "positive_probability" not in select.record(Score(include_mispredicted=True), task="binary", seed=3)
    several = select.record(Score(), task="multilabel", seed=3)
    assert (several["label_probability"], several["min_precision"]) == (0.5, 0.5)
    assert "min_precision" not in select.record(Score(include_mispredicted=True), task="multilabel", seed=3)


def test_labels_of_many_examples_are_looked_at_some_at_a_time() -> None:
    rng = np.random.default_rng(0)
    count = 3 * select.BLOCK
    labels = rng.integers(0, 2, (count, 4), dtype=np.uint8)
    probability = rng.random((count, 4), dtype=np.float32)
    asked: list[int] = []

    class Reader:
        def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
            asked.append(len(rows))
            assert (np.diff(rows) > 0).all()
            return probability[rows]

    rows = np.flatnonzero(rng.random(count) < 0.9)
    settings = Score(max_examples=0)
    found = select.multilabel(labels, Reader(), rows=rows, settings=settings, seed=1)
    assert found.tolist() == select.multilabel(labels, probability, rows=rows, settings=settings, seed=1).tolist()
    true = select.true_positives_of(found, labels, Reader(), 0.5)
    assert (true == select.true_positives(labels[found], probability[found], 0.5)).all()
    assert max(asked) <= select.BLOCK
    assert len(asked) > 4
