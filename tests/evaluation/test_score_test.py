"""The score test of motif pairs: equal to dense matrices, in any blocks; right where a pair acts, silent where not."""

import numpy as np
import pytest
from scipy import stats

from satori_hpc import pairs
from satori_hpc.evaluation import score_test
from satori_hpc.evaluation.score_test import Block
from satori_hpc.motifs.hits import Hits
from tests.oracles import score_test as oracle

MOTIFS = 6


def table(rows: list[oracle.Hit]) -> Hits:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4)
    order = np.lexsort((columns[:, 1], columns[:, 2], columns[:, 0]))
    example, motif, start, end = columns[order].T
    ones = np.ones(len(rows))
    return Hits(example, start, end, motif, ones.astype(np.int8), ones.astype(np.int32), ones)


def cut(rows: list[oracle.Hit], labels: np.ndarray, size: int) -> list[Block]:
    found = []
    for first in range(0, len(labels), size):
        part = labels[first : first + size]
        inside = [(e - first, m, s, t) for e, m, s, t in rows if first <= e < first + len(part)]
        found.append(Block(len(part), table(inside), part))
    return found


def random_hits(examples: int, *, seed: int, each: float = 3.5) -> list[oracle.Hit]:
    random = np.random.default_rng(seed)
    rows = []
    for example in range(examples):
        for _ in range(random.poisson(each)):
            start = int(random.integers(0, 100))
            motif = int(random.integers(MOTIFS))
            rows.append((example, motif, start, start + 6 + motif))
    return rows


def labels_of(rows: list[oracle.Hit], examples: int, *, seed: int, logistic: bool, pair: float = 0.0) -> np.ndarray:
    """Effects of single motifs, and of motifs 0 and 1 within 30 bp."""
    random = np.random.default_rng([seed, 1])
    value = oracle.counts(rows, examples, MOTIFS) @ np.array([0.7, -0.7, 0.5, 0.0, 0.3, -0.4]) - 0.3
    value += pair * oracle.in_range(rows, examples, 0, 1, 30)
    if logistic:
        return (random.random(examples) < 1 / (1 + np.exp(-value))).astype(float)
    return value + random.normal(0, 0.5, examples)


@pytest.mark.parametrize("logistic", [True, False])
def test_slopes_variances_and_p_values_equal_those_of_dense_matrices(monkeypatch, logistic):
    monkeypatch.setattr(score_test, "LEAST_INFORMATION", 0.0)
    examples = 400
    rows = random_hits(examples, seed=1)
    labels = labels_of(rows, examples, seed=1, logistic=logistic)
    blocks = cut(rows, labels, 150)
    model = score_test.fit(blocks, MOTIFS, logistic=logistic)
    found = score_test.measure(blocks, model, max_gap=30, of_larger=0, of_mean=0)
    design = np.column_stack([np.ones(examples), oracle.counts(rows, examples, MOTIFS)])
    beta, mean, weight = oracle.fit(design, labels, logistic=logistic)
    np.testing.assert_allclose(model.coefficients, beta, atol=1e-8)
    scale = 1.0 if logistic else np.square(labels - mean).sum() / (examples - MOTIFS - 1)
    assert model.scale == pytest.approx(scale, rel=1e-9)
    assert len(found.first) == pairs.count(MOTIFS)
    for k, (a, b) in enumerate(zip(found.first.tolist(), found.second.tolist(), strict=True)):
        seen = oracle.in_range(rows, examples, a, b, 30)
        slope, variance = oracle.slope_and_variance(design, seen, labels, mean, weight)
        assert found.sequences[k] == seen.sum()
        assert found.effect[k] == pytest.approx(slope / variance, rel=1e-8, abs=1e-8)
        assert found.error[k] == pytest.approx(np.sqrt(scale / variance), rel=1e-8)
        z = slope / np.sqrt(variance * scale)
        assert found.z[k] == pytest.approx(z, rel=1e-8, abs=1e-8)
        assert found.neg_log10_p[k] == pytest.approx(-stats.norm.logsf(z) / np.log(10), rel=1e-8)
    np.testing.assert_allclose(found.q, stats.false_discovery_control(stats.norm.sf(found.z)), rtol=1e-8)


def test_blocks_of_any_size_and_groups_of_pairs_give_the_same(monkeypatch):
    rows = random_hits(300, seed=2)
    labels = labels_of(rows, 300, seed=2, logistic=True)

    def found(size: int):
        blocks = cut(rows, labels, size)
        return score_test.measure(blocks, score_test.fit(blocks, MOTIFS, logistic=True), max_gap=25)

    whole, blocks = found(300), found(37)
    monkeypatch.setattr(score_test, "PAIRS_AT_ONCE", 4)
    for name, column in vars(whole).items():
        np.testing.assert_allclose(column, getattr(blocks, name), rtol=1e-6, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(column, getattr(found(37), name), rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("first", "second", "meets"),
    [
        ((10, 20), (20, 30), True),  # gap 0
        ((10, 20), (25, 30), True),  # the largest gap
        ((10, 20), (26, 30), False),
        ((10, 20), (19, 30), False),  # they overlap
        ((26, 30), (10, 20), False),
        ((25, 30), (10, 20), True),  # either order
    ],
)
def test_range_is_end_to_start_and_overlap_does_not_count(first, second, meets):
    block = Block(1, table([(0, 0, *first), (0, 1, *second)]), np.zeros(1))
    example, number = score_test.within(block.hits, MOTIFS, 5)
    assert (example.tolist(), number.tolist()) == (([0], [0]) if meets else ([], []))


def test_a_wide_hit_does_not_hide_what_lies_behind_it():
    rows = [(0, 0, 0, 6), (0, 2, 2, 60), (0, 1, 9, 15), (1, 1, 0, 6)]
    _, number = score_test.within(table(rows), MOTIFS, 5)
    assert number.tolist() == [0]  # motifs 0 and 1


@pytest.mark.parametrize("logistic", [True, False])
def test_the_pair_that_acts_is_called_and_no_other(logistic):
    rows = random_hits(4000, seed=3)
    labels = labels_of(rows, 4000, seed=3, logistic=logistic, pair=1.5)
    blocks = cut(rows, labels, 4000)
    found = score_test.measure(blocks, score_test.fit(blocks, MOTIFS, logistic=logistic), max_gap=30)
    called = np.flatnonzero(found.q <= 0.05)
    assert [(found.first[k], found.second[k]) for k in called] == [(0, 1)]
    # Positives against negatives mistakes the effects of single motifs for those of pairs.
    model = score_test.fit(blocks, MOTIFS, logistic=logistic, counted=False)
    naive = score_test.measure(blocks, model, max_gap=30, of_larger=0, of_mean=0)
    assert np.count_nonzero(naive.q <= 0.05) > 2


def test_where_no_pair_acts_p_values_are_uniform():
    z = []
    for seed in range(8):
        rows = random_hits(600, seed=seed)
        blocks = cut(rows, labels_of(rows, 600, seed=seed, logistic=True), 600)
        model = score_test.fit(blocks, MOTIFS, logistic=True)
        z.append(score_test.measure(blocks, model, max_gap=30, of_larger=0, of_mean=0).z)
    assert stats.kstest(stats.norm.sf(np.concatenate(z)), "uniform").pvalue > 1e-3


def test_against_negatives_is_the_test_of_two_shares():
    rows = random_hits(500, seed=4)
    labels = labels_of(rows, 500, seed=4, logistic=True)
    blocks = cut(rows, labels, 500)
    model = score_test.fit(blocks, MOTIFS, logistic=True, counted=False)
    found = score_test.measure(blocks, model, max_gap=30, of_larger=0, of_mean=0)
    seen = oracle.in_range(rows, 500, int(found.first[3]), int(found.second[3]), 30)
    cells = np.array([[np.sum(seen * labels), np.sum(seen * (1 - labels))],
                      [np.sum((1 - seen) * labels), np.sum((1 - seen) * (1 - labels))]])  # fmt: skip
    chi2 = stats.chi2_contingency(cells, correction=False).statistic
    assert found.z[3] ** 2 == pytest.approx(chi2, rel=1e-6)


def test_what_the_counts_tell_already_is_not_tested():
    # Motif 0 decides the label, alone: where it is, the label is known, and a pair can add nothing.
    rows = random_hits(2000, seed=5)
    labels = (oracle.counts(rows, 2000, MOTIFS)[:, 0] > 0).astype(float)
    blocks = cut(rows, labels, 2000)
    found = score_test.measure(blocks, score_test.fit(blocks, MOTIFS, logistic=True), max_gap=30)
    assert not (found.q <= 0.05).any()


def test_nothing_to_test_gives_an_empty_table():
    blocks = [Block(3, table([]), np.array([0.0, 1.0, 1.0]))]
    found = score_test.measure(blocks, score_test.fit(blocks, MOTIFS, logistic=True), max_gap=30)
    assert all(len(column) == 0 for column in vars(found).values())


def test_the_smallest_effect_counts():
    rows = random_hits(4000, seed=6)
    labels = labels_of(rows, 4000, seed=6, logistic=True, pair=1.5)
    blocks = cut(rows, labels, 4000)
    model = score_test.fit(blocks, MOTIFS, logistic=True)
    free = score_test.measure(blocks, model, max_gap=30, of_larger=0, of_mean=0)
    bound = score_test.measure(blocks, model, max_gap=30, of_larger=0.5, of_mean=0)
    larger = np.maximum(*np.abs(model.coefficients[1:])[np.stack([free.first, free.second])])
    np.testing.assert_allclose(bound.margin, 0.5 * larger)
    np.testing.assert_allclose(bound.z, (free.effect - bound.margin) / free.error)
