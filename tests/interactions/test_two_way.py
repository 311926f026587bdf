"""contrasts-two-way: the rises of the motifs themselves are taken away, what pairs do beyond them is called."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.statistics import signed_rank, two_way
from satori_hpc.parallel.world import Runtime
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures.scores import make_store, of_pairs
from tests.oracles import contrasts
from tests.oracles import two_way as oracle

NAN = np.float32(np.nan)
FILTERS = 14
PAIRS = pairs.count(FILTERS)


def reduced(store: ScoreStore, **settings: object) -> tuple[pd.DataFrame, dict[str, object]]:
    """Columns by pair, in pair order, and what is told of all pairs."""
    found = interactions_stage.reduce_store(
        store,
        store.path.with_suffix(".parts"),
        settings=Reduce(**{"max_distance": 0, **settings}),  # type: ignore[arg-type]
        runtime=Runtime(threads=1),
        statistic="contrasts-two-way",
    )
    return pd.DataFrame(found.columns).set_index(["unit_a", "unit_b"]).sort_index(), found.told


def scored(
    path: Path, *, motif: np.ndarray, pair: np.ndarray, rows: int = 250, seed: int = 1, present: float = 0.5
) -> ScoreStore:
    """Scores that in the foreground rise by the effects of both motifs (filters,) and of the pair (pairs,)."""
    rng = np.random.default_rng(seed)
    first, second = pairs.filters_of(FILTERS)
    sides = []
    for rise in (motif[first] + motif[second] + pair, 0):
        values = (rng.normal(0, 1, (rows, PAIRS)) + rng.gamma(2, 0.5, (rows, 1)) + rise).astype(np.float32)
        values[rng.random(values.shape) > present] = NAN
        sides.append(values)
    return make_store(path, *sides, filters=FILTERS)


def effects(seed: int) -> np.ndarray:
    return np.random.default_rng(100 + seed).gamma(1, 0.4, FILTERS)


def test_motifs_that_matter_alone_call_nothing(tmp_path: Path) -> None:
    called, published = [], []
    for seed in range(8):
        store = scored(tmp_path / f"{seed}.zarr", motif=effects(seed), pair=np.zeros(PAIRS), seed=seed)
        table, _ = reduced(store)
        assert table["tested"].all()
        called.append(int(table["called"].sum()))
        if seed < 2:
            plain = interactions_stage.reduce_store(
                store, tmp_path / f"{seed}.published", settings=Reduce(), runtime=Runtime(threads=1)
            )
            published.append(plain.columns["called"].mean())
    assert sum(called) <= 1, called
    assert min(published) > 0.5  # which the published test takes for interactions


def test_interactions_beside_motifs_that_matter_are_found(tmp_path: Path) -> None:
    found, wrong = 0, 0
    for seed in range(3):
        true = np.zeros(PAIRS, bool)
        true[np.random.default_rng(seed).choice(PAIRS, 9, replace=False)] = True
        store = scored(tmp_path / f"{seed}.zarr", motif=effects(seed), pair=np.where(true, 1.0, 0.0), seed=seed)
        called = reduced(store)[0]["called"].to_numpy(bool)
        found, wrong = found + called[true].sum(), wrong + called[~true].sum()
    assert found >= 25  # of 27
    assert wrong <= 2


def test_a_quarter_of_true_pairs_is_found(tmp_path: Path) -> None:
    true = np.random.default_rng(6).random(PAIRS) < 0.25
    table, told = reduced(scored(tmp_path / "s.zarr", motif=effects(2), pair=np.where(true, 2.0, 0.0)))
    called = table["called"].to_numpy(bool)
    assert called[true].mean() > 0.9
    assert called[~true].mean() < 0.05
    assert told["share_true"] == pytest.approx(true.mean(), abs=0.1)


@pytest.mark.parametrize(("share", "warned"), [(0.1, False), (0.36, True)])
def test_many_true_pairs_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, share: float, warned: bool) -> None:
    rng = np.random.default_rng(7)
    pair = np.where(rng.permutation(PAIRS) < share * PAIRS, 2.5, 0.0)
    with caplog.at_level("WARNING", logger="satori_hpc"):
        _, told = reduced(scored(tmp_path / "s.zarr", motif=effects(1), pair=pair))
    assert ("stand out from the sum of their motifs' main effects" in caplog.text) == warned, told


def test_equals_the_steps_one_by_one(tmp_path: Path) -> None:
    """Contrasts by loops, scipy's Mann-Whitney U, a plain weighted fit, the normal tail."""
    store = scored(tmp_path / "s.zarr", motif=effects(3), pair=np.zeros(PAIRS), rows=60, seed=3, present=0.4)
    table, told = reduced(store)
    sides = [contrasts.contrasts(of_pairs(store, group)) for group in ("foreground", "background")]
    first, second = pairs.filters_of(FILTERS)
    d, error, p = np.zeros(PAIRS), np.zeros(PAIRS), np.zeros(PAIRS)
    for pair in range(PAIRS):
        x, y = (side[~np.isnan(side[:, pair]), pair].astype(float) for side in sides)
        test = stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic")
        row = table.loc[(first[pair], second[pair])]
        assert row.tested
        assert row.statistic == test.statistic
        assert row.auc == pytest.approx(test.statistic / len(x) / len(y), rel=1e-12)
        assert row.effect == pytest.approx(np.median(x) - np.median(y), rel=1e-6)
        d[pair] = np.sqrt(2) * stats.norm.ppf(test.statistic / len(x) / len(y))
        error[pair] = np.sqrt(4 * np.pi * (len(x) + len(y) + 1) / (12 * len(x) * len(y)))
    z, tau = oracle.residuals(d, error, first, second, units=FILTERS, rounds=two_way.ROUNDS)
    left = z * np.sqrt(error**2 + tau**2)
    null = signed_rank.fit(left, error)
    assert null is not None
    p = 10 ** -signed_rank.neg_log10_p(left, error, null)
    np.testing.assert_allclose(table["p"], p, rtol=1e-4)
    np.testing.assert_allclose(table["neg_log10_p"], -np.log10(p), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table["q"], stats.false_discovery_control(p), rtol=1e-4)
    assert told["scatter"] == pytest.approx(null.scale, abs=1e-6)


def test_few_pairs_are_held_against_the_scatter_of_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    sides = (rng.normal(rise, 1, (80, 15)).astype(np.float32) for rise in (np.linspace(0, 1, 15), 0))
    table, told = reduced(make_store(tmp_path / "s.zarr", *sides, filters=6))
    first, second = pairs.filters_of(6)
    d, error = two_way.difference(table["auc"].to_numpy(), np.full(15, 80), np.full(15, 80))
    z, tau = oracle.residuals(d, error, first, second, units=6, rounds=two_way.ROUNDS)
    np.testing.assert_allclose(table["p"], stats.norm.sf(z), rtol=1e-5)
    np.testing.assert_allclose(table["neg_log10_p"], -stats.norm.logsf(z) / np.log(10), rtol=1e-5)
    assert told["scatter"] == pytest.approx(tau, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_a_difference_is_that_of_normal_samples(shift: float) -> None:
    rng = np.random.default_rng(4)
    n_fg, n_bg, repeats = 60, 40, 500
    found = []
    for _ in range(repeats):
        x, y = rng.normal(shift, 1, n_fg), rng.normal(0, 1, n_bg)
        found.append(np.mean(x[:, None] > y))
    d, error = two_way.difference(np.array(found), np.full(repeats, n_fg), np.full(repeats, n_bg))
    assert d.mean() == pytest.approx(shift, abs=0.05)
    if not shift:
        assert d.std() == pytest.approx(error[0], rel=0.1)
    ends, _ = two_way.difference(np.array([0.0, 1.0]), np.array([50, 50]), np.array([50, 50]))
    assert np.isfinite(ends).all()
    assert ends[1] == pytest.approx(-ends[0])
    assert ends[1] > 3


@pytest.mark.parametrize("seed", range(4))
def test_residuals_are_those_of_a_plain_weighted_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = pairs.filters_of(12)
    some = np.sort(rng.choice(66, 50, replace=False))
    first, second = first[some], second[some]
    rise, error = rng.normal(0.3, 0.5, 12), rng.uniform(0.05, 0.3, 50)
    d = 0.2 + rise[first] + rise[second] + rng.normal(0, 0.2, 50) + rng.normal(0, error)
    true = [3, 20, 41]
    d[true] += 3.0  # which must not draw the fit to them
    z, tau = two_way.residuals(d, error, first, second, units=12)
    expected, scatter = oracle.residuals(d, error, first, second, units=12, rounds=two_way.ROUNDS)
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    assert tau == pytest.approx(scatter, abs=1e-6)
    assert (z[true] > 4).all()
    assert np.median(np.abs(z)) < 1


def test_motifs_effects_alone_leave_nothing_but_the_error() -> None:
    rng = np.random.default_rng(5)
    first, second = pairs.filters_of(20)
    rise, error = rng.normal(0, 3, 20), rng.uniform(0.1, 0.3, 190)
    z, tau = two_way.residuals(rise[first] + rise[second] + rng.normal(0, error), error, first, second, units=20)
    assert tau < 0.1
    assert z.std() == pytest.approx(1, abs=0.15)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert two_way.residuals(np.zeros(0), np.zeros(0), first[:0], second[:0], units=20)[1] == 0
    assert special.ndtr(-z).min() > 0


def test_the_share_of_true_pairs_is_what_has_no_mirror_below() -> None:
    left = stats.norm.ppf((np.arange(1000) + 0.5) / 1000)
    assert two_way.share_true(left, 0.0) == 0
    left[np.argsort(np.arange(1000) % 2, kind="stable")[:500]] = 4.0
    assert two_way.share_true(left, 0.0) == pytest.approx(0.5, abs=0.01)
    assert two_way.share_true(left, -9.0) == 1
    assert two_way.share_true(np.zeros(0), 0.0) == 0
