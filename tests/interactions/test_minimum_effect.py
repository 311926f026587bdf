"""minimum-effect: interactions against a share of what sites do alone, however many pairs are true."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.errors import ArtefactError
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.parallel.world import Runtime
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures.scores import STEP, make_store
from tests.oracles import minimum_effect as oracle

NAN = np.float32(np.nan)
FILTERS = 10
PAIRS = pairs.count(FILTERS)


def reduced(
    store: ScoreStore, *, units: Units | None = None, **settings: object
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Columns by pair, in pair order, and what is told of all pairs."""
    found = interactions_stage.reduce_store(
        store,
        store.path.with_suffix(".parts"),
        settings=Reduce(**{"max_distance": 0, **settings}),  # type: ignore[arg-type]
        runtime=Runtime(threads=1),
        statistic="minimum-effect",
        units=units,
    )
    return pd.DataFrame(found.columns).set_index(["unit_a", "unit_b"]).sort_index(), found.told


def scored(
    path: Path, effect: np.ndarray, *, rows: int = 400, noise: float = 0.3, seed: int = 1, present: float = 0.5
) -> ScoreStore:
    """Interactions of this mean size (pairs,) times what the stronger of the two sites does alone, about 1."""
    rng = np.random.default_rng(seed)
    first, second = pairs.filters_of(FILTERS)
    single = [np.float32(1) + rng.normal(0, 0.2, (n, FILTERS)).astype(np.float32) for n in (rows, 40)]
    score = []
    for mine in single:
        larger = np.maximum(np.abs(mine[:, first]), np.abs(mine[:, second]))
        values = (effect * larger + rng.normal(0, noise, larger.shape)).astype(np.float32)
        values[rng.random(values.shape) > present] = NAN
        score.append(values)
    return make_store(path, *score, filters=FILTERS, method="epistasis", effects={"single": (single[0], single[1])})


@pytest.mark.parametrize("cut", [{}, {"cutoff": "2.5"}, {"max_distance": 5 * STEP}])
def test_equals_a_loop_over_scipy(tmp_path: Path, cut: dict[str, object]) -> None:
    rng = np.random.default_rng(2)
    score, background = (np.round(rng.normal(0.4, 1, (rows, PAIRS)), 1).astype(np.float32) for rows in (150, 40))
    single, other = (rng.normal(0, 1.5, (rows, FILTERS)).astype(np.float32) for rows in (150, 40))
    score[rng.random(score.shape) > 0.6] = NAN
    single[rng.random(single.shape) > 0.9] = NAN
    score[:, 3] = NAN
    score[9:, 4] = NAN  # too rare
    score[:, 5] = NAN
    score[:20, 5] = 2.4  # never reaches a cut-off of 2.5
    store = make_store(
        tmp_path / "s.zarr", score, background, filters=FILTERS, method="epistasis", effects={"single": (single, other)}
    )
    table, told = reduced(store, **cut)
    assert told["mean_single_effect"] == pytest.approx(np.nanmean(np.abs(single.astype(float))), rel=1e-6)
    synergy = oracle.values(score, single, filters=FILTERS)
    redundancy = oracle.values(score, single, filters=FILTERS, sign=-1)
    first, second = pairs.filters_of(FILTERS)
    near = second - first <= 5 if "max_distance" in cut else np.ones(PAIRS, bool)
    p, against = {}, {}
    for pair in range(PAIRS):
        name = (first[pair], second[pair])
        x, less = (values[~np.isnan(values[:, pair]), pair].astype(float) for values in (synergy, redundancy))
        seen = score[~np.isnan(score[:, pair]), pair].astype(float)
        if not near[pair]:
            assert name not in table.index
            continue
        row = table.loc[name]
        assert row.n_fg == len(seen)
        assert bool(row.tested) == (len(x) >= 10 and seen.max() >= float(str(cut.get("cutoff", "-inf"))))
        if not row.tested:
            assert row[["statistic", "auc", "effect", "p", "neg_log10_p", "q", "redundancy_q"]].isna().all()
            continue
        found = stats.wilcoxon(x, zero_method="wilcox", alternative="greater", method="asymptotic")
        ranks = stats.rankdata(abs(x[x != 0]))
        plus = ranks[x[x != 0] > 0].sum()
        assert row.statistic == plus
        assert row.auc == pytest.approx(plus / ranks.sum(), rel=1e-12)
        assert row.effect == row.median_fg == np.median(seen)
        assert row.p == pytest.approx(found.pvalue, rel=1e-9)
        assert row.neg_log10_p == pytest.approx(-np.log10(found.pvalue), rel=1e-9, abs=1e-12)
        p[name] = found.pvalue
        against[name] = stats.wilcoxon(less, zero_method="wilcox", alternative="greater", method="asymptotic").pvalue
    assert len(p) > 20
    for column, values in (("q", p), ("redundancy_q", against)):
        np.testing.assert_allclose(
            table.loc[list(values)][column], stats.false_discovery_control(list(values.values())), rtol=1e-9
        )


def test_nothing_is_called_where_interactions_stay_within_the_margin(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    table, told = reduced(scored(tmp_path / "s.zarr", rng.uniform(-0.2, 0.2, PAIRS)))
    assert table["tested"].all()
    assert not table["called"].any()
    assert told["redundant_pairs"] == 0
    # A test against 0 would call half of them.
    assert (table["median_fg"] > 0.05).sum() > 10
    assert told["above_0_below_margin"] == (table["median_fg"] > 0).sum()


def test_noise_does_not_make_calls(tmp_path: Path) -> None:
    """At the very margin, where the null is hardest: not more calls than alpha allows."""
    called = [
        reduced(scored(tmp_path / f"{seed}.zarr", np.full(PAIRS, 0.24), seed=seed, rows=200))[0]["called"].sum()
        for seed in range(5)
    ]
    assert sum(called) <= 1, called


def test_one_true_pair_among_many_is_found(tmp_path: Path) -> None:
    effect = np.zeros(PAIRS)
    effect[17] = 0.5
    table, _ = reduced(scored(tmp_path / "s.zarr", effect))
    assert np.flatnonzero(table["called"]).tolist() == [17]


def test_most_pairs_true_are_found(tmp_path: Path) -> None:
    true = np.arange(PAIRS) % 10 < 8
    table, _ = reduced(scored(tmp_path / "s.zarr", np.where(true, 0.5, 0.0)))
    np.testing.assert_array_equal(table["called"], true)


def test_redundancy_is_told_and_not_called(tmp_path: Path) -> None:
    effect = np.zeros(PAIRS)
    effect[[4, 9]] = -0.6
    table, told = reduced(scored(tmp_path / "s.zarr", effect))
    assert not table["called"].any()
    assert np.flatnonzero(table["redundancy_q"] <= 0.05).tolist() == [4, 9]
    assert told["redundant_pairs"] == 2


def test_the_margin_is_that_of_the_two_sites_which_speak_for_a_tf_pair(tmp_path: Path) -> None:
    """Filters 0 and 1 are one TF: the strong interaction of 0 has small single effects, the weak one of 1 large."""
    rng = np.random.default_rng(5)
    rows = 60
    score = np.full((rows, pairs.count(3)), NAN)
    score[:, pairs.index(0, 2, filters=3)] = 0.5 + rng.normal(0, 0.01, rows)
    score[:, pairs.index(1, 2, filters=3)] = 0.1
    single = np.tile(np.float32([0.4, 9.0, 0.4]), (rows, 1))
    store = make_store(
        tmp_path / "s.zarr",
        *(score.astype(np.float32), score[:20].astype(np.float32)),
        filters=3,
        method="epistasis",
        effects={"single": (single, single[:20])},
    )
    table, told = reduced(store, units=Units((0, 0, 1), 2))
    assert told["mean_single_effect"] == pytest.approx(9.8 / 3, rel=1e-6)  # a tenth is .33, the quarter of 9 were 2.3
    assert table["called"].tolist() == [True]


def test_a_store_without_single_effects_is_refused_with_what_to_do(tmp_path: Path) -> None:
    score = np.ones((20, PAIRS), np.float32)
    store = make_store(tmp_path / "run" / "scores" / "attention.zarr", score, score, filters=FILTERS)
    with pytest.raises(
        ArtefactError, match=r"attention has no effects of single sites, .*satori-hpc set .*run score.methods=epistasis"
    ):
        reduced(store)
