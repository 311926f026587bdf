"""Hand-made cases of the comparison with known pairs."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from satori_hpc.evaluation import calls
from satori_hpc.motifs.names import compared

POOL = ["A", "B", "C", "D"]
GOLD = [("A", "B"), ("C", "D")]


def test_names_lose_version_and_case_and_composites_stay():
    assert compared("Arnt") == compared("ARNT") == "arnt"
    assert compared("MA0139.1") == compared("ma0139.2")
    assert compared("FOXP1(var.2)") == "foxp1"
    assert compared("GATA1::TAL1") == "gata1::tal1"
    assert compared("Nkx2.5") == "nkx2.5"  # a dot that is part of a name
    assert calls.key("tal1", "GATA1") == ("gata1", "tal1")
    assert calls.key("GATA1::TAL1", "x") != calls.key("TAL1::GATA1", "x")


def test_counts_of_a_hand_made_case():
    # one right (reversed, other case), one wrong, one with a TF outside the pool, one a repeat of the first
    found = calls.calls([("b", "a"), ("A", "C"), ("A", "Z"), ("A", "B")], GOLD, pool=POOL)
    assert (found.called, found.correct, found.outside_pool) == (3, 1, 1)
    assert found.precision == pytest.approx(1 / 3)
    assert found.recall == pytest.approx(1 / 2)
    assert found.f1 == pytest.approx(0.4)
    assert not found.nothing_called


def test_nothing_called_is_zero_and_flagged():
    found = calls.calls([], GOLD, pool=POOL)
    assert (found.precision, found.recall, found.f1, found.nothing_called) == (0.0, 0.0, 0.0, True)


def test_no_gold_is_an_error_not_a_number():
    with pytest.raises(ValueError, match="no gold pair"):
        calls.calls([("A", "B")], [], pool=POOL)


def test_a_tf_with_itself_is_no_pair():
    assert calls.calls([("A", "a")], GOLD, pool=POOL).nothing_called


@pytest.mark.parametrize(("tfs", "pairs", "published"), [(20, 40, 0.348), (25, 60, 0.333), (30, 80, 0.311)])
def test_call_all_of_the_published_sets(tfs, pairs, published):
    pool = [f"TF{i}" for i in range(tfs)]
    gold = calls.pairs_of(pool)[:pairs]
    everything = calls.call_all(gold, pool=pool)
    assert everything.f1 == pytest.approx(published, abs=6e-4)
    assert everything.recall == 1
    assert everything.precision == pytest.approx(pairs / (tfs * (tfs - 1) / 2))


def test_recall_ceiling_asks_for_both_names():
    assert calls.recall_ceiling(GOLD, named=["a", "b", "C"]) == 0.5
    assert calls.recall_ceiling(GOLD, named=[]) == 0.0
    assert calls.recall_ceiling(GOLD, named=POOL) == 1.0


def test_ranks_break_ties_by_the_second_and_share_full_ties():
    # -log10 q: 3, 3, inf, 3 with AUC .6, .7, .5, .6
    assert calls.ranks(np.array([3, 3, np.inf, 3]), np.array([0.6, 0.7, 0.5, 0.6])).tolist() == [1, 2, 3, 1]
    assert calls.ranks(np.array([]), np.array([])).tolist() == []
    assert calls.ranks(np.array([0.5, np.nan, -np.inf])).tolist() == [2, 1, 1]
    keys = np.zeros(3), np.array([400.0, 500.0, 400.0]), np.array([0.9, 0.1, 0.8])
    assert calls.ranks(*keys).tolist() == [2, 3, 1]


def test_pairs_without_a_row_share_the_last_rank():
    # A-B first (gold), A-C second (not gold); four pairs without a row, one of them gold
    scores = calls.pool_scores([("B", "A"), ("a", "c"), ("A", "Z")], [2.0, 1.0, 9.0], pool=POOL)
    labels = calls.pool_labels(GOLD, pool=POOL)
    assert dict(zip(calls.pairs_of(POOL), scores, strict=True))[("a", "b")] == 2.0
    assert len(scores) == 6
    assert sorted(scores) == [0, 0, 0, 0, 1, 2]
    # recall 1/2 at precision 1, the rest at the end of the tie: precision 2/6
    assert calls.average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 6)
    # sharing means that the order of the rows cannot matter
    assert calls.average_precision(labels[::-1], scores[::-1]) == pytest.approx(0.5 + 1 / 6)


def test_a_repeated_pair_keeps_its_best_score():
    assert calls.pool_scores([("A", "B"), ("B", "A")], [1.0, 5.0], pool=["A", "B"]).tolist() == [5.0]


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_equals_sklearn(seed):
    random = np.random.default_rng(seed)
    labels = random.random(60) < 0.3
    labels[0] = True
    scores = random.integers(0, [3, 8, 60, 1][seed % 4] + 1, size=60).astype(float)
    assert calls.average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall = calls.precision_recall(labels, scores)
    theirs_precision, theirs_recall, _ = precision_recall_curve(labels, scores)
    assert np.allclose(precision, theirs_precision[:-1][::-1])
    assert np.allclose(recall, theirs_recall[:-1][::-1])


def test_all_tied_is_the_base_rate():
    labels = calls.pool_labels(GOLD, pool=POOL)
    assert calls.average_precision(labels, np.zeros(6)) == pytest.approx(2 / 6)
