"""Where peaks are cut apart: windows of the stretches, one after the other, are those of all peaks together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.data.sources.genome import windows
from satori_hpc.data.sources.genome.windows import Regions

LENGTHS = np.array([700, 300])
SIZE = 40


def peaks_of(rows: list[tuple[int, int, int, int, int]]) -> Regions:
    chrom, start, size, strand, label = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    start = start % (LENGTHS[chrom] - 1)
    end = np.minimum(start + size, LENGTHS[chrom])
    return Regions(chrom, start, end, strand.astype(np.int8), windows.one_label(label, 70))


def made(peaks: Regions, order: str, overlap: int) -> Regions:
    if order == "as_given":
        return windows.unite(peaks)
    return windows.unite(windows.make(peaks, lengths=LENGTHS, size=SIZE, overlap=overlap, order=order))


ROW = st.tuples(st.integers(0, 1), st.integers(0, 698), st.integers(1, 90), st.integers(-1, 1), st.integers(0, 69))


@pytest.mark.parametrize("order", [*windows.ORDERS, "as_given"])
@settings(deadline=None)  # the first call compiles
@given(rows=st.lists(ROW, min_size=1, max_size=40), overlap=st.sampled_from([1, 10, 39, 40]))
def test_stretches_give_the_windows_of_the_whole(order, rows, overlap):
    peaks = peaks_of(rows)
    if order == "as_given":
        start = windows.around(peaks.start, SIZE, LENGTHS[peaks.chrom])
        peaks = Regions(peaks.chrom, start, start + SIZE, peaks.strand, peaks.labels)
    at = peaks.start
    if order == "extend_then_merge":
        at = windows.around(windows.midpoint(peaks.start, peaks.end), SIZE, LENGTHS[peaks.chrom])
    by_place = np.lexsort((at, peaks.chrom))
    peaks, at = peaks.take(by_place), at[by_place]
    first, last = windows.reaches(peaks.chrom, at, peaks.end, lengths=LENGTHS, size=SIZE, order=order)
    distance = windows.distance(size=SIZE, overlap=overlap, order=order)
    cuts = windows.apart(peaks.chrom, first, last, distance=distance)
    assert cuts[0]
    stretch = np.cumsum(cuts)
    parts = [made(peaks.take(stretch == number), order, overlap) for number in range(1, stretch[-1] + 1)]
    joined, whole = windows.join(*parts), made(peaks, order, overlap)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(joined, name), values)


def test_peaks_far_from_each_other_are_cut_apart_and_close_ones_are_not():
    chrom, at = np.array([0, 0, 0, 1]), np.array([0, 29, 59, 59])
    cuts = [windows.apart(chrom, at, at, distance=distance).tolist() for distance in (29, 30, 31)]
    assert cuts == [[True, True, True, True], [True, False, True, True], [True, False, False, True]]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 299)), max_size=60), st.integers(1, 80))
def test_batches_hold_no_more_than_asked_for_unless_a_bin_does(places, size):
    bins = windows.Bins(np.array([3 * windows.BIN, windows.BIN + 1]))
    chrom = np.array([chrom for chrom, _ in places], dtype=np.int64)
    at = np.array([at for _, at in places], dtype=np.int64) * windows.BIN // 100 % (windows.BIN + 1)
    bins.count(chrom, at)
    edges = bins.batches(size)
    assert edges[0] == 0
    assert (np.diff(edges) > 0).all()
    bin = bins.of(chrom, at)
    assert (np.lexsort((at, chrom)) == np.lexsort((at, bin))).all()
    for first, last in zip(edges, [*edges[1:], len(bins.peaks)], strict=True):
        inside = bins.peaks[first:last]
        assert inside.sum() <= size or (inside > 0).sum() == 1
        assert inside.sum() == ((bin >= first) & (bin < last)).sum()
