"""Pairs laid out from sites and places, against loops over every pair of bins or sites."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc import pairs
from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.interactions import block, site_pairs
from satori_hpc.interactions.site_pairs import MISSING_DISTANCE, NONE, PairBlock, Partition, Space, Units
from satori_hpc.scoring.site_scores import FIRST, LARGEST, LARGEST_SIZE, SiteScores, ragged
from tests.fixtures.scores import STEP, make_store, sample, starts_of
from tests.oracles import sites_oracle
from tests.oracles.pair_scores import brute_force


def of_matrices(
    value: np.ndarray,
    active: np.ndarray,
    *,
    pool: int = 1,
    directed: bool = False,
    effects: np.ndarray | None = None,
    **extras: np.ndarray,
) -> SiteScores:
    """SiteScores of examples with values (B,n,n) between bins, in which filters are active in bins, bool (B,F,n)."""
    batch, _, bins = active.shape
    occupied = active.any(axis=1)
    number = occupied.cumsum(axis=1) - 1
    used = np.arange(bins) < occupied.sum(axis=1)[:, None]
    bin = np.zeros((batch, bins), dtype=np.int64)
    bin[used] = np.nonzero(occupied)[1]
    row = np.arange(batch)[:, None, None]
    example, motif, at = np.nonzero(active)
    site = np.stack([example, motif, pool * at, np.ones_like(at), number[example, at]], axis=1)

    def between(maps: np.ndarray) -> np.ndarray:
        found: np.ndarray = maps[row, bin[:, :, None], bin[:, None, :]]
        return found

    return ragged(
        site,
        np.ones(len(site), np.float32),
        pool * bin,
        used,
        between(value),
        directed=directed,
        extras={name: between(maps) for name, maps in extras.items()},
        effects=None if effects is None else {"single": np.take_along_axis(effects, bin, axis=1)},
    )


def whole(scores: SiteScores, units: Units, *, choose: str = LARGEST, directed: bool = False) -> PairBlock:
    partition = Partition(scores, units, choose=choose, directed=directed)
    return partition.block(0, units.pairs, slice(0, len(scores)))


def symmetric(value: np.ndarray) -> np.ndarray:
    upper = np.triu(value, k=1)
    return upper + upper.transpose(0, 2, 1)


def check(value: np.ndarray, active: np.ndarray, *, pool: int = 4) -> PairBlock:
    """Lay out a batch from whole (n, n) matrices and compare each sequence with the double loop."""
    found = whole(of_matrices(value, active, pool=pool), Units.motifs(active.shape[1]))
    distance = found.distance()
    for b in range(len(value)):
        expected_score, expected_distance, expected_position = brute_force(value[b], active[b], pool=pool)
        np.testing.assert_array_equal(found.score[b], expected_score)
        np.testing.assert_array_equal(distance[b], expected_distance)
        np.testing.assert_array_equal(starts_of(found)[b], expected_position)
    np.testing.assert_array_equal(found.scores.counts[:, 0], active.sum(axis=(1, 2)))
    assert (found.score.dtype, distance.dtype) == (np.float32, np.int16)
    np.testing.assert_array_equal(found.second == NONE, found.first == NONE)
    return found


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 4),
    filters=st.integers(2, 7),
    bins=st.integers(1, 9),
    density=st.sampled_from([0.02, 0.15, 0.5, 1.0]),
    levels=st.sampled_from([1, 2, 3, 0]),
)
def test_equals_the_double_loop(seed: int, batch: int, filters: int, bins: int, density: float, levels: int) -> None:
    rng = np.random.default_rng(seed)
    value = rng.standard_normal((batch, bins, bins)).astype(np.float32)
    if levels:  # few distinct values, so that ties decide the distance; minus zero among them
        value = (np.round(value * levels) / levels).astype(np.float32)
    upper = np.triu(np.ones((bins, bins), dtype=bool), k=1)
    value = np.where(upper, value, value.transpose(0, 2, 1))  # symmetric, and minus zero stays
    check(value, rng.random((batch, filters, bins)) < density)


def test_a_realistic_size() -> None:
    rng = np.random.default_rng(1)
    active = rng.random((3, 25, 30)) < 0.06
    active[1] = False
    check(symmetric(rng.random((3, 30, 30)).astype(np.float32)), active, pool=6)


def test_filters_that_share_their_only_bin_are_not_observed() -> None:
    active = np.zeros((1, 3, 5), dtype=bool)
    active[0, [0, 1], 2] = True
    active[0, 2, 4] = True
    found = check(np.ones((1, 5, 5), np.float32), active)
    assert np.isnan(found.score).tolist() == [[True, False, False]]
    assert found.distance().tolist() == [[-32768, 8, 8]]
    assert starts_of(found).tolist() == [[-32768, 8, 8]]


def test_distance_runs_from_the_smaller_filter_to_the_larger() -> None:
    active = np.zeros((1, 3, 9), dtype=bool)
    active[0, 0, 2] = active[0, 1, 7] = active[0, 2, 0] = True
    found = check(np.ones((1, 9, 9), np.float32), active, pool=6)
    assert found.distance().tolist() == [[30, -12, -42]]
    assert starts_of(found).tolist() == [[12, 12, 42]]


def test_the_longest_sequence_fits_the_numbers() -> None:
    scores = SiteScores(
        counts=np.array([[2, 2]], np.int32),
        site=np.array([[0, 32_766, 1, 1], [1, 0, 1, 0]], np.int16),
        strength=np.ones(2, np.float32),
        place=np.array([0, 32_766], np.int16),
        value=np.ones(1, np.float32),
    )
    found = whole(scores, Units.motifs(2))
    assert (found.distance().item(), starts_of(found).item()) == (-32_766, 32_766)


def test_ties_go_to_the_first_entry_in_row_major_order() -> None:
    active = np.zeros((1, 2, 8), dtype=bool)
    active[0, 0, [3, 6]] = True
    active[0, 1, [0, 5, 6]] = True
    assert check(np.zeros((1, 8, 8), np.float32), active).distance().item() == -4 * 3
    minus = np.zeros((1, 8, 8), np.float32)
    minus[0, 3, 0] = minus[0, 0, 3] = -0.0  # equal to zero, so still the first
    assert check(minus, active).distance().item() == -4 * 3


def test_extreme_values_are_kept_exactly() -> None:
    tiny = np.finfo(np.float32).tiny
    for number in (-np.finfo(np.float32).max, np.finfo(np.float32).max, -tiny, tiny, tiny / 4, -tiny / 4):
        active = np.ones((1, 2, 2), dtype=bool)
        check(np.full((1, 2, 2), number, np.float32), active)


def test_no_active_bin_at_all() -> None:
    found = check(np.zeros((2, 4, 4), np.float32), np.zeros((2, 3, 4), dtype=bool))
    assert np.isnan(found.score).all()
    assert found.distance().tolist() == [[MISSING_DISTANCE] * 3] * 2


def test_more_sites_than_can_be_told_apart_are_refused() -> None:
    def sites(number: int) -> SiteScores:
        site = np.zeros((number, 4), np.int16)
        site[1:, 0] = 1
        site[0, 3] = 1
        return SiteScores(
            counts=np.array([[number, 2]], np.int32),
            site=site,
            strength=np.ones(number, np.float32),
            place=np.array([0, 8], np.int16),
            value=np.full(1, 0.5, np.float32),
        )

    found = whole(sites(2**16), Units.motifs(2))
    assert (found.score.item(), found.distance().item()) == (0.5, 0)
    with pytest.raises(SatoriError, match="a sequence has 65,537 sites, pairs of at most 65,536"):
        whole(sites(2**16 + 1), Units.motifs(2))


# Values of either sign, some of them no pair, several filters in a place, both directions: as methods that mutate give.


def random_sites(rng: np.random.Generator, *, batch: int, most: int, filters: int) -> np.ndarray:
    """bool (B,F,M): the filters of each site; the last sites of a sequence are not there."""
    members = np.zeros((batch, filters, most), dtype=bool)
    for b in range(batch):
        number = int(rng.integers(most + 1))
        members[b, :, :number] = rng.random((filters, number)) < 0.4
        members[b, rng.integers(filters, size=number), np.arange(number)] = True
    return members


def places_of(members: np.ndarray, *, step: int) -> list[tuple[int, set[int]]]:
    return [
        (step * site, set(np.flatnonzero(members[:, site]).tolist()))
        for site in range(members.shape[1])
        if members[:, site].any()
    ]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(2, 7),
    filters=st.integers(2, 6),
    combine=st.sampled_from(["largest", "sum"]),
    directed=st.booleans(),
    levels=st.sampled_from([0, 2]),
)
def test_equal_the_loops(seed: int, most: int, filters: int, combine: str, directed: bool, levels: int) -> None:
    """Undirected values keep their sign; of directed ones the larger size counts."""
    rng = np.random.default_rng(seed)
    members = random_sites(rng, batch=3, most=most, filters=filters)
    value = rng.standard_normal((3, most, most)).astype(np.float32)
    if levels:
        value = (np.round(value * levels) / levels).astype(np.float32)
    value[rng.random(value.shape) < 0.1] = np.nan
    extra = rng.standard_normal(value.shape).astype(np.float32)
    single = rng.standard_normal((3, most)).astype(np.float32)
    if directed:
        value = np.where(np.isnan(value.transpose(0, 2, 1)), np.nan, value)  # no pair is none in both directions
        seen = np.maximum(np.abs(value), np.abs(value.transpose(0, 2, 1)))
        seen_extra = np.maximum(np.abs(extra), np.abs(extra.transpose(0, 2, 1)))
    else:
        value, extra = symmetric(value), symmetric(extra)
        seen, seen_extra = value, extra
    units = Units.motifs(filters, combine)
    scores = of_matrices(value, members, pool=5, directed=directed, effects=single, extra=extra)
    found = whole(scores, units, choose=LARGEST_SIZE, directed=directed)
    distance, between, (first, second) = found.distance(), found.between("extra"), found.effects("single")
    for b in range(3):
        score, apart, start, which = sites_oracle.pair_scores(
            seen[b], places_of(members[b], step=5), filters=filters, max_distance=0, combine=combine
        )
        np.testing.assert_allclose(found.score[b], score, rtol=0 if combine == "largest" else 1e-6, atol=1e-6)
        np.testing.assert_array_equal(distance[b], apart)
        np.testing.assert_array_equal(starts_of(found)[b], start)

        def at(maps: np.ndarray, which: list[tuple[int, int] | None] = which) -> np.ndarray:
            return np.array([np.nan if entry is None else maps[entry] for entry in which], np.float32)

        np.testing.assert_array_equal(between[b], at(seen_extra[b]))
        np.testing.assert_array_equal(first[b], at(np.broadcast_to(single[b][:, None], (most, most))))
        np.testing.assert_array_equal(second[b], at(np.broadcast_to(single[b], (most, most))))
    assert (found.score.dtype, between.dtype, first.dtype) == (np.float32,) * 3


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), most=st.integers(2, 7), filters=st.integers(2, 6))
def test_first_is_the_pair_that_a_loop_over_the_sites_meets_first(seed: int, most: int, filters: int) -> None:
    """In the direction from the earlier site to the later, whatever its size."""
    rng = np.random.default_rng(seed)
    members = random_sites(rng, batch=2, most=most, filters=filters)
    value = rng.standard_normal((2, most, most)).astype(np.float32)
    gone = rng.random(value.shape) < 0.2
    value[gone | gone.transpose(0, 2, 1)] = np.nan
    found = whole(of_matrices(value, members, directed=True), Units.motifs(filters), choose=FIRST, directed=True)
    distance = found.distance()
    for b in range(2):
        pair = 0
        for f in range(filters):
            for g in range(f + 1, filters):
                met = [
                    (i, u, f_is_source)
                    for i in range(most)
                    for u in range(i + 1, most)
                    for f_is_source in (True, False)
                    if members[b, f if f_is_source else g, i]
                    and members[b, g if f_is_source else f, u]
                    and not np.isnan(value[b, i, u])
                ]
                if met:
                    i, u, f_is_source = met[0]
                    assert found.score[b, pair] == abs(value[b, i, u])
                    assert distance[b, pair] == (u - i if f_is_source else i - u)
                else:
                    assert np.isnan(found.score[b, pair])
                    assert distance[b, pair] == MISSING_DISTANCE
                pair += 1


def two_sites(value: float) -> SiteScores:
    """Motif 1 at 10 bp and motif 0 at 40 bp."""
    return SiteScores(
        counts=np.array([[2, 2]], np.int32),
        site=np.array([[0, 40, 1, 1], [1, 10, 1, 0]], np.int16),
        strength=np.ones(2, np.float32),
        place=np.array([10, 40], np.int16),
        value=np.array([value], np.float32),
    )


def test_the_sign_is_kept_and_distance_runs_from_the_smaller_unit() -> None:
    found = whole(two_sites(-3.0), Units.motifs(2), choose=LARGEST_SIZE)
    assert (found.score.item(), found.distance().item(), starts_of(found).item()) == (-3.0, -30, 40)


def test_two_filters_of_one_site_are_no_pair() -> None:
    scores = of_matrices(np.ones((1, 1, 1), np.float32), np.ones((1, 2, 1), dtype=bool))
    for combine in ("largest", "sum"):
        assert np.isnan(whole(scores, Units.motifs(2, combine), choose=LARGEST_SIZE).score).all()


@pytest.mark.parametrize("combine", ["largest", "sum"])
def test_values_that_are_no_pair_are_never_chosen(combine: str) -> None:
    found = whole(two_sites(np.nan), Units.motifs(2, combine), choose=LARGEST)
    assert np.isnan(found.score).all()
    assert found.first.tolist() == found.second.tolist() == [[NONE]]


# Motifs of one unit are pooled, in any part of the pairs and of the examples.


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    filters=st.integers(2, 8),
    count=st.integers(2, 4),
    combine=st.sampled_from(["largest", "sum"]),
    levels=st.sampled_from([0, 2]),
)
def test_a_unit_has_the_sites_of_all_its_motifs(seed: int, filters: int, count: int, combine: str, levels: int) -> None:
    """As if its motifs were one filter that is active wherever any of them is; motifs of no unit are left out."""
    rng = np.random.default_rng(seed)
    of_motif = rng.integers(NONE, count, filters)
    active = rng.random((3, filters, 6)) < 0.3
    value = rng.standard_normal((3, 6, 6)).astype(np.float32)
    if levels:
        value = (np.round(value * levels) / levels).astype(np.float32)
    value = symmetric(value)
    pooled = np.stack([active[:, of_motif == unit].any(axis=1) for unit in range(count)], axis=1)
    units = Units(tuple(of_motif.tolist()), count, "largest")
    found = whole(of_matrices(value, active), units)
    expected = whole(of_matrices(value, pooled), Units.motifs(count))
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.distance(), expected.distance())
    np.testing.assert_array_equal(starts_of(found), starts_of(expected))
    if combine == "sum":  # two motifs of a unit in one place are two sites
        number = np.stack([active[:, of_motif == unit].sum(axis=1) for unit in range(count)], axis=1).astype(float)
        total = whole(of_matrices(value, active), Units(tuple(of_motif.tolist()), count, combine)).score
        for pair, (one, other) in enumerate(itertools.combinations(range(count), 2)):
            off = value.astype(float) * (1 - np.eye(6))
            slow = np.einsum("bi,biu,bu->b", number[:, one], off, number[:, other])
            there = ~np.isnan(expected.score[:, pair])
            np.testing.assert_array_equal(~np.isnan(total[:, pair]), there)
            np.testing.assert_allclose(total[there, pair], slow[there], rtol=1e-5, atol=1e-6)


def parts_of(found: PairBlock) -> tuple[np.ndarray, ...]:
    return found.score, found.distance(), starts_of(found), found.between("extra"), *found.effects("single")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    directed=st.booleans(),
    choose=st.sampled_from([LARGEST, LARGEST_SIZE, FIRST]),
    combine=st.sampled_from(["largest", "sum"]),
)
def test_any_block_of_pairs_and_examples_is_that_part_of_the_whole(
    seed: int, directed: bool, choose: str, combine: str
) -> None:
    if choose == FIRST:
        directed = True
    rng = np.random.default_rng(seed)
    filters, batch = 6, 5
    value, extra = rng.standard_normal((2, batch, 5, 5)).astype(np.float32)
    value[rng.random(value.shape) < 0.1] = np.nan
    active = rng.random((batch, filters, 5)) < 0.3
    single = rng.standard_normal((batch, 5)).astype(np.float32)
    scores = of_matrices(value, active, directed=directed, effects=single, extra=extra)
    units = Units.motifs(filters, combine)
    partition = Partition(scores, units, choose=choose, directed=directed)
    everything = parts_of(partition.block(0, units.pairs, slice(0, batch)))
    first, last = sorted(rng.choice(units.pairs + 1, 2, replace=False).tolist())
    space = Space(2, last - first)
    for number, part in enumerate(partition.blocks(first, last, rows=2, space=space)):
        assert part.rows == slice(2 * number, min(2 * number + 2, batch))
        for found, expected in zip(parts_of(part), everything, strict=True):
            np.testing.assert_array_equal(found, expected[part.rows, first:last])


def test_threads_side_by_side_give_the_bytes_of_one() -> None:
    rng = np.random.default_rng(6)
    active = rng.random((40, 20, 30)) < 0.2
    value = symmetric(rng.standard_normal((40, 30, 30)).astype(np.float32))
    partition = Partition(of_matrices(value, active), Units.motifs(20), choose=LARGEST, directed=False)

    def lay_out(begin: int) -> tuple[bytes, bytes]:
        found = partition.block(0, 190, slice(begin, begin + 10))
        return found.score.tobytes(), found.distance().tobytes()

    alone = [lay_out(begin) for begin in range(0, 40, 10)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lay_out, [0, 10, 20, 30] * 5)) == alone * 5


def test_the_warm_up_compiles_what_any_partition_runs() -> None:
    """One example, several, both directions, sums, blocks of any size: all of the same types."""
    site_pairs.warm_up()
    active = np.random.default_rng(7).random((5, 4, 6)) < 0.5
    for directed in (False, True):
        for combine in ("largest", "sum"):
            for rows in (1, 5):
                scores = of_matrices(np.ones((rows, 6, 6), np.float32), active[:rows], directed=directed)
                whole(scores, Units.motifs(4, combine), directed=directed)
    assert len(site_pairs.compiled().signatures) == 1  # type: ignore[attr-defined]


def test_first_calls_may_come_from_several_threads() -> None:
    """The compilation of the kernel is the trap: a new process whose first calls come together."""
    code = """
import numpy as np, threading
from concurrent.futures import ThreadPoolExecutor
from satori_hpc.interactions import site_pairs
from satori_hpc.interactions.site_pairs import Partition, Units
from satori_hpc.scoring.site_scores import SiteScores
start = threading.Barrier(4)
def call(_):
    scores = SiteScores(
        np.array([[2, 2]], "i4"), np.array([[0, 0, 1, 0], [1, 4, 1, 1]], "i2"), np.ones(2, "f4"),
        np.array([0, 4], "i2"), np.ones(1, "f4"),
    )
    partition = Partition(scores, Units.motifs(2), choose="largest", directed=False)
    start.wait()
    block = partition.block(0, 1, slice(0, 1))
    return block.score.item(), block.distance().item(), block.first.item()
with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(call, range(4))) == {(1.0, 4, 0)}
assert len(site_pairs.compiled().signatures) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# From a store: partition after partition, any pairs.


def test_a_store_is_read_back_by_blocks_of_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    sides = sample(rng, 10, 9), sample(rng, 4, 9)
    store = make_store(tmp_path / "a.zarr", *sides, filters=9, shard_examples=3)
    units = Units.motifs(9)
    first, second = pairs.filters_of(9)
    for group, expected in zip(("foreground", "background"), sides, strict=True):
        assert len(store.partitions(group)) > 1
        row = np.arange(len(expected))[:, None]
        apart = STEP * (second.astype(int) - first) * np.where(row % 2 == 0, 1, -1)
        apart = np.where(np.isnan(expected), MISSING_DISTANCE, apart)
        for begin in range(0, units.pairs, 10):
            end = min(begin + 10, units.pairs)
            score, distance = block.read_scores(store, units, group, begin, end)
            np.testing.assert_array_equal(score, expected[:, begin:end])
            np.testing.assert_array_equal(distance, apart[:, begin:end])
        observed = expected[~np.isnan(expected)]
        np.testing.assert_array_equal(block.sample(store, units, group), observed)


def test_a_sample_of_scores_is_thinned_evenly_and_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(9)
    sides = sample(rng, 40, 9), sample(rng, 4, 9)
    store = make_store(tmp_path / "a.zarr", *sides, filters=9, shard_examples=16)
    units = Units.motifs(9)
    monkeypatch.setattr(block, "SAMPLE_SCORES", 100)
    found = block.sample(store, units, "foreground")
    assert 50 < len(found) < 400
    assert np.isin(found, sides[0]).all()
    np.testing.assert_array_equal(found, block.sample(store, units, "foreground"))


def test_a_damaged_shard_is_an_error_of_the_reader(tmp_path: Path) -> None:
    values = sample(np.random.default_rng(9), 10, 9)
    store = make_store(tmp_path / "a.zarr", values, values, filters=9, shard_examples=3)
    path = store.shard_path("foreground", "value", 1)
    whole_ = path.read_bytes()
    path.write_bytes(whole_[:20] + bytes([whole_[20] ^ 1]) + whole_[21:])
    with pytest.raises(ArtefactError, match=r"foreground/value/c/1/0: this shard is damaged"):
        block.read_scores(store, Units.motifs(9), "foreground", 0, 8)
