"""Instances against a loop over all examples, and against the network, the letters and the genome they stand for."""

import dataclasses
from typing import Any

import networkx
import numpy as np
import pandas as pd
import pytest
import torch

from satori_hpc import config, models, pairs
from satori_hpc.data import dataset, sequence
from satori_hpc.data.dataset import Coded, Coordinates, Examples
from satori_hpc.interactions import instances
from satori_hpc.interactions.site_pairs import NONE, Units
from satori_hpc.interactions.statistics.base import Rules
from satori_hpc.models.satori import Satori
from satori_hpc.run.layout import ALL_INSTANCES_ENDINGS, Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.attention import AttentionScorer
from satori_hpc.scoring.layout import Plan
from satori_hpc.scoring.site_scores import SiteScores
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures import tiny
from tests.fixtures.scores import batch_of

LENGTH, POOL, WIDTH, PADDING, FILTERS = 82, 4, 7, 2, 10  # two letters never reach attention
PAIRS = pairs.count(FILTERS)
EXAMPLES = 60
KEEP = 4
TF = ["B", "A", "A", "", "C", "B", "c\tc", "C", "", "A"]  # B before A: sides are swapped
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


@dataclasses.dataclass(frozen=True)
class Made:
    run: Run
    model: Satori
    threshold: torch.Tensor
    data: Examples
    genome: dict[str, str]
    scores: SiteScores  # of the foreground
    rows: np.ndarray


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A scored run whose examples come from a made-up genome, on all strands, some without a place in it."""
    rng = np.random.default_rng(8)
    settings = tiny.tiny_config()
    settings = dataclasses.replace(
        settings, reduce=dataclasses.replace(settings.reduce, bedpe_interactions=3, bedpe_instances=KEEP)
    )
    run = tiny.make_run(tmp_path_factory.mktemp("outputs") / "run", settings)
    genome = {name: "".join(rng.choice(list("ACGT"), 4000)) for name in ("chr1", "chrUn β")}
    chrom = rng.choice(list(genome), EXAMPLES)
    start = rng.integers(0, 3800, EXAMPLES)
    strand = rng.choice(np.array([1, -1, 0], np.int8), EXAMPLES)
    read = []
    for name, first, sign in zip(chrom, start, strand, strict=True):
        letters = genome[name][first : first + LENGTH]
        read.append(letters.translate(COMPLEMENT)[::-1] if sign < 0 else letters)
    end = start + LENGTH
    end[::7] += 18  # intervals that do not say where in them the sequence lies
    data = Examples(
        tokens=np.stack([sequence.encode(text) for text in read]),
        labels=np.ones((EXAMPLES, 1), np.uint8),
        split=np.zeros(EXAMPLES, np.uint8),
        names=[f"example {number}\t" for number in range(EXAMPLES)],
        coordinates=Coordinates(chrom=Coded.of(chrom), start=start, end=end, strand=strand),
        targets=["label"],
        task="binary",
    )
    dataset.write(run.dataset, data)
    torch.manual_seed(5)
    shape = config.Model(
        num_filters=FILTERS, kernel_size=WIDTH, padding=PADDING, pool=POOL, num_heads=2, head_dim=6, mixing_size=8
    )
    model = models.build(shape, length=LENGTH, targets=1, task="binary", entropy=0.0).eval()
    tokens = torch.from_numpy(data.tokens)
    with torch.inference_mode():
        threshold = model.pooled(tokens).transpose(0, 1).flatten(1).quantile(0.9, dim=1)
    scorer = AttentionScorer(model, threshold)
    rows = np.sort(rng.permutation(EXAMPLES)[:50])
    plan = Plan(
        method="attention",
        widths=scorer.widths,
        foreground=rows,
        background=rows[:5],
        background_source="background",
        dataset_examples=EXAMPLES,
        shard_examples=16,
        pool=POOL,
        most=scorer.most,
        digests={},
    )
    store = score_store.create_or_resume(run.scores("attention"), plan)
    kept = []
    for group, partition in store.pending():
        first, last = store.partitions(group)[partition]
        part = scorer(batch_of(tokens[store.examples(group)[first:last]]))
        # Rounded, so that there are ties within and between filter pairs.
        part = dataclasses.replace(part, value=np.round(part.value, 3).astype(np.float32))
        if group == "foreground":
            kept.append(part)
        store.write_partition(group, partition, part)
    store.finalise()
    return Made(run, model, threshold, data, genome, SiteScores.join(kept), rows)


def tables(*, tf: list[str], calls: float = 0.7, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of a reduction, with p-values out of thin air; ties among the q-values."""
    rng = np.random.default_rng(seed)
    first, second = pairs.filters_of(FILTERS)
    names = np.array(tf, dtype=object)
    columns: dict[str, Any] = {
        "filter_a": first, "filter_b": second, "tf_a": names[first], "tf_b": names[second],
        "q": np.round(rng.random(PAIRS), 1), "p": rng.random(PAIRS), "auc": rng.random(PAIRS),
        "n_fg": rng.integers(10, 50, PAIRS), "median_distance": rng.integers(4, 70, PAIRS).astype(float),
    }  # fmt: skip
    columns["called"] = columns["q"] <= calls
    columns |= {"neg_log10_p": -np.log10(columns["p"]), "effect": columns["auc"] - 0.5}
    order = np.lexsort((-columns["auc"], columns["p"], columns["q"]))
    columns = {name: values[order] for name, values in columns.items()}
    table, seen = pd.DataFrame(columns), {}
    for row in table.to_dict("records"):
        pair = tuple(sorted((row["tf_a"], row["tf_b"])))
        if "" not in pair and pair[0] != pair[1]:
            mine = seen.setdefault(pair, row | {"filter_pairs": 0, "called_filter_pairs": 0})
            mine |= {"tf_a": pair[0], "tf_b": pair[1], "filter_pairs": mine["filter_pairs"] + 1}
            mine["called_filter_pairs"] += row["called"]
    more = ("filter_pairs", "called_filter_pairs")
    return table, pd.DataFrame(list(seen.values()), columns=[*table.columns, *more])


def write(
    made: Made,
    table: pd.DataFrame,
    tf_table: pd.DataFrame,
    *,
    tf: list[str] = TF,
    cutoff: float = -np.inf,
    drop_values: bool = False,
    **changes: Any,
) -> tuple[dict[str, Any], pd.DataFrame]:
    run = Run(
        made.run.path,
        dataclasses.replace(made.run.config, reduce=dataclasses.replace(made.run.config.reduce, **changes)),
    )
    chosen = given(table, tf_table, tf=tf, cutoff=cutoff, drop_values=drop_values)
    summary = instances.write(run, "attention", **chosen)
    assert all(path.exists() for path in instances.paths(run, "attention"))
    read = pd.read_csv(instances.paths(run, "attention")[0], sep="\t", keep_default_na=False)
    return summary, read.rename(columns={"#chrom1": "chrom1"})


def given(
    table: pd.DataFrame,
    tf_table: pd.DataFrame,
    *,
    tf: list[str] = TF,
    cutoff: float = -np.inf,
    drop_values: bool = False,
) -> dict[str, Any]:
    """What `instances.write` takes."""
    tfs = sorted({name for name in tf if name})
    of_tf = Units(tuple(tfs.index(name) if name else NONE for name in tf), len(tfs))
    rules = Rules(
        statistic="published",
        units=of_tf if len(tf_table) else Units.motifs(FILTERS),
        cutoff=cutoff,
        drop_values=drop_values,
        min_examples=10,
    )
    return {"table": table, "tf_table": tf_table, "tfs": tfs, "rules": rules, "cutoff": cutoff}


Found = tuple[int, int, int, int, float]


def brute_force(
    made: Made, interactions: list[tuple[set[int], set[int]]], *, keep: int, floor: float = -1.0
) -> list[Found]:
    """(interaction, filter a, filter b, row, score), by looking at every pair of sites of every example.

    interactions: the filters of both sides. Of equal site pairs the first counts, by place and then by filter.
    """
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    first_site = first_value = 0
    for row, (sites, places) in enumerate(made.scores.counts.tolist()):
        mine = sorted((place, motif) for motif, _, _, place in made.scores.site[first_site:][:sites].tolist())
        between = dict(
            zip(
                ((i, u) for i in range(places) for u in range(i + 1, places)),
                made.scores.value[first_value:][: places * (places - 1) // 2].tolist(),
                strict=True,
            )
        )
        first_site, first_value = first_site + sites, first_value + len(between)
        for number, (side_a, side_b) in enumerate(interactions):
            for place, a in mine:
                for other, b in mine:
                    if a in side_a and b in side_b and place != other:
                        value = between[min(place, other), max(place, other)]
                        if value >= floor and ((number, row) not in best or value > best[number, row][0]):
                            best[number, row] = value, a, b
    out: list[Found] = []
    for number in range(len(interactions)):
        found = sorted((-value, row, a, b) for (owner, row), (value, a, b) in best.items() if owner == number)
        out += [(number, a, b, row, -value) for value, row, a, b in found[:keep]]
    return out


def check(made: Made, read: pd.DataFrame, expected: list[Found]) -> None:
    example = [f"example {made.rows[row]}\\t" for *_, row, _ in expected]
    assert read["example"].tolist() == example
    assert list(zip(read["filter_a"], read["filter_b"], strict=True)) == [(a, b) for _, a, b, _, _ in expected]
    np.testing.assert_array_equal(read["score"].to_numpy(np.float32), np.float32([score for *_, score in expected]))


def filters_of(names: Any) -> list[set[int]]:
    return [{number for number, name in enumerate(TF) if name == one} for one in names]


def test_instances_are_the_strongest_of_all_examples(made: Made) -> None:
    table, tf_table = tables(tf=TF)
    summary, read = write(made, table, tf_table)
    top = tf_table[tf_table["called"]].head(3)
    members = list(zip(filters_of(top["tf_a"]), filters_of(top["tf_b"]), strict=True))
    assert max(len(a) * len(b) for a, b in members) > 2
    check(made, read, brute_force(made, members, keep=KEEP))
    shown = [name.replace("\t", "\\t") for name in top["tf_a"] + "|" + top["tf_b"]]
    assert list(dict.fromkeys(read["name"])) == shown
    assert (read["name"] == read["tf_a"] + "|" + read["tf_b"]).all()
    for row in read.itertuples():
        assert [TF[row.filter_a], TF[row.filter_b]] == [row.tf_a.replace("\\t", "\t"), row.tf_b.replace("\\t", "\t")]
    assert (read["filter_a"] > read["filter_b"]).any()
    assert (read["filter_a"] < read["filter_b"]).any()
    assert summary["bedpe_interactions"] == 3
    assert summary["bedpe_instances"] == len(read) == 3 * KEEP
    q = dict(zip(top["tf_a"] + "|" + top["tf_b"], top["q"], strict=True))
    assert read["q"].tolist() == [q[name.replace("\\t", "\t")] for name in read["name"]]


def test_both_sites_are_there_in_sequence_and_genome(made: Made) -> None:
    """The letters that a line tells, read from the genome, are active alone: all others may be unknown."""
    table, tf_table = tables(tf=TF)
    read = write(made, table, tf_table, bedpe_interactions=100, bedpe_instances=50)[1]
    assert set(read["strand1"]) == {"+", "-", "."}
    strands = set()
    for row in read.itertuples():
        example = int(row.example.split()[1].removesuffix("\\t"))
        placed = example % 7 != 0
        assert row.strand1 == row.strand2
        text = sequence.decode(made.data.tokens[example])
        backwards = row.strand1 == "-"
        starts = []
        for chrom, start, end, filter_ in (
            (row.chrom1, row.start1, row.end1, row.filter_a),
            (row.chrom2, row.start2, row.end2, row.filter_b),
        ):
            if placed:
                found = made.genome[chrom][start:end]
                found = found.translate(COMPLEMENT)[::-1] if backwards else found
                lead = (
                    made.data.coordinates.end[example] - end
                    if backwards
                    else start - made.data.coordinates.start[example]
                )
            else:
                assert (chrom, row.strand1) == (row.example, ".")
                found, lead = text[start:end], start
            assert found == text[lead : lead + len(found)]
            alone = sequence.encode("N" * lead + found + "N" * (LENGTH - lead - len(found)))
            with torch.inference_mode():
                active = made.model.pooled(torch.from_numpy(alone)[None])[0, filter_] > made.threshold[filter_]
            starts.append({POOL * cell for cell in np.flatnonzero(active.numpy()).tolist()})
            cell = (lead + PADDING) if lead else POOL * ((len(found) - WIDTH - POOL + 1 + PADDING) // POOL)
            assert cell in starts[-1]
            assert len(found) <= POOL + WIDTH - 1
            starts[-1] = {cell}
        assert row.distance == starts[1].pop() - starts[0].pop()
        strands.add((row.strand1, placed))
    assert strands == {("+", True), ("-", True), (".", True), (".", False)}


@pytest.mark.parametrize("tf", [TF, [""] * FILTERS])
def test_all_instances_are_those_of_every_tested_pair_whatever_the_blocks(
    made: Made, tf: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strongest of each pair, if as many are kept as there are examples, by example; called or not."""
    monkeypatch.setattr(instances, "ALL_ROWS", 7)
    monkeypatch.setattr(instances, "ALL_INSTANCES", 100)
    table, tf_table = tables(tf=tf, calls=2.0)
    _, every = write(made, table, tf_table, tf=tf, bedpe_interactions=1000, bedpe_instances=EXAMPLES)
    uncalled, tf_uncalled = tables(tf=tf, calls=-1.0)
    uncalled.loc[0, "q"] = np.nan  # not tested
    if len(tf_uncalled) == 0:
        every = every[every["name"] != "filter{}|filter{}".format(*uncalled.loc[0, ["filter_a", "filter_b"]])]
    total = instances.write_all(made.run, "attention", **given(uncalled, tf_uncalled, tf=tf))
    parquet, bedpe = (made.run.interactions("attention").with_name(f"attention{end}") for end in ALL_INSTANCES_ENDINGS)
    found = instances.read_bedpe(bedpe)
    assert total == len(found) == len(every) > 200
    keys = ["example", "name"]
    pd.testing.assert_frame_equal(
        *(each.sort_values(keys, ignore_index=True)[list(instances.COLUMNS)] for each in (found, every))
    )
    assert found["example"].drop_duplicates().tolist() == [f"example {row}\\t" for row in made.rows]
    read = pd.read_parquet(parquet)
    assert list(read.columns) == list(instances.COLUMNS)
    assert read["example"].str.replace("\t", "\\t").tolist() == found["example"].tolist()
    np.testing.assert_array_equal(read["score"], found["score"].to_numpy(np.float32))
    np.testing.assert_array_equal(read["start2"], found["start2"])


def test_no_tested_pair_has_no_instances(made: Made) -> None:
    table, tf_table = tables(tf=[""] * FILTERS)
    table["q"] = np.nan
    assert instances.write_all(made.run, "attention", **given(table, tf_table, tf=[""] * FILTERS)) == 0
    assert instances.read_bedpe(made.run.interactions("attention").with_name("attention.instances.bedpe")).empty


def strongest_filters(table: pd.DataFrame) -> list[tuple[set[int], set[int]]]:
    return [({row.filter_a}, {row.filter_b}) for row in table[table["called"]].head(3).itertuples()]


def test_filters_stand_in_where_no_tf_pair_is_named(made: Made) -> None:
    table, tf_table = tables(tf=["A"] * 5 + [""] * 5)
    assert tf_table.empty
    summary, read = write(made, table, tf_table, tf=["A"] * 5 + [""] * 5)
    check(made, read, brute_force(made, strongest_filters(table), keep=KEEP))
    assert (read["name"] == "filter" + read["filter_a"].astype(str) + "|filter" + read["filter_b"].astype(str)).all()
    assert summary["network_nodes"] == summary["network_edges"] == 0


def test_scores_below_the_cutoff_are_no_instances_when_values_are_cut(made: Made) -> None:
    table, tf_table = tables(tf=[""] * FILTERS)
    cutoff = float(np.float32(np.quantile(made.scores.value, 0.9)))
    read = write(made, table, tf_table, cutoff=cutoff, drop_values=True, bedpe_instances=50)[1]
    every = brute_force(made, strongest_filters(table), keep=50)
    expected = brute_force(made, strongest_filters(table), keep=50, floor=cutoff)
    assert 0 < len(expected) < len(every)
    check(made, read, expected)
    check(made, write(made, table, tf_table, cutoff=cutoff, bedpe_instances=50)[1], every)


def test_nothing_called_leaves_empty_files(made: Made) -> None:
    for names in (TF, [""] * FILTERS):
        table, tf_table = tables(tf=names, calls=-1.0)
        summary, read = write(made, table, tf_table)
        assert set(summary.values()) == {0}
        assert read.empty
        assert read.columns[0] == "chrom1"
    table, tf_table = tables(tf=TF)
    assert write(made, table, tf_table, bedpe_interactions=0)[1].empty


def test_each_partition_is_read_once_to_find_instances_and_once_for_their_sites(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    plain = ScoreStore.read

    def counted(self: ScoreStore, group: str, partition: int) -> SiteScores:
        seen.append((group, partition))
        return plain(self, group, partition)

    monkeypatch.setattr(ScoreStore, "read", counted)
    table, tf_table = tables(tf=TF)
    write(made, table, tf_table)
    assert seen[:4] == [("foreground", partition) for partition in range(4)]
    assert len(seen[4:]) == len(set(seen[4:])) > 0
    assert set(seen[4:]) <= set(seen[:4])


def test_the_network_holds_the_called_tf_pairs(made: Made) -> None:
    table, tf_table = tables(tf=TF, calls=0.1)
    summary = write(made, table, tf_table)[0]
    called = tf_table[tf_table["called"]]
    assert 0 < len(called) < len(tf_table)
    _, graphml, nodes, edges = instances.paths(made.run, "attention")
    graph = networkx.read_graphml(graphml)
    assert (summary["network_nodes"], summary["network_edges"]) == (graph.number_of_nodes(), graph.number_of_edges())
    read = pd.read_csv(edges, sep="\t")
    assert list(read.columns[:2]) == ["source", "target"]
    assert len(read) == graph.number_of_edges() == len(called)
    for ours, row in zip(called.itertuples(), read.itertuples(), strict=True):
        assert [row.source, row.target] == [ours.tf_a.replace("\t", "\\t"), ours.tf_b.replace("\t", "\\t")]
        for name in ("q", "p", "auc", "filter_pairs", "called_filter_pairs", "n_fg", "median_distance"):
            assert getattr(row, name) == getattr(ours, name) == graph.edges[row.source, row.target][name]
    for row in pd.read_csv(nodes, sep="\t").itertuples():
        filters = [number for number, name in enumerate(TF) if name.replace("\t", "\\t") == row.id]
        assert row.filters == len(filters)
        assert row.filter_names == ",".join(f"filter{number}" for number in filters)
        assert row.degree == graph.degree[row.id]
        mine = called[(called["tf_a"] == TF[filters[0]]) | (called["tf_b"] == TF[filters[0]])]
        assert row.best_q == mine["q"].min() == graph.nodes[row.id]["best_q"]
