"""reduce within sequences and against permuted letters: what slow loops over scipy say, however the work is cut."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from satori_hpc import pairs
from satori_hpc.config import Config, Dfim, Model, Reduce, Score
from satori_hpc.config.statistics import STATISTICS
from satori_hpc.errors import ArtefactError
from satori_hpc.interactions import block as interactions_block
from satori_hpc.interactions import parts
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.statistics import mann_whitney, registry, signed_rank, within_sequence
from satori_hpc.interactions.statistics.registry import cutoff_of, statistic_of
from satori_hpc.interactions.statistics.signed_rank import Null
from satori_hpc.parallel.world import Runtime
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures.scores import make_directed_store, make_store, sample
from tests.oracles import contrasts as oracle

NAN = np.float32(np.nan)


def reduced(
    store: ScoreStore, statistic: str, *, runtime: Runtime | None = None, folder: str = "parts", **settings: Any
) -> tuple[pd.DataFrame, Null | None]:
    """Columns of the reduction by pair, in pair order, and the empirical null, which is also told in words."""
    fitted: list[Null | None] = [None]
    honest = signed_rank.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signed_rank, "fit", lambda *values: fitted.append(honest(*values)) or fitted[-1])
        found = interactions_stage.reduce_store(
            store,
            store.path.with_name(folder),
            settings=Reduce(**{"max_distance": 0, **settings}),
            runtime=runtime or Runtime(threads=1),
            statistic=statistic,
        )
    null, told = fitted[-1], found.told.get("calibration", "")
    assert null is None or f" {null.centre:.3f} +- {null.scale:.3f} " in told
    return pd.DataFrame(found.columns).set_index(["unit_a", "unit_b"]).sort_index(), null


def words(store: ScoreStore, **settings: Any) -> str:
    """What people are told of the calibration; of the parts that are there."""
    made = Reduce(**{"max_distance": 0, **settings})
    folder = store.path.with_name("parts")
    found = interactions_stage.reduce_store(
        store, folder, settings=made, runtime=Runtime(threads=1), statistic="within-sequence"
    )
    return str(found.told["calibration"])


def uneven(rng: np.random.Generator, rows: int, filters: int) -> np.ndarray:
    """Signed scores with ties; rows with every number of values, none, one and two among them."""
    values = np.round(rng.standard_normal((rows, pairs.count(filters))), 1).astype(np.float32)
    values *= rng.choice([1, 2, 4], (rows, 1)).astype(np.float32)
    values[rng.random(values.shape) > rng.random((rows, 1)) ** 2] = NAN
    return values


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ScoreStore, np.ndarray, np.ndarray]:
    """A store of 36 pairs in blocks of 7, and its scores; those of row r are 4 r bp apart, in either direction."""
    monkeypatch.setattr(interactions_block, "LEAST_WIDTH", 7)
    rng = np.random.default_rng(1)
    foreground, background = uneven(rng, 210, 9), uneven(rng, 90, 9)
    foreground[:, 4] += np.float32(1)
    foreground[:, 5] = NAN  # in the background only
    foreground[8:, 6] = NAN  # too rare
    foreground[:, 8] = background[:, 8] = NAN
    assert (np.isfinite(foreground).sum(axis=1) < 3).sum() > 10
    apart = np.repeat(4 * np.arange(210)[:, None], 36, axis=1)
    return make_store(tmp_path / "s.zarr", foreground, background, filters=9, apart=apart), foreground, background


CUTS = [{}, {"cutoff": "1.5"}, {"cutoff": "-0.4", "cutoff_rule": "value"}, {"max_distance": 600}]


@pytest.mark.parametrize("cut", CUTS)
def test_within_sequence_equals_a_loop_over_scipy(
    signed: tuple[ScoreStore, np.ndarray, np.ndarray], cut: dict[str, Any]
) -> None:
    store, foreground, background = signed
    by_value = "cutoff_rule" in cut
    least = float(cut["cutoff"]) if by_value else -np.inf
    table, null = reduced(store, "within-sequence", calibration="theoretical", **cut)
    assert null is None
    contrasts = oracle.contrasts(foreground, least=least)
    if "max_distance" in cut:  # the scores of row r are 4 r bp apart, in either direction; all served as reference
        near = cut["max_distance"] // 4 + 1
        foreground, background, contrasts = (np.array(side) for side in (foreground, background, contrasts))
        foreground[near:], background[near:], contrasts[near:] = NAN, NAN, NAN
    p, fewer = {}, 0
    first, second = pairs.filters_of(9)
    for pair in range(36):
        with np.errstate(invalid="ignore"):
            x, y = (side[side[:, pair] >= np.float32(least), pair].astype(float) for side in (foreground, background))
        if not len(x) + len(y):
            assert (first[pair], second[pair]) not in table.index
            continue
        row = table.loc[(first[pair], second[pair])]
        used = contrasts[~np.isnan(contrasts[:, pair]), pair].astype(np.float64)
        assert (row.n_fg, row.n_bg) == (len(x), len(y))
        np.testing.assert_equal(
            [row.median_fg, row.median_bg, row.max_fg],
            [np.median(x) if len(x) else np.nan, np.median(y) if len(y) else np.nan, max(x, default=np.nan)],
        )
        floor = float(cut.get("cutoff", "-inf"))
        assert bool(row.tested) == (len(used) >= 10 and x.max() >= floor)
        if not row.tested:
            assert row[["statistic", "auc", "effect", "p", "neg_log10_p", "q"]].isna().all()
            continue
        fewer += len(used) < len(x)  # where a sequence has too few pairs
        test = stats.wilcoxon(used, zero_method="wilcox", alternative="greater", method="asymptotic")
        ranks = stats.rankdata(abs(used[used != 0]))
        plus = ranks[used[used != 0] > 0].sum()
        assert row.statistic == plus
        assert row.auc == pytest.approx(plus / ranks.sum(), rel=1e-12)
        assert row.effect == np.median(used)
        assert row.p == pytest.approx(test.pvalue, rel=1e-12)
        assert row.neg_log10_p == pytest.approx(-np.log10(test.pvalue), rel=1e-9)
        p[first[pair], second[pair]] = test.pvalue
    assert len(p) > 20
    assert fewer > 5
    np.testing.assert_allclose(table.loc[list(p)]["q"], stats.false_discovery_control(list(p.values())), rtol=1e-12)


def test_calibration_is_strict_and_honest_about_small_families(
    signed: tuple[ScoreStore, np.ndarray, np.ndarray],
) -> None:
    store = signed[0]
    plain, _ = reduced(store, "within-sequence", calibration="theoretical")
    held, null = reduced(store, "within-sequence")
    assert held["tested"].sum() >= signed_rank.LEAST_PAIRS
    assert null is not None
    assert (held["p"].dropna() >= plain["p"].dropna()).all()
    assert (held["p"].dropna() > plain["p"].dropna()).any()
    np.testing.assert_allclose(held["neg_log10_p"], -np.log10(held["p"]), rtol=1e-9, atol=1e-12)
    few, none = reduced(store, "within-sequence", min_examples=70)
    assert 0 < few["tested"].sum() < signed_rank.LEAST_PAIRS
    assert none is None
    tested = few["tested"]
    np.testing.assert_array_equal(few["p"][tested], plain["p"][tested])
    assert "fewer than 30 far pairs" in words(store, max_distance=800)
    assert "fewer than 30 tested pairs" in words(store, min_examples=70)
    assert words(store, max_distance=300).startswith("empirical, effects of far pairs")
    assert words(store, calibration="theoretical") == "theoretical"


def test_side_effects_are_told_from_pairs_that_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    filters, rows = 16, 3000
    count = pairs.count(filters)
    true = np.arange(count) % 6 == 0
    effect = np.where(true, 3.0, rng.normal(0, 0.3, count))
    values = (rng.standard_normal((rows, count)) + effect).astype(np.float32)
    values[rng.random(values.shape) > 0.5] = NAN
    values *= rng.gamma(3, 0.5, (rows, 1)).astype(np.float32)
    store = make_store(tmp_path / "s.zarr", values, values[:50], filters=filters)
    plain, _ = reduced(store, "within-sequence", calibration="theoretical")
    held, null = reduced(store, "within-sequence")
    assert plain["called"][~true].sum() >= 10  # half of them are below the others, the true ones raise the medians
    assert held["called"][true].all()
    assert held["called"][~true].sum() <= 2
    assert null is not None
    assert null.scale == pytest.approx(0.3, rel=0.35)


def test_far_pairs_show_side_effects_where_most_close_ones_interact(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    filters, rows = 12, 3000
    count = pairs.count(filters)
    true = np.arange(count) % 3 > 0
    side = rng.normal(0, 0.3, count)
    near = rng.random((rows, count)) < 0.2
    values = rng.standard_normal((rows, count)) + side + np.where(near & true, 2, 0)
    values = np.where(rng.random((rows, count)) < 0.2, values, np.nan).astype(np.float32)
    store = make_store(
        tmp_path / "s.zarr",
        *(values, values[:50]),
        filters=filters,
        apart=np.where(near, 20, 100),
    )
    plain, _ = reduced(store, "within-sequence", calibration="theoretical", max_distance=60)
    held, null = reduced(store, "within-sequence", max_distance=60)
    assert null is not None
    assert null.scale == pytest.approx(0.3, rel=0.35)
    assert -0.3 < null.centre < 0  # the true ones raise the medians
    assert held["called"][true].all()
    assert held["called"][~true].sum() == 0
    assert plain["called"][~true].sum() > 0
    # The tested pairs themselves would take what most of them do for a side effect.
    own = signed_rank.fit(*signed_rank.effects(plain["auc"], plain["auc"] * 0 + 0.01, plain["n_fg"]))
    assert own is not None
    assert own.scale > 1.5 * null.scale


def test_the_null_is_that_of_the_far_contrasts(signed: tuple[ScoreStore, np.ndarray, np.ndarray]) -> None:
    store, foreground, _ = signed
    _, null = reduced(store, "within-sequence", max_distance=300)  # the first 76 rows are tested
    far = signed_rank.wilcoxon(oracle.contrasts(foreground)[76:])
    enough = (far.n >= 10) & (far.nonzero > 0)
    assert null == signed_rank.fit(
        *signed_rank.effects(*(values[enough] for values in (far.auc, far.auc_error, far.nonzero)))
    )
    assert null is not None


@pytest.mark.parametrize("statistic", ["within-sequence", "permuted"])
def test_threads_processes_and_memory_do_not_change_a_bit(tmp_path: Path, statistic: str) -> None:
    rng = np.random.default_rng(3)
    foreground, background, permuted = (uneven(rng, rows, 12) for rows in (800, 90, 800))
    store = make_store(
        tmp_path / "s.zarr",
        foreground,
        background,
        filters=12,
        shard_examples=300,
        method="dfim",
        null=(permuted, background),
    )
    found, _ = reduced(store, statistic, folder="one")
    others = [Runtime(threads=3)] + [Runtime(threads=2, cluster="local")] * (statistic == "within-sequence")
    for number, runtime in enumerate(others):
        other, _ = reduced(store, statistic, runtime=runtime, folder=f"other{number}")
        pd.testing.assert_frame_equal(found, other, check_exact=True)
    rules = registry.rules_of(store, Reduce(max_distance=0), statistic, Units.motifs(12))
    interactions_block.load.cache_clear()
    place = store.path.with_name("small")
    parts.prepare(place, digest="d", rows=[])
    parts.prepare(interactions_block.folder_of(place), digest="d", rows=[])
    for partition in range(3):
        interactions_block.work_examples(str(store.path), str(place), "d", partition, rules)
    rows = interactions_block.load(str(place), "d", tuple(interactions_block.sizes(store, rules)), rules, store)
    low, high = interactions_block.memory_range(store, rules)
    for block in range(len(interactions_block.blocks(store, rules))):
        tight = interactions_block.test_block(store, block, rules=rules, memory=low, rows=rows)
        wide = interactions_block.test_block(store, block, rules=rules, memory=high, rows=rows)
        for name in wide:
            np.testing.assert_array_equal(tight[name], wide[name])
    interactions_block.release()


def test_rows_gathered_in_steps_are_described_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    values = uneven(rng, 130, 9)
    store = make_store(tmp_path / "s.zarr", values, values[:20], filters=9, shard_examples=130)
    rules = registry.rules_of(store, Reduce(), "within-sequence", Units.motifs(9))
    partition = interactions_block.open_partition(store, rules.units, "foreground", 0)
    whole = within_sequence.of_rows(partition, rules)
    monkeypatch.setattr(within_sequence, "LAID_OUT", 7 * 36)
    steps = within_sequence.of_rows(partition, rules)
    assert {len(values) for values in whole.values()} == {130}
    for name, one in whole.items():
        np.testing.assert_array_equal(one, steps[name])


def test_a_reduction_stopped_keeps_rows_and_blocks(
    signed: tuple[ScoreStore, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = signed[0]
    expected, _ = reduced(store, "within-sequence", folder="whole")
    done: list[tuple[str, int]] = []
    honest = parts.write

    def write(folder: Path, block: int, columns: dict[str, np.ndarray], *, digest: str) -> None:
        if len(done) == 6:
            raise KeyboardInterrupt
        honest(folder, block, columns, digest=digest)
        done.append((folder.name, block))

    monkeypatch.setattr(parts, "write", write)
    with pytest.raises(KeyboardInterrupt):
        reduced(store, "within-sequence")
    assert sorted(done[:4]) == [("examples", partition) for partition in range(4)]
    assert {name for name, _ in done[4:]} == {"parts"}
    missing = {("parts", block) for block in range(6)} - set(done[4:])
    done.clear()
    found, _ = reduced(store, "within-sequence")
    assert set(done) == missing
    assert len(done) == 4
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    done.clear()
    shard = store.path.with_name("parts") / "examples" / "block-00002.part"
    shard.write_bytes(shard.read_bytes()[:-5])
    (store.path.with_name("parts") / "block-00001.part").unlink()
    interactions_block.load.cache_clear()
    found, _ = reduced(store, "within-sequence")
    assert done == [("examples", 2), ("parts", 1)]
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_permuted_equals_a_loop_over_scipy(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    foreground, background = sample(rng, 150, 8), sample(rng, 60, 8)
    permuted = (0.3 * rng.gamma(2, 0.5, foreground.shape)).astype(np.float32)
    foreground[:, 3] = NAN
    foreground[5:, 4] = NAN
    permuted[np.isnan(foreground) | (rng.random(foreground.shape) < 0.1)] = NAN
    foreground[3, 7] = 40  # beyond any p-value
    store = make_store(
        tmp_path / "s.zarr", foreground, background, filters=8, method="dfim", null=(permuted, background)
    )
    table, _ = reduced(store, "permuted")
    seen = permuted[~np.isnan(permuted)].astype(np.float64)
    mean, deviation = stats.norm.fit(seen)
    p = {}
    first, second = pairs.filters_of(8)
    for pair in range(28):
        row = table.loc[(first[pair], second[pair])]
        x = foreground[~np.isnan(foreground[:, pair]), pair].astype(np.float64)
        assert bool(row.tested) == (len(x) >= 10)
        if not row.tested:
            assert row[["statistic", "auc", "effect", "p", "neg_log10_p", "q"]].isna().all()
            continue
        each = stats.norm.sf(x, mean, deviation)
        p[first[pair], second[pair]] = mann_whitney.q_values(each).min()
        assert row.p == pytest.approx(mann_whitney.q_values(each).min(), rel=1e-9, abs=1e-300)
        assert row.auc == pytest.approx((1 - each).mean(), rel=1e-12)
        assert row.effect == pytest.approx(np.median(x) - mean, rel=1e-12)
        assert np.isnan(row.statistic)
    strongest = table.loc[(first[7], second[7])]
    assert strongest.p == 0
    n = int(strongest.n_fg)
    expected = -(stats.norm.logsf(40, mean, deviation) + np.log(n)) / np.log(10)
    assert strongest.neg_log10_p == pytest.approx(expected, rel=1e-9)
    assert len(p) == 26
    np.testing.assert_allclose(table.loc[list(p)]["q"], stats.false_discovery_control(list(p.values())), rtol=1e-9)


def test_permuted_takes_the_larger_of_both_directions(tmp_path: Path) -> None:
    """As the score itself does: in a store with a direction, both have a value from either site to the other."""
    rng = np.random.default_rng(8)
    rows, filters = 60, 5
    values, permuted = (rng.standard_normal((rows, filters, filters)).astype(np.float32) for _ in range(2))
    values[:, 0, 1] = values[:, 1, 0] = NAN
    store = make_directed_store(tmp_path / "s.zarr", values, filters=filters, null=permuted)
    table, _ = reduced(store, "permuted")
    first, second = pairs.filters_of(filters)
    larger, null = (np.maximum(abs(one), abs(one.transpose(0, 2, 1))) for one in (values, permuted))
    seen = null[:, first, second][:, 1:].astype(np.float64)  # the first pair was never observed
    assert (first[0], second[0]) not in table.index
    for a, b in table.index:
        x = larger[:, a, b].astype(np.float64)
        each = stats.norm.sf(x, seen.mean(), seen.std())
        assert table.loc[(a, b)].p == pytest.approx(mann_whitney.q_values(each).min(), rel=1e-9)
        assert table.loc[(a, b)].effect == pytest.approx(np.median(x) - seen.mean(), rel=1e-9)
    assert len(table) == 9


def test_permuted_of_a_store_without_permuted_sequences_names_the_setting(
    signed: tuple[ScoreStore, np.ndarray, np.ndarray],
) -> None:
    with pytest.raises(ArtefactError, match=r"null = true in \[score\.dfim\].*satori-hpc score .*satori-hpc reduce"):
        reduced(signed[0], "permuted")


def test_nothing_observed_is_an_empty_table(tmp_path: Path) -> None:
    nothing = np.full((5, 6), NAN)
    store = make_store(tmp_path / "e.zarr", nothing, nothing, filters=4, method="dfim", null=(nothing, nothing))
    for statistic in ("within-sequence", "permuted"):
        assert len(reduced(store, statistic, folder=statistic)[0]) == 0


def test_the_statistic_follows_from_method_and_settings() -> None:
    def found(statistic: str = "auto", *, legacy: bool = False, dfim_legacy: bool = False, network: str = "basic"):
        config = dataclasses.replace(
            Config(),
            model=Model(architecture=network),
            reduce=Reduce(statistic=statistic, legacy=legacy),
            score=Score(dfim=Dfim(legacy=dfim_legacy)),
        )
        return {method: statistic_of(config, method) for method in ("attention", "attribution", "dfim", "epistasis")}

    published, within, least, contrasts = "published", "within-sequence", "minimum-effect", "contrasts-two-way"
    auto = {"attention": contrasts, "attribution": contrasts, "dfim": least, "epistasis": least}
    assert found() == auto
    assert found(network="motif-tokens") == auto | {"attention": published}
    assert found(dfim_legacy=True) == auto | {"dfim": published}
    assert set(found(legacy=True).values()) == {published}
    for name in (published, within, least, contrasts):
        assert set(found(name, dfim_legacy=True).values()) == {name}
    assert found("permuted") == auto | {"dfim": "permuted"}
    assert list(Reduce(statistic="within-sequence", legacy=True).problems())


def test_no_cutoff_unless_a_number_is_named() -> None:
    assert cutoff_of(Reduce(), "published") is None  # the mean, which the first pass finds
    for name in STATISTICS:
        assert name == "published" or cutoff_of(Reduce(), name) == -np.inf
        assert cutoff_of(Reduce(cutoff="0.2"), name) == 0.2


@pytest.mark.parametrize("name", STATISTICS)
def test_the_entry_of_each_statistic_loads(name: str) -> None:
    test = registry.test_of(name)
    assert test.sides[:2] == ("foreground", "background")
    assert set(test.groups) <= {"foreground", "background"}
    for step in ("facts", "describe", "add", "test", "conclude"):
        assert callable(getattr(test, step))
