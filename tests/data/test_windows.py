"""Peaks to windows against the slow rules, in every tie and at every edge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.data.sources.genome import windows
from satori_hpc.data.sources.genome.windows import Regions
from tests.oracles import windows_oracle
from tests.oracles.windows_oracle import Peak

LENGTHS = [140, 60, 300]
SLOW = {
    "extend_then_merge": windows_oracle.extend_then_merge,
    "merge_then_extend": windows_oracle.merge_then_extend,
}


@st.composite
def peaks(draw):
    chrom = draw(st.integers(0, 2))
    start = draw(st.integers(0, LENGTHS[chrom] - 1))
    end = draw(st.integers(start + 1, min(LENGTHS[chrom], start + 50)))
    labels = draw(st.frozensets(st.integers(0, 69), min_size=1, max_size=3))
    return Peak(chrom, draw(st.sampled_from([1, 0, -1])) if draw(st.booleans()) else 0, start, end, labels)


def regions(found: list[Peak]) -> Regions:
    bits = np.zeros((len(found), 2), dtype=np.uint64)
    for row, peak in enumerate(found):
        for label in peak.labels:
            bits[row, label // 64] |= np.uint64(1) << np.uint64(label % 64)
    columns = [np.array([getattr(peak, name) for peak in found], dtype=np.int64) for name in ("chrom", "start", "end")]
    return Regions(*columns, np.array([peak.strand for peak in found], dtype=np.int8), bits)


def told(made: Regions) -> list[Peak]:
    labels = windows.matrix(made.labels, 70)
    rows = zip(made.chrom.tolist(), made.strand.tolist(), made.start.tolist(), made.end.tolist(), labels, strict=True)
    return [Peak(*row[:4], frozenset(np.flatnonzero(row[4]).tolist())) for row in rows]


@pytest.mark.parametrize("order", windows.ORDERS)
@given(found=st.lists(peaks(), max_size=40), size=st.sampled_from([20, 31, 60]), overlap=st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_windows_are_those_of_the_rules(order, found, size, overlap):
    made = windows.make(regions(found), lengths=np.array(LENGTHS), size=size, overlap=overlap, order=order)
    # Windows of equal place and strand may stand in any order among each other only where their peaks are equal, too.
    assert sorted(told(made), key=key) == sorted(SLOW[order](found, LENGTHS, size, overlap), key=key)
    assert [key(peak)[:3] for peak in told(made)] == sorted(key(peak)[:3] for peak in told(made))


def key(peak: Peak) -> tuple:
    return (peak.chrom, -peak.strand, peak.start, sorted(peak.labels))


def test_of_equal_overlaps_the_first_from_the_left_goes_first():
    # Middles 100, 120, 140: the left two make one at 110, which then meets 140 with 3 of 5 shares of the weight.
    found = [Peak(2, 0, at, at + 1, frozenset([label])) for label, at in enumerate((100, 120, 140))]
    made = windows.make(regions(found), lengths=np.array(LENGTHS), size=60, overlap=30, order="extend_then_merge")
    assert told(made) == [Peak(2, 0, 92, 152, frozenset([0, 1, 2]))]


def test_peaks_of_many_labels_on_one_chromosome_in_a_moment():
    """One group of 200,000 windows: a search of all couples at every step would take days."""
    rng = np.random.default_rng(0)
    count, length = 200_000, 10_000_000
    start = np.sort(rng.integers(0, length - 200, count))
    zeros = np.zeros(count, dtype=np.int64)
    bits = windows.one_label(rng.integers(0, 36, count), 36)
    found = Regions(zeros, start, start + 200, zeros.astype(np.int8), bits)
    made = windows.make(found, lengths=np.array([length]), size=600, overlap=200, order="extend_then_merge")
    shared = made.end[:-1] - made.start[1:]
    assert (shared < 200).all()
    assert windows.matrix(made.labels, 36).any(axis=1).all()


@given(st.lists(peaks(), max_size=12), st.lists(peaks(), max_size=12))
@settings(max_examples=200, deadline=None)
def test_overlaps(mine, theirs):
    mine, theirs = [regions(each) for each in (mine, theirs)]
    found = windows.overlaps_any(mine.chrom, mine.start, mine.end, (theirs.chrom, theirs.start, theirs.end))
    expected = [
        any(
            mine.chrom[i] == theirs.chrom[j] and mine.start[i] < theirs.end[j] and theirs.start[j] < mine.end[i]
            for j in range(len(theirs))
        )
        for i in range(len(mine))
    ]
    assert found.tolist() == expected
