"""Spacings of a store with known distances: counts against loops, tables against what was implanted."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from satori_hpc import config, pairs
from satori_hpc.interactions import instances, spacing
from satori_hpc.interactions.site_pairs import NONE, Units
from satori_hpc.interactions.spacing import Reading
from satori_hpc.interactions.statistics.base import Rules
from satori_hpc.interactions.statistics.spacing import ARRANGEMENTS
from satori_hpc.run.layout import Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import Plan
from satori_hpc.scoring.site_scores import SiteScores
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import store as motif_store
from tests.fixtures import tiny
from tests.fixtures.scores import sites_of_pairs

FILTERS, ROWS, REACH = 8, {"foreground": 130, "background": 160}, 40
PAIRS = pairs.count(FILTERS)
TF = np.array(["B", "A", "A", "", "C", "B", "C", "D"], dtype=object)


def make_store(path: Path, content: dict[str, tuple[np.ndarray, np.ndarray]], *, pool: int = 4) -> ScoreStore:
    """A finished store of (score, distance) by side, in which each pair of filters has two sites of its own."""
    plan = Plan(
        method="attention",
        widths=np.full(FILTERS, 13),
        foreground=np.arange(ROWS["foreground"]),
        background=np.arange(ROWS["background"]),
        background_source="background",
        dataset_examples=max(ROWS.values()),
        shard_examples=32,
        pool=pool,
        most=(2 * PAIRS, 2 * PAIRS),
        digests={},
    )
    store = score_store.create_or_resume(path, plan)
    for group, partition in store.pending():
        rows = zip(*(each[slice(*store.partitions(group)[partition])] for each in content[group]), strict=True)
        found = [sites_of_pairs({"value": score}, FILTERS, row=0, apart=distance) for score, distance in rows]
        store.write_partition(group, partition, SiteScores.join(found))
    store.finalise()
    return score_store.open_complete(path)


def rules_of(units: Units, **changes: Any) -> Rules:
    return Rules(
        **{"statistic": "published", "units": units, "cutoff": 0.4, "drop_values": True, "min_examples": 10} | changes
    )


TFS = ("A", "B", "C", "D")
BY_TF = Units(tuple(TFS.index(name) if name else NONE for name in TF), len(TFS))
BY_RULES: dict[str, Any] = {"tfs": TFS, "rules": rules_of(BY_TF), "cutoff": -np.inf}
BY_FILTER = BY_RULES | {"rules": rules_of(Units.motifs(FILTERS))}


def random_content(rng: np.random.Generator, *, near: float = 30) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    content = {}
    for group, rows in ROWS.items():
        score = np.round(rng.random((rows, PAIRS)), 1).astype(np.float32)  # ties between filter pairs
        distance = (rng.normal(0, near, (rows, PAIRS)) / 4).round().astype(np.int16) * 4
        missing = rng.random(score.shape) < 0.5
        score[missing], distance[missing] = np.nan, 0
        content[group] = score, distance.astype(np.int64)
    return content


def tables(*, tf: np.ndarray, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Called filter pairs and TF pairs, out of thin air."""
    rng = np.random.default_rng(seed)
    first, second = pairs.filters_of(FILTERS)
    table = pd.DataFrame({"filter_a": first, "filter_b": second, "tf_a": tf[first], "tf_b": tf[second]})
    table["q"], table["called"] = np.sort(rng.random(PAIRS)), rng.random(PAIRS) < 0.8
    keys = [
        (min(a, b), max(a, b))
        for a, b, called in zip(table["tf_a"], table["tf_b"], table["called"], strict=True)
        if called and a and b and a != b
    ]
    names = list(dict.fromkeys(keys))
    tf_table = pd.DataFrame({"tf_a": [a for a, _ in names], "tf_b": [b for _, b in names]})
    return table, tf_table.assign(q=np.arange(len(names)) / 100, called=True)


READING = Reading(strand=np.array([1, -1, 1, 0, -1, -1, 1, 0]), offset=np.array([2, -1, 0, 0, 3, 1, 0, 0]))


def slow_counts(
    content: dict[str, tuple[np.ndarray, np.ndarray]], table: pd.DataFrame, names: list[tuple[str, str]], floor: float
) -> tuple[dict, dict]:
    """Counts by loops over interactions, examples and filter pairs."""
    spacings: dict = {}
    kinds: dict = {}
    numbers = pairs.index(table["filter_a"].to_numpy(int), table["filter_b"].to_numpy(int), filters=FILTERS)
    for group, (score, distance) in content.items():
        for name in names:
            for row in range(len(score)):
                best = None
                for number, a, b, tf_a, tf_b in sorted(
                    zip(numbers, *(table[name] for name in ("filter_a", "filter_b", "tf_a", "tf_b")), strict=True)
                ):
                    value = score[row, number]
                    if {tf_a, tf_b} != set(name) or np.isnan(value) or value < np.float32(floor):
                        continue
                    if best is None or value > best[0]:
                        away = int(distance[row, number])
                        f, g = (a, b) if tf_a == name[0] else (b, a)
                        away = away if tf_a == name[0] else -away
                        best = value, away + READING.offset[f] - READING.offset[g], READING.strand[f], READING.strand[g]
                if best is None or abs(best[1]) > REACH:
                    continue
                _, away, sa, sb = best
                spacings[name, group, away] = spacings.get((name, group, away), 0) + 1
                if not (away and sa and sb):
                    continue
                if sa == sb:
                    kind = "tandem_ab" if (away > 0) == (sa > 0) else "tandem_ba"
                else:
                    kind = "convergent" if (sa if away > 0 else sb) > 0 else "divergent"
                kinds[name, group, kind] = kinds.get((name, group, kind), 0) + 1
    return spacings, kinds


@pytest.mark.parametrize("floor", [-np.inf, 0.4])
def test_counts_are_those_of_loops(tmp_path: Path, floor: float) -> None:
    content = random_content(np.random.default_rng(3))
    store = make_store(tmp_path / "attention.zarr", content)
    table, tf_table = tables(tf=TF)
    chosen = instances.choose(table, tf_table, tfs=TFS, units=BY_TF, most=4)
    names = list(zip(chosen.tf_a, chosen.tf_b, strict=True))
    counts = spacing.gather(store, chosen, READING, rules=rules_of(BY_TF), reach=REACH, floor=floor)
    spacings, kinds = slow_counts(content, table, names, floor)
    found = {
        (names[i], group, int(d) - REACH): int(counts.spacing[i, side, d])
        for side, group in enumerate(ROWS)
        for i, d in zip(*np.nonzero(counts.spacing[:, side]), strict=True)
    }
    assert found == spacings
    assert len(found) > 40
    told = {
        (names[i], group, ARRANGEMENTS[k]): int(counts.arrangement[i, side, k])
        for side, group in enumerate(ROWS)
        for i, k in zip(*np.nonzero(counts.arrangement[:, side]), strict=True)
    }
    assert told == kinds


def test_filters_without_names_are_counted_as_they_are(tmp_path: Path) -> None:
    content = random_content(np.random.default_rng(4))
    store = make_store(tmp_path / "attention.zarr", content)
    table, _ = tables(tf=np.array([""] * FILTERS, dtype=object))
    units = Units.motifs(FILTERS)
    chosen = instances.choose(table, table.iloc[:0], tfs=TFS, units=units, most=6)
    counts = spacing.gather(store, chosen, READING, rules=rules_of(units), reach=REACH, floor=-np.inf)
    assert not counts.arrangement.any()
    for i, number in enumerate(chosen.pair):
        for side, group in enumerate(ROWS):
            score, values = (each[:, number] for each in content[group])
            values = values[~np.isnan(score) & (np.abs(values) <= REACH)] + REACH
            np.testing.assert_array_equal(counts.spacing[i, side], np.bincount(values, minlength=2 * REACH + 1))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    settings = dataclasses.replace(
        tiny.tiny_config(), reduce=config.Reduce(spacing_draws=499, spacing_distance=REACH, min_examples=10)
    )
    made = tiny.make_run(tmp_path / "run", settings)
    tf = pd.DataFrame({"filter": np.arange(FILTERS), "strand": ["+", "-"] * 4, "offset": 0, "named": TF != ""})
    monkeypatch.setattr(motif_store, "read_tf", lambda folder: tf)
    return made


def test_an_implanted_spacing_is_told_and_nothing_else(run: Run) -> None:
    rng = np.random.default_rng(5)
    content = random_content(rng)
    number = int(pairs.index(6, 7, filters=FILTERS))  # C and D: one filter pair, on different strands
    score, distance = content["foreground"]
    some = rng.choice(ROWS["foreground"], 40, replace=False)
    score[some, number], distance[some, number] = 0.9, 12
    make_store(run.scores("attention"), content)
    table, tf_table = tables(tf=TF)
    table["called"] = True
    names = [("A", "B"), ("A", "C"), ("A", "D"), ("B", "C"), ("B", "D"), ("C", "D")]
    tf_table = pd.DataFrame(names, columns=["tf_a", "tf_b"]).assign(q=0.01, called=True)
    told = spacing.write(run, "attention", table=table, tf_table=tf_table, **BY_RULES)
    found, counts = spacing.read_tables(run.interactions("attention"))
    assert list(found["name"]) == [f"{a}|{b}" for a, b in names]
    assert told["spacing_tested"] == 6
    row = found.set_index("name").loc["C|D"]
    # Filter 4 is C, too, and backwards; in the implanted examples the best filter pair is (6, 7).
    assert row["preferred_start"] <= 12 < row["preferred_end"]
    assert row["preferred_q"] <= 6 * 0.002 * 1.001
    assert row["preferred_fg"] > 1.5 * row["preferred_expected"]
    assert row["a_first_fg"] > 0.6 > row["a_first_bg"]
    assert row["convergent_fg"] > row["convergent_bg"]
    assert row["order_q"] < 0.05
    assert (found["preferred_q"] <= 0.05).sum() == 1
    together = counts.groupby("name")[["n_fg", "n_bg"]].sum()
    for name in found["name"]:
        assert together.loc[name].tolist() == found.set_index("name").loc[name, ["n_fg", "n_bg"]].tolist()
    text = pd.read_csv(run.interactions("attention").with_name("attention.spacing.tsv"), sep="\t")
    np.testing.assert_allclose(text["preferred_p"], found["preferred_p"])
    before = found
    spacing.write(run, "attention", table=table, tf_table=tf_table.iloc[::-1].reset_index(drop=True), **BY_RULES)
    again, _ = spacing.read_tables(run.interactions("attention"))
    same = again.set_index("name").loc[before["name"], "preferred_p"].to_numpy()
    np.testing.assert_array_equal(same, before["preferred_p"])  # draws follow from the interaction, not from its rank


def test_nothing_called_and_rare_ones_leave_tables(run: Run) -> None:
    content = random_content(np.random.default_rng(6))
    make_store(run.scores("attention"), content)
    table, tf_table = tables(tf=TF)
    told = spacing.write(run, "attention", table=table.assign(called=False), tf_table=tf_table.iloc[:0], **BY_FILTER)
    found, counts = spacing.read_tables(run.interactions("attention"))
    assert len(found) == len(counts) == told["spacing_tested"] == 0
    rare = dataclasses.replace(
        run, config=SimpleNamespace(**{**vars(run.config), "reduce": config.Reduce(min_examples=999)})
    )
    assert spacing.write(rare, "attention", table=table, tf_table=tf_table, **BY_RULES)["spacing_tested"] == 0
    found, _ = spacing.read_tables(run.interactions("attention"))
    assert len(found) == len(tf_table)
    assert found["preferred_p"].isna().all()
    assert not found["tested"].any()
    assert found["median_fg"].notna().all()
