"""Pairs of TFs: sites of all motifs of a TF are one before any test, and the published calls stand beside."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.interactions import named as interactions_named
from satori_hpc.interactions import site_pairs, tables
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.named import Named
from satori_hpc.interactions.site_pairs import NONE, Partition, Units
from satori_hpc.parallel.world import Runtime
from satori_hpc.scoring.site_scores import LARGEST, SiteScores
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures.scores import make_store, of_pairs, sample
from tests.oracles import units as oracle

NAN = np.float32(np.nan)


def names(monkeypatch: pytest.MonkeyPatch, *tf: str, level: str = "tf") -> Named:
    """Of motifs that match these TFs, "" = none."""
    table = pd.DataFrame({"filter": np.arange(len(tf)), "tf": tf, "q": 0.01, "named": np.array(tf) != ""})
    monkeypatch.setattr(interactions_named.motif_store, "read_tf", lambda folder: table)
    store = cast(ScoreStore, SimpleNamespace(motifs=len(tf)))
    return interactions_named.names_of(Path("motifs"), store, level=level)


def reduce_both(store: ScoreStore, named: Named, **more: object) -> tuple[dict, dict]:
    """Columns of filter pairs, with names, and of TF pairs; published."""
    made = Reduce(**more)  # type: ignore[arg-type]

    def found(units: Units, folder: str) -> dict[str, np.ndarray]:
        place = store.path.with_name(folder)
        return interactions_stage.reduce_store(
            store, place, settings=made, runtime=Runtime(threads=1), units=units
        ).columns

    by_filter = named.join(found(Units.motifs(store.motifs), "filters"))
    for name in ("p", "q", "neg_log10_p", "auc"):
        by_filter[f"published_{name}"] = by_filter[name]
    return by_filter, found(named.units("largest"), "tfs")


def tf_table(by_tf: dict, named: Named, by_filter: dict, *, alpha: float = 0.05) -> pd.DataFrame:
    return pd.DataFrame(interactions_stage._tf_table(by_tf, named, by_filter, alpha=alpha))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    combine=st.sampled_from(["largest", "sum"]),
    levels=st.sampled_from([2, 1000]),
    missing=st.sampled_from([0.0, 0.5]),
    widths=st.sampled_from([(), (4, 5, 6, 7, 12, 13, 20)]),
    max_distance=st.sampled_from([0, 9]),
)
def test_sites_of_a_units_motifs_are_pooled_in_every_example(
    seed: int, combine: str, levels: int, missing: float, widths: tuple[int, ...], max_distance: int
) -> None:
    """Of overlapping sites the strongest counts, where they compete, and sites too far apart are no pair."""
    rng = np.random.default_rng(seed)
    motifs, units, examples = 7, 4, 5
    unit = [*rng.permutation(units), *rng.integers(-1, units, motifs - units)]
    parts = []
    for _ in range(examples):
        places = int(rng.integers(0, 6))
        there = rng.random((motifs, places)) < 0.4  # several sites of a motif, several motifs in a place
        motif, place = np.nonzero(there)
        value = (np.round(rng.standard_normal(places * (places - 1) // 2) * levels) / levels).astype(np.float32)
        value[rng.random(len(value)) < missing] = NAN
        site = np.stack([motif, 5 * place, np.ones_like(motif), place], axis=1).astype(np.int16)
        starts = (5 * np.arange(places)).astype(np.int16)
        counts = np.array([[len(site), places]], np.int32)
        strength = rng.integers(1, 4, len(site)).astype(np.float32)
        parts.append(SiteScores(counts, site, strength, starts, value))
    scores = SiteScores.join(parts)
    of_unit = Units(tuple(int(u) for u in unit), units, combine, widths)
    made = Partition(scores, of_unit, choose=LARGEST, directed=False, max_distance=max_distance)
    block = made.block(0, pairs.count(units), slice(0, examples))
    limits = {"widths": list(widths) or None, "max_distance": max_distance}
    expected = oracle.pooled(scores, [int(u) for u in unit], units, combine=combine, **limits)
    np.testing.assert_allclose(block.score, expected, rtol=1e-6, atol=1e-6)
    # The two sites that speak for a pair are of its units, in two places, and their value is the largest.
    first, second = pairs.filters_of(units)
    for row, column in zip(*np.nonzero(~np.isnan(block.score)), strict=True):
        one, other = scores.site[block.first[row, column]], scores.site[block.second[row, column]]
        assert (unit[one[0]], unit[other[0]]) == (first[column], second[column])
        assert block.distance()[row, column] == other[1] - one[1] != 0


def test_names_that_are_compared_as_one_are_one_tf(monkeypatch: pytest.MonkeyPatch) -> None:
    named = names(
        monkeypatch,
        *("JUN", "Jun", "ZBTB33.H12CORE.0.P.B", "ZBTB33.H12CORE.1.SM.B", "MA0527.2.ZBTB33", "Zbtb33"),
        *("RORA", "RORA(var.2)", "FOS::JUN", ""),
    )
    assert named.tfs == ("FOS::JUN", "JUN", "MA0527.2.ZBTB33", "RORA")
    assert named.unit.tolist() == [1, 1, 2, 2, 2, 2, 3, 3, 0, NONE]
    assert named.units("sum") == Units((1, 1, 2, 2, 2, 2, 3, 3, 0, NONE), 4, "sum")


def test_families_stand_in_place_of_tfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As JASPAR has them; a TF that it does not know, or whose family only counts zinc fingers, is one of its own."""
    table = ("GATA1", "Gata4", "CTCF", "REST", "GATA1::TAL1", "unheard", "")
    named = names(monkeypatch, *table, level="family")
    assert named.tfs == ("C4-GATA-related", "C4-GATA-related::Tal-related", "CTCF", "REST", "unheard")
    assert named.unit.tolist() == [0, 0, 2, 3, 1, 4, NONE]
    assert names(monkeypatch, *table).tfs == ("CTCF", "GATA1", "GATA1::TAL1", "Gata4", "REST", "unheard")


def test_a_tf_pair_is_one_test_of_its_pooled_sites_and_tf_pairs_are_the_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    foreground, background = sample(rng, 140, 9, present=0.4), sample(rng, 90, 9, present=0.4)
    foreground += np.float32(0.1)
    store = make_store(tmp_path / "s.zarr", foreground, background, filters=9)
    named = names(monkeypatch, "B", "A", "B", "", "C", "A", "D", "D", "D")
    by_filter, by_tf = reduce_both(store, named)
    found = tf_table(by_tf, named, by_filter)
    assert sorted(zip(found["tf_a"], found["tf_b"], strict=True)) == [
        *(("A", "B"), ("A", "C"), ("A", "D"), ("B", "C"), ("B", "D"), ("C", "D"))
    ]
    filters = {tf: [number for number, name in enumerate("BAB-CADDD") if name == tf] for tf in "ABCD"}
    p = []
    for row in found.itertuples():
        members = [
            int(pairs.index(min(f, g), max(f, g), filters=9)) for f in filters[row.tf_a] for g in filters[row.tf_b]
        ]
        # Largest per example before the test, so no example counts twice.
        x, y = (np.fmax.reduce(side[:, members], axis=1).astype(np.float64) for side in (foreground, background))
        x, y = x[~np.isnan(x)], y[~np.isnan(y)]
        assert (row.n_fg, row.n_bg) == (len(x), len(y))
        expected = stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")
        assert row.statistic == expected.statistic
        assert row.p == pytest.approx(expected.pvalue, rel=1e-12)
        assert row.effect == np.median(x) - np.median(y)
        p.append(expected.pvalue)
        mine = [number for number, pair in enumerate(pairs_of(by_filter)) if pair in members]
        q = by_filter["published_q"][mine]
        assert row.filter_pairs == by_filter["tested"][mine].sum() == len(members)
        assert row.called_filter_pairs == by_filter["called"][mine].sum()
        assert row.published_q == np.nanmin(q)
        assert row.published_called == bool((q <= 0.05).any())
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(p), rtol=1e-12)
    np.testing.assert_array_equal(found["called"], found["q"] <= 0.05)
    assert found["q"].is_monotonic_increasing
    assert found["published_called"].sum() > 0


def pairs_of(columns: dict[str, np.ndarray]) -> list[int]:
    first, second = (columns[f"filter_{side}"].astype(np.int64) for side in "ab")
    return [int(number) for number in pairs.index(first, second, filters=9)]


def test_the_published_calls_of_tf_pairs_are_those_of_their_best_filter_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    named = names(monkeypatch, "B", "A", "C", "A", "")
    by_filter = {
        "filter_a": np.array([0, 0, 1, 1, 0, 2], np.int32),  # B-A, B-A, A-C, A-A, B-none, C-A
        "filter_b": np.array([1, 3, 2, 3, 4, 3], np.int32),
        "tested": np.array([True, True, True, True, True, False]),
        "called": np.array([False, True, True, True, True, False]),
        "published_q": np.array([0.2, 0.01, 0.4, 1e-9, 1e-9, np.nan]),
    }
    by_tf = {
        "unit_a": np.array([0, 0, 1]),
        "unit_b": np.array([2, 1, 2]),
        "tested": np.array([True, True, False]),
        "q": np.array([0.001, 0.5, np.nan]),
    }
    found = tf_table(by_tf, named, by_filter)
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("A", "C"), ("A", "B")]  # what is not tested is out
    assert found["published_q"].tolist() == [0.4, 0.01]
    assert found["published_called"].tolist() == [False, True]
    assert found["filter_pairs"].tolist() == [1, 2]
    assert found["called_filter_pairs"].tolist() == [1, 1]
    by_filter["published_q"] = np.full(6, np.nan)
    found = tf_table(by_tf, named, by_filter)
    assert found["published_q"].isna().all()
    assert not found["published_called"].any()


def test_many_filter_pairs_of_nothing_are_not_called_when_pooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    store = make_store(tmp_path / "s.zarr", sample(rng, 150, 36), sample(rng, 150, 36), filters=36)
    named = names(monkeypatch, *(f"T{number % 9}" for number in range(36)))
    by_filter, by_tf = reduce_both(store, named)
    by_filter["published_q"], by_filter["called"] = by_filter["p"], by_filter["p"] <= 0.05
    found = tf_table(by_tf, named, by_filter)
    assert len(found) == 36
    assert (found["filter_pairs"] == 16).all()
    assert found["called"].sum() <= 1
    assert (found["called_filter_pairs"] > 0).sum() > 10
    assert found["published_called"].sum() > 10


@pytest.mark.parametrize("tf", [[""] * 5, ["A"] * 5])
def test_no_two_names_give_an_empty_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tf: list[str]) -> None:
    rng = np.random.default_rng(3)
    store = make_store(tmp_path / "s.zarr", sample(rng, 20, 5), sample(rng, 20, 5), filters=5)
    named = names(monkeypatch, *tf)
    by_filter, by_tf = reduce_both(store, named)
    found = interactions_stage._tf_table(by_tf, named, by_filter, alpha=0.05)
    assert {len(found[name]) for name in tables.TF_COLUMNS} == {0}
    assert found["called"].dtype == found["published_called"].dtype == bool
    tables.write_tf(tmp_path / "attention", found)
    assert tables.read_tf(tmp_path / "attention").empty


def test_of_one_motif_per_tf_the_tf_table_is_that_of_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    store = make_store(tmp_path / "s.zarr", sample(rng, 90, 6), sample(rng, 90, 6), filters=6)
    np.testing.assert_array_equal(np.isnan(of_pairs(store)).sum() > 0, True)
    named = names(monkeypatch, *"ABCDEF")
    by_filter, by_tf = reduce_both(store, named)
    found = tf_table(by_tf, named, by_filter)
    for name in ("n_fg", "n_bg", "p", "q", "auc", "median_distance"):
        np.testing.assert_array_equal(found[name], by_filter[name][by_filter["tested"]])


def test_the_loop_is_compiled_before_the_tasks_and_not_by_them(tmp_path: Path) -> None:
    """Whatever is read from a store has the types of the warm-up: each worker would compile for half a minute."""
    rng = np.random.default_rng(5)
    site_pairs.warm_up()
    known = len(site_pairs.compiled().signatures)  # type: ignore[attr-defined]
    rows = (sample(rng, number, 5) for number in (65, 64))  # 65: a partition of one example
    of_pairs(make_store(tmp_path / "s.zarr", *rows, filters=5))
    assert len(site_pairs.compiled().signatures) == known  # type: ignore[attr-defined]


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_a_warning_is_given_where_most_tested_pairs_look_true(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shift: float
) -> None:
    rng = np.random.default_rng(4)
    foreground, background = sample(rng, 140, 9, present=0.6), sample(rng, 90, 9, present=0.6)
    store = make_store(tmp_path / "s.zarr", foreground + np.float32(shift), background, filters=9)
    found = interactions_stage.reduce_store(
        store, tmp_path / "parts", settings=Reduce(), runtime=Runtime(threads=1), units=Units.motifs(9)
    )
    interactions_stage._warn_of_many(store, found)
    assert (found.told["share_true"] > 0.9) == (shift > 0)
    said = "of the 36 tested pairs look true to the test published (share of the null 0 %)"
    assert (said in caplog.text) == (shift > 0)
