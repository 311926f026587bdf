"""reduce: the statistics on stores with known content, in bounded memory, on threads and processes, killed or not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.errors import ArtefactError
from satori_hpc.interactions import block as interactions_block
from satori_hpc.interactions import named as interactions_named
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.columns import Columns
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.statistics import mann_whitney, registry
from satori_hpc.parallel.world import Runtime
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures.scores import make_store, sample

NAN = np.float32(np.nan)


def reduce_all(store: ScoreStore, *, threads: int = 1, **settings: Any) -> interactions_stage.Reduced:
    """The published test of every pair of filters, each number of threads in parts of its own."""
    folder = store.path.with_suffix(f".{threads}.parts")
    return interactions_stage.reduce_store(store, folder, settings=Reduce(**settings), runtime=Runtime(threads=threads))


def reduced(store: ScoreStore, *, threads: int = 1, **settings: Any) -> pd.DataFrame:
    """Its columns, in pair order."""
    table = pd.DataFrame(reduce_all(store, threads=threads, **settings).columns)
    return table.set_index(["unit_a", "unit_b"]).sort_index()


def test_every_column_equals_a_loop_over_scipy(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    foreground, background = sample(rng, 150, 9), sample(rng, 70, 9)
    foreground[:, 3] = np.round(foreground[:, 3], 1)  # ties
    background[:, 3] = np.round(background[:, 3], 1)
    foreground[:, 5] = NAN  # never observed in the foreground
    foreground[9:, 6] = NAN  # too rarely
    foreground[:, 7] *= np.float32(0.1)  # below the cut-off
    foreground[:, 8] = background[:, 8] = NAN
    apart = rng.integers(0, 500, foreground.shape)
    store = make_store(tmp_path / "s.zarr", foreground, background, filters=9, apart=apart)
    cutoff = float(np.nanmean(foreground.astype(np.float64)))
    assert reduce_all(store).cutoff == pytest.approx(cutoff, rel=1e-12)
    table = reduced(store)
    first, second = pairs.filters_of(9)
    assert len(table) == 35  # the pair that was never observed has no row
    assert (first[8], second[8]) not in table.index
    expected_p = {}
    for pair in range(36):
        x, y = (side[~np.isnan(side[:, pair]), pair].astype(np.float64) for side in (foreground, background))
        if pair == 8:
            continue
        row = table.loc[(first[pair], second[pair])]
        assert (row.n_fg, row.n_bg) == (len(x), len(y))
        assert bool(row.tested) == (len(x) >= 10 and len(y) >= 10 and x.max() >= cutoff)
        if len(x):
            assert row.median_fg == np.median(x)
            assert row.median_distance == np.median(apart[~np.isnan(foreground[:, pair]), pair])
        if row.tested:
            test = stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")
            assert row.statistic == test.statistic
            assert row.auc == pytest.approx(test.statistic / (len(x) * len(y)), rel=1e-12)
            assert row.p == pytest.approx(test.pvalue, rel=1e-12)
            assert row.neg_log10_p == pytest.approx(-np.log10(test.pvalue), rel=1e-10)
            assert row.effect == np.median(x) - np.median(y)
            expected_p[first[pair], second[pair]] = test.pvalue
        else:
            assert row[["statistic", "auc", "effect", "p", "neg_log10_p", "q"]].isna().all()
            assert not row.called
    assert 30 <= len(expected_p) <= 33
    q = stats.false_discovery_control(list(expected_p.values()))
    np.testing.assert_allclose(table.loc[list(expected_p)]["q"], q, rtol=1e-12)


def test_permuted_labels_call_nothing_and_a_planted_difference_is_called(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    foreground, background = sample(rng, 300, 20), sample(rng, 300, 20)
    null = reduced(make_store(tmp_path / "null.zarr", foreground, background, filters=20))
    assert null["tested"].all()
    assert null["called"].sum() <= 1
    planted = pairs.index(np.array([0, 5]), np.array([7, 6]), filters=20)
    foreground[:, planted] += np.float32(0.3)
    table = reduced(make_store(tmp_path / "planted.zarr", foreground, background, filters=20))
    assert table.loc[[(0, 7), (5, 6)], "called"].all()
    assert table["called"].sum() <= 4
    swapped = reduced(make_store(tmp_path / "swapped.zarr", background, foreground, filters=20))
    assert (swapped.loc[[(0, 7), (5, 6)], "p"] > 0.999).all()


def test_threads_and_blocks_do_not_change_a_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    store = make_store(tmp_path / "s.zarr", sample(rng, 100, 12), sample(rng, 90, 12), filters=12)
    pd.testing.assert_frame_equal(reduced(store, threads=1), reduced(store, threads=4), check_exact=True)


def test_rows_are_sorted_by_q_then_p_then_auc(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    foreground = sample(rng, 60, 8)
    foreground[5:, 2] = NAN
    store = make_store(tmp_path / "s.zarr", foreground, sample(rng, 60, 8), filters=8)
    columns = reduce_all(store, cutoff="0.0").columns
    order = list(
        zip(*(columns[name][:-1] * sign for name, sign in (("q", 1), ("neg_log10_p", -1), ("auc", -1))), strict=True)
    )
    assert order == sorted(order)
    assert np.isnan(columns["q"][-1])  # the untested one is last


def test_the_cutoff_gates_pairs_or_drops_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    foreground, background = sample(rng, 200, 4), sample(rng, 200, 4)
    foreground[:, 0] *= np.float32(0.5)
    store = make_store(tmp_path / "s.zarr", foreground, background, filters=4)
    by_pair = reduced(store, cutoff="0.6")
    assert by_pair["tested"].tolist() == [False, True, True, True, True, True]
    by_value = reduced(store, cutoff="0.6", cutoff_rule="value")
    with np.errstate(invalid="ignore"):
        kept = [side >= np.float32(0.6) for side in (foreground, background)]
    assert by_value["n_bg"].tolist() == kept[1].sum(axis=0).tolist()
    assert by_value["n_fg"].tolist() == kept[0].sum(axis=0)[1:].tolist() or by_value["n_fg"].tolist()[0] == 0
    x, y = (side[keep[:, 3], 3].astype(np.float64) for side, keep in zip((foreground, background), kept, strict=True))
    expected = stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")
    assert by_value["p"].iloc[3] == pytest.approx(expected.pvalue, rel=1e-12)


def test_rare_pairs_are_not_tested_except_in_legacy(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    foreground, background = sample(rng, 60, 4, present=1), sample(rng, 40, 4, present=1)
    background[1:, 0] = NAN  # one background value: SATORI 1 compares with zeros
    background[:, 1] = NAN  # none
    foreground[1:, 2] = NAN  # one foreground value
    background[2:, 3] = NAN  # two: compared as they are
    store = make_store(tmp_path / "s.zarr", foreground, background, filters=4)
    assert reduced(store, cutoff="0.0")["tested"].tolist() == [False, False, False, False, True, True]
    legacy = reduced(store, cutoff="0.0", legacy=True)
    assert legacy["tested"].tolist() == [True, True, False, True, True, True]
    zeros = stats.mannwhitneyu(foreground[:, 0].astype(float), np.zeros(60), alternative="greater", method="asymptotic")
    assert legacy["p"].iloc[0] == pytest.approx(zeros.pvalue, rel=1e-12)
    assert legacy["n_bg"].tolist()[:4] == [1, 0, 40, 2]
    np.testing.assert_array_equal(legacy["median_bg"].iloc[:2], np.nan)
    two = stats.mannwhitneyu(
        foreground[:, 3].astype(float), background[:2, 3].astype(float), alternative="greater", method="asymptotic"
    )
    assert legacy["p"].iloc[3] == pytest.approx(two.pvalue, rel=1e-12)


def test_more_equal_values_in_one_column_than_a_cube_in_64_bits_can_hold(tmp_path: Path) -> None:
    foreground = np.zeros((2_200_000, 1), np.float32)
    foreground[:200] = 1
    background = np.zeros((2_150_000, 1), np.float32)
    background[:50] = 1
    store = make_store(tmp_path / "s.zarr", foreground, background, filters=2, shard_examples=2**18)
    row = reduced(store, cutoff="0.5").iloc[0]
    expected = stats.mannwhitneyu(
        foreground[:, 0].astype(float), background[:, 0].astype(float), alternative="greater", method="asymptotic"
    )
    assert row.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert row.statistic == expected.statistic
    assert (row.n_fg, row.n_bg) == (2_200_000, 2_150_000)


def dependent(rng: np.random.Generator, rows: int, filters: int) -> np.ndarray:
    """Scores as networks give them: an example's are high or low together, many are equal, many missing."""
    scores = sample(rng, rows, filters)
    level = rng.gamma(2.0, 0.5, (rows, 1)).astype(np.float32)
    scores = np.minimum(np.round(scores * level, 2), np.float32(1.2))
    scores[rng.random(rows) < 0.1] = NAN
    return scores


def test_labels_permuted_call_nothing(tmp_path: Path) -> None:
    calls = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pool = dependent(rng, 500, 20)
        order = rng.permutation(500)
        table = reduced(make_store(tmp_path / f"{seed}.zarr", pool[order[:260]], pool[order[260:]], filters=20))
        assert table["tested"].all()
        calls.append(int(table["called"].sum()))
    assert sum(calls) <= 2, calls


@pytest.mark.parametrize("width", [5, 64, 300])
def test_little_memory_means_more_runs_over_the_columns_and_the_same_numbers(
    tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    store = make_store(tmp_path / "s.zarr", sample(rng, 150, 12), sample(rng, 90, 12), filters=12)
    rules = registry.rules_of(
        store, Reduce(cutoff="0.4", cutoff_rule="value"), registry.PUBLISHED, Units.motifs(store.motifs)
    )
    monkeypatch.setattr(interactions_block, "LEAST_WIDTH", width)
    assert interactions_block.blocks(store, rules)[0] == (0, min(width, 66))
    least, most = interactions_block.memory_range(store, rules)
    widths: list[int] = []
    honest = mann_whitney.compare

    def compare(columns: Columns, **more: Any) -> mann_whitney.RankTest:
        widths.append(columns.width)
        return honest(columns, **more)

    monkeypatch.setattr(mann_whitney, "compare", compare)
    for block, (first, last) in enumerate(interactions_block.blocks(store, rules)):
        found, runs = [], []
        for memory in (least, (least + most) // 2, most, 10 * most):
            widths.clear()
            found.append(interactions_block.test_block(store, block, rules=rules, memory=memory, rows={}))
            runs.append(len(widths))
        assert runs[0] > 1 or last - first <= 16, runs
        assert runs[2:] == [1, 1]
        for other in found[1:]:
            for name, column in found[0].items():
                np.testing.assert_array_equal(column, other[name])
    interactions_block.release()


def test_nothing_tested_is_an_empty_family_not_a_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    store = make_store(tmp_path / "s.zarr", sample(rng, 30, 4), sample(rng, 30, 4), filters=4)
    table = reduced(store, cutoff="2.0")
    assert not table["tested"].any()
    assert not table["called"].any()
    nothing = np.full((5, 6), NAN)
    empty = make_store(tmp_path / "e.zarr", nothing, nothing, filters=4)
    assert np.isnan(reduce_all(empty).cutoff)
    assert len(reduced(empty)) == 0


def test_names_come_from_the_filters_motifs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = pd.DataFrame(
        {"filter": [0, 2, 3], "tf": ["B", "A", "C"], "q": [0.01, 0.02, 0.9], "named": [True, True, False]}
    )
    monkeypatch.setattr(interactions_named.motif_store, "read_tf", lambda folder: names)

    def named(motifs: int) -> interactions_named.Named:
        return interactions_named.names_of(tmp_path, cast(ScoreStore, SimpleNamespace(motifs=motifs)))

    first, second = pairs.filters_of(4)
    columns = named(4).join({"unit_a": first, "unit_b": second})
    assert columns["tf_a"].tolist() == ["B", "B", "B", "", "", "A"]
    assert columns["tf_b"].tolist() == ["", "A", "", "A", "", ""]
    assert (columns["filter_a"].tolist(), columns["filter_b"].tolist()) == (first.tolist(), second.tolist())
    np.testing.assert_array_equal(columns["motif_q_b"], [np.nan, 0.02, 0.9, 0.02, 0.9, 0.9])
    with pytest.raises(ArtefactError, match="names filter 3"):
        named(3)
