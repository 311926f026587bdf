"""The baseline that needs no network: exact against all permutations, finds what is planted, and nothing else."""

import numpy as np
import pytest

from satori_hpc.evaluation import cooccurrence
from satori_hpc.evaluation.cooccurrence import Hits
from satori_hpc.motifs import hits as motif_hits
from tests.oracles import cooccurrence as oracle


def hits_of(rows):
    """Hits from (example, tf, start, end) rows."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return Hits(example=table[:, 0], tf=table[:, 1], start=table[:, 2], end=table[:, 3])


@pytest.mark.parametrize("seed", range(6))
def test_moments_equal_those_over_all_permutations(seed):
    random = np.random.default_rng(seed)
    length, examples, max_gap = 60, 6, int(random.integers(0, 20))
    rows = []
    for _ in range(14):
        start = int(random.integers(0, length - 8))
        rows.append(
            (int(random.integers(examples)), int(random.integers(2)), start, start + int(random.integers(4, 9)))
        )
    found = cooccurrence.measure(hits_of(rows), examples=examples, length=length, tfs=2, max_gap=max_gap)
    by_sequence = [[[(s, e) for x, t, s, e in rows if (x, t) == (i, tf)] for i in range(examples)] for tf in (0, 1)]
    observed, mean, variance = oracle.by_all_permutations(*by_sequence, max_gap)
    assert found.observed[0] == observed
    assert found.expected[0] == pytest.approx(mean)
    if variance > 0:
        assert found.z[0] == pytest.approx((observed - mean) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("first", "second", "meets"),
    [
        ((10, 20), (20, 30), 1),  # touching: gap 0
        ((10, 20), (25, 30), 1),  # gap 5, the largest
        ((10, 20), (26, 30), 0),  # gap 6
        ((25, 30), (10, 20), 1),  # either order
        ((26, 30), (10, 20), 0),
        ((10, 20), (19, 30), 0),  # overlapping by one
        ((10, 20), (12, 15), 0),  # one inside the other
        ((0, 3), (3, 6), 1),  # at the left end
        ((54, 57), (57, 60), 1),  # at the right end
    ],
)
def test_range_is_end_to_start_and_overlap_does_not_count(first, second, meets):
    found = cooccurrence.measure(hits_of([(0, 0, *first), (0, 1, *second)]), examples=3, length=60, tfs=2, max_gap=5)
    assert found.observed[0] == meets


def test_sums_over_positions_give_the_figures_of_lone_hits():
    random = np.random.default_rng(3)
    examples, length, tfs = 40, 50, 5
    rows = [
        (example, tf, start, start + 4 + tf)
        for example in range(examples)
        for tf in range(tfs)
        for start in random.integers(0, length - 4 - tf, size=int(random.random() < 0.6)).tolist()
    ]
    rows.sort(key=lambda row: (row[0], row[2], row[1]))
    columns = hits_of(rows)
    ones = np.ones(len(rows))
    lone = motif_hits.Hits(
        columns.example, columns.start, columns.end, columns.tf, ones.astype(np.int8), ones.astype(np.int32), ones
    )
    for max_gap in (0, 7, 60):
        options = {"examples": examples, "length": length, "tfs": tfs, "max_gap": max_gap}
        found, expected = cooccurrence.measure_lone(lone, **options), cooccurrence.measure(columns, **options)
        for name, column in vars(expected).items():
            np.testing.assert_allclose(getattr(found, name), column, rtol=1e-9, err_msg=name)


def planted(examples, *, seed, share):
    """Five TFs with independent hits; in `share` of the sequences TF 0 and TF 1 stand 10 bp apart."""
    random = np.random.default_rng(seed)
    rows = []
    for example in range(examples):
        for tf in range(5):
            if random.random() < 0.4:
                start = int(random.integers(0, 290))
                rows.append((example, tf, start, start + 10))
        if random.random() < share:
            start = int(random.integers(0, 260))
            rows += [(example, 0, start, start + 10), (example, 1, start + 20, start + 30)]
    return hits_of(rows)


def test_a_planted_pair_is_found_and_ranks_first():
    found = cooccurrence.measure(planted(600, seed=1, share=0.15), examples=600, length=300, tfs=5, max_gap=45)
    assert (found.tf_a[0], found.tf_b[0]) == (0, 1)
    assert np.nanargmax(found.z) == 0
    assert found.q[0] < 1e-6
    assert (found.q[1:] > 0.05).all()


def test_independent_motifs_are_not_called():
    smallest = [
        cooccurrence.measure(planted(300, seed=seed, share=0), examples=300, length=300, tfs=5, max_gap=45)
        for seed in range(60)
    ]
    z = np.concatenate([found.z for found in smallest])
    assert abs(z.mean()) < 0.15
    assert 0.8 < z.std() < 1.2
    assert sum((found.q <= 0.05).any() for found in smallest) <= 6  # 5 % of 60 families, plus chance


def test_a_tf_without_hits_is_no_evidence():
    found = cooccurrence.measure(hits_of([(0, 0, 5, 9), (1, 1, 5, 9)]), examples=4, length=20, tfs=3, max_gap=5)
    assert np.isnan(found.z[1])
    assert found.p[1] == found.q[1] == 1.0
