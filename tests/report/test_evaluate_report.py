"""evaluate and report on a real small run, with filters named after the pool so that there is something to compare."""

import dataclasses
import itertools
import json
import re
import shutil

import numpy as np
import pytest

from satori_hpc.config import Config, toml
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import ArtefactError, ConfigError
from satori_hpc.evaluation import calls
from satori_hpc.evaluation.stage import evaluate
from satori_hpc.interactions import block, tables
from satori_hpc.interactions.named import names_of
from satori_hpc.interactions.stage import reduce
from satori_hpc.motifs import families, motif, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.parallel.world import Runtime
from satori_hpc.report import stage as report_stage
from satori_hpc.report.page import render
from satori_hpc.report.stage import gather, report
from satori_hpc.run import pipeline
from satori_hpc.run.layout import Run
from satori_hpc.scoring import store as score_store
from satori_hpc.sites import store as motif_store
from satori_hpc.sites.stage import motifs as motifs_stage
from tests.fixtures import tiny

RUNTIME = Runtime(device="cpu", threads=1)


def name_filters(run: Run, names: list[str]) -> None:
    """Give the filters that have a motif these names, in turn."""
    tf = motif_store.read_tf(run.motifs)
    tf["tf"] = [names[i % len(names)] for i in range(len(tf))]
    tf["named"], tf["q"] = True, 0.001
    motif_store.write(
        run.motifs,
        motifs=list(motif_store.read_motifs(run.motifs).values()),
        background=np.full(4, 0.25),
        filters=motif_store.read_filters(run.motifs).to_dict("list"),
        tf=tf.to_dict("list"),
        known=list(motif_store.read_known(run.motifs).values()),
    )


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    made = tiny_run("score", tmp_path_factory.mktemp("evaluate") / "run")
    assert len(motif_store.read_tf(made.motifs)) >= 6
    name_filters(made, [motif.name for motif in truth.read_pool(made.truth)])
    reduce(made, RUNTIME)
    return made


def write_tf(run, rows):
    """The TF table of hand-made (tf_a, tf_b, q, auc, called) rows."""
    names = ("tf_a", "tf_b", "q", "auc", "called")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    count = len(rows)
    levels = {"neg_log10_p": -np.log10(np.array(columns["q"], float)), "effect": columns["auc"]}
    filler = {
        **{name: [0] * count for name in tables.TF_COLUMNS if name not in names},
        "published_called": columns["called"],
        "p": columns["q"],
        **levels,
        "filter_pairs": [1] * count,
        "called_filter_pairs": [1] * count,
        "n_fg": [20] * count,
    }
    tables.write_tf(run.interactions("attention"), {**columns, **filler, "median_distance": [9.0] * count})


@pytest.fixture
def restored(run):
    """The run, whose tables a test may overwrite."""
    yield run
    reduce(run, RUNTIME)
    evaluate(run, RUNTIME)


def test_figures_stand_side_by_side(restored):
    run = restored
    gold = truth.read_pairs(run.truth)
    pool = [motif.name for motif in truth.read_pool(run.truth)]
    wrong = [pair for pair in calls.pairs_of(pool) if pair not in calls.keys(gold)]
    # two right (one written in another case), one wrong, one with a TF outside the pool, one wrong and not called
    write_tf(
        run,
        [
            (*gold[0], 1e-9, 0.8, True),
            (gold[1][1].upper(), gold[1][0].lower(), 1e-8, 0.7, True),
            (*wrong[0], 1e-7, 0.6, True),
            ("ELSEWHERE", pool[0], 1e-6, 0.6, True),
            (*wrong[1], 0.5, 0.5, False),
        ],
    )
    summary = evaluate(run, RUNTIME)
    content = json.loads(run.evaluation.read_text())
    assert content["truth"] == {
        "tfs": 6,
        "pairs": 4,
        "decoys": 0,
        "possible_pairs": 15,
        "base_rate": 4 / 15,
        "named_tfs": 6,
        "recall_ceiling": 1.0,
        "unmet": None,
    }
    scores = content["methods"]["attention"]
    assert (scores["called"], scores["correct"], scores["outside_pool"]) == (4, 2, 1)
    assert (scores["precision"], scores["recall"], scores["f1"]) == (0.5, 0.5, 0.5)
    # ranks within the pool: right, right, wrong, wrong, then 11 pairs that share the last rank, two of them right
    assert scores["aupr"] == pytest.approx(1 / 4 + 1 / 4 + (2 / 4) * (4 / 15))
    assert scores["curve"]["recall"][-1] == 1
    assert content["call_all"]["f1"] == pytest.approx(2 * (4 / 15) / (1 + 4 / 15))
    assert 0 <= content["cooccurrence"]["aupr"] <= 1
    assert (
        summary["attention"]
        == "4 called, precision 0.500, recall 0.500, F1 0.500, AUPR 0.633 (contrasts-two-way; by effect 0.633)"
    )
    assert summary["base rate"] == pytest.approx(0.267)
    assert "every pair called" in summary
    assert "co-occurrence" in summary


def test_cooccurrence_finds_the_implanted_pairs(run):
    evaluate(run, RUNTIME)
    found = json.loads(run.evaluation.read_text())["cooccurrence"]
    assert found["aupr"] > 0.8  # every positive holds one listed pair within range
    assert found["precision"] > 0.7
    assert found["sequences"] == int(pipeline.states(run)["prepare"].record.summary["test_positives"])


def test_nothing_tested_is_flagged(restored):
    write_tf(restored, [])
    summary = evaluate(restored, RUNTIME)
    scores = json.loads(restored.evaluation.read_text())["methods"]["attention"]
    assert scores["nothing_called"]
    assert scores["aupr"] == pytest.approx(4 / 15)  # all tied: the base rate
    assert summary["attention"].startswith("nothing called")
    report(restored, RUNTIME)
    assert "It calls nothing" in restored.report.read_text()


def test_without_a_truth_there_are_the_yardsticks_alone(restored):
    hidden = restored.path / "hidden"
    restored.truth.rename(hidden)
    try:
        summary = evaluate(restored, RUNTIME)
        content = json.loads(restored.evaluation.read_text())
        assert content["truth"] is None
        assert "no known pairs" in content["reason"]
        assert summary.pop("truth") == content["reason"]
        lines = content["yardsticks"]["tests"]
        assert list(summary) == [f"{line['test']}, {line['range_bp']} bp" for line in lines]
        assert all("scores" not in line for line in lines)
        report(restored, RUNTIME)
        page = restored.report.read_text()
        assert 'id="evaluation"' not in page
        assert 'id="yardsticks"' in page
        assert 'id="interactions-0"' in page
    finally:
        hidden.rename(restored.truth)


def test_yardsticks_stand_beside_the_methods(restored):
    known = dataclasses.replace(restored.config.motifs, database="truth/motifs.meme")
    run = Run(path=restored.path, config=dataclasses.replace(restored.config, motifs=known))
    gold = truth.read_pairs(run.truth)
    write_tf(run, [(*gold[0], 1e-9, 0.8, True), ("ELSEWHERE", gold[0][0], 1e-6, 0.6, True)])
    summary = evaluate(run, RUNTIME)
    content = json.loads(run.evaluation.read_text())["yardsticks"]
    assert (content["sequences"], content["labelled"], content["labels"]) == (600, 600, 1)
    tests = {(line["test"], line["range_bp"]): line for line in content["tests"]}
    kinds = ("co-occurrence in positives", "positives against negatives", "score test")
    assert list(tests) == [(test, reach) for test in kinds for reach in (20, 45)]
    # Positives hold a listed pair, negatives a motif alone: close pairs are found, but the count tells the class.
    assert tests["positives against negatives", 20]["scores"]["correct"] == 4
    for line in tests.values():
        keys = calls.keys(map(tuple, line["pairs"]))
        assert line["called"] == len(keys) <= line["tested"]
        assert line["scores"]["called"] == line["called"]
        both = [list(pair) for pair in sorted(keys & calls.keys([gold[0]]))]
        assert line["methods"] == {"attention": both}
    assert summary["score test, 45 bp"].startswith(f"{tests['score test', 45]['called']} of ")
    report(run, RUNTIME)
    assert "Found without a network" in run.report.read_text()


def test_where_no_pair_interacts_every_call_is_false(restored):
    run = restored
    kept = (run.truth / "pairs.tsv").read_text()
    try:
        (run.truth / "pairs.tsv").write_text(kept.replace("\ttrue\n", "\tdecoy\n"))
        decoys = truth.read_pairs(run.truth, "decoy")
        write_tf(run, [(*decoys[0], 1e-9, 0.8, True), (*decoys[1], 0.5, 0.8, False)])
        summary = evaluate(run, RUNTIME)
        content = json.loads(run.evaluation.read_text())
        assert (content["truth"]["pairs"], content["truth"]["decoys"], content["truth"]["base_rate"]) == (0, 4, 0)
        scores = content["methods"]["attention"]
        assert (scores["called"], scores["correct"], scores["decoys"]) == (1, 0, 1)
        assert [scores[key] for key in ("recall", "f1", "aupr", "aupr_effect")] == [None] * 4
        assert summary["attention"].startswith("1 called, all false")
        report(run, RUNTIME)
        page = run.report.read_text()
        assert "No pair interacts in this set, so every call is false; called: attention 1." in page
        assert "Infinity" not in page
    finally:
        (run.truth / "pairs.tsv").write_text(kept)


def test_missing_tables_are_an_error_with_the_mending_command(restored):
    for path in restored.interactions("attention").parent.iterdir():
        path.unlink()
    with pytest.raises(ArtefactError, match="satori-hpc reduce"):
        evaluate(restored, RUNTIME)
    assert not restored.evaluation.exists()


def test_report_shows_what_the_run_found(run):
    evaluate(run, RUNTIME)
    summary = report(run, RUNTIME)
    page = run.report.read_text()
    for section in ("interactions-0", "evaluation", "model", "motifs", "attention", "provenance"):
        assert f'id="{section}"' in page
    rows = json.loads(re.search(r'id="data-tf-0">(.*?)</script>', page).group(1))["rows"]
    table = tables.read_tf(run.interactions("attention"))
    assert len(rows) == len(table) == summary["TF pairs"] > 0
    assert {(row[0], row[1]) for row in rows} == set(zip(table["tf_a"], table["tf_b"], strict=True))
    assert "600 simulated sequences of 120 bp" in page
    assert run.path.name in page
    assert len(page) < 2e6


def test_families_are_tested_judged_and_compared_as_tfs_are(run, tmp_path):
    """One family of all implanted TFs but two: pairs within it are no pairs, in calls, truth and baselines."""
    shutil.copytree(run.path, tmp_path / "run")
    pool = [motif.name for motif in truth.read_pool(run.truth)]
    unit_of = families.namer("family")
    settings = toml.override(run.config, "reduce.level=family")
    made = Run(tmp_path / "run", settings)
    reduce(made, RUNTIME)
    evaluate(made, RUNTIME)
    units = {unit_of(name) for name in pool}
    table = tables.read_tf(made.interactions("attention"))
    assert len(table) > 0
    assert {*table["tf_a"], *table["tf_b"]} <= units
    gold = {tuple(sorted(map(unit_of, pair))) for pair in truth.read_pairs(run.truth)}
    content = json.loads(made.evaluation.read_text())
    assert content["truth"]["tfs"] == len(units)
    assert content["truth"]["pairs"] == len([pair for pair in gold if pair[0] != pair[1]])
    assert content["yardsticks"]["tfs"] < json.loads(evaluated(run))["yardsticks"]["tfs"]
    with pytest.raises(ConfigError, match="pairs of TFs, .reduce. level = 'family' tests pairs of families"):
        toml.parse(toml.render(toml.override(settings, "evaluate.known=x.tsv")), Config, name="run.toml")


def evaluated(run):
    evaluate(run, RUNTIME)
    return run.evaluation.read_text()


def test_no_count_of_a_tf_pair_exceeds_the_examples(run):
    """Six names for twelve filters: several filter pairs are of a TF pair, which counts an example once."""
    table, pairs = tables.read_tf(run.interactions("attention")), tables.read(run.interactions("attention"))
    assert table["filter_pairs"].max() > 1
    examples = len(score_store.open_complete(run.scores("attention")).examples("foreground"))
    assert 0 < table["n_fg"].min() <= table["n_fg"].max() <= examples
    store = score_store.open_complete(run.scores("attention"))
    named = names_of(run.motifs, store)
    laid, _ = block.read_scores(store, named.units("largest"), "foreground", 0, named.units("largest").pairs)
    pooled = dict(zip(itertools.combinations(named.tfs, 2), (~np.isnan(laid)).sum(axis=0).tolist(), strict=True))
    for row in table.to_dict("records"):
        same = {row["tf_a"], row["tf_b"]}
        own = [each for each in pairs.to_dict("records") if {each["tf_a"], each["tf_b"]} == same]
        assert sum(each["tested"] for each in own) == row["filter_pairs"]
        counts = [each["n_fg"] for each in own]
        # Of sites that overlap the strongest alone counts for a TF, all for pairs of filters.
        assert row["n_fg"] <= pooled[row["tf_a"], row["tf_b"]]
        assert max(counts) <= pooled[row["tf_a"], row["tf_b"]] <= min(sum(counts), examples)


def test_report_is_the_same_twice(run):
    evaluate(run, RUNTIME)
    report(run, RUNTIME)
    first = run.report.read_bytes()
    report(run, RUNTIME)
    assert run.report.read_bytes() == first


def test_known_motifs_are_gathered_as_they_lie_below_the_filters(run):
    known, rows = motif_store.read_known(run.motifs), motif_store.read_tf(run.motifs).set_index("filter")
    gathered = gather(run, RUNTIME).motifs
    assert {each.number for each in gathered} == set(rows.index)
    for each in gathered:
        row = rows.loc[each.number]
        assert (each.p, each.q, each.chance, each.bits) == (row["p"], row["q"], row["chance"], row["bits"])
        assert each.match is not None
        assert known[each.number].name == row["motif_id"]
        ppm = known[each.number].ppm
        np.testing.assert_array_equal(each.match, motif.reverse_complement(ppm) if row["strand"] == "-" else ppm)
        aligned = slice(max(each.offset, 0), max(each.offset + len(each.ppm), 0))
        assert motif.information(each.match[aligned]).sum() >= row["bits"] - 1e-5  # flanks of the filter are cut off
    assert {"+", "-"} == set(rows["strand"])


def test_gathered_values_are_those_of_the_stores(run):
    evaluate(run, RUNTIME)
    data = report_stage.gather(run, RUNTIME)
    method = data.methods[0]
    named = [row for _, row in report_stage._named(method.filter_pairs).iterrows() if row["called"]]
    assert len(method.distances) == min(len(named), report_stage.DISTANCES)
    for row, (_, distance) in zip(named, method.distances, strict=False):
        assert len(distance) == row["n_fg"]
        assert np.median(distance) == row["median_distance"]
    # attention: rows of a softmax, largest over heads
    assert data.attention_map.values.sum(axis=1).min() >= 1 - 1e-5
    np.testing.assert_allclose(data.attention_sample.sum(axis=-1), 1, rtol=1e-5)
    assert data.training.values[data.training.best] == data.training.values.max()
    assert len(data.records) == 4  # only the stages that the pipeline recorded


def test_title_and_all_settings_come_from_run_toml_and_the_page_is_limited(run):
    evaluate(run, RUNTIME)
    settings = dataclasses.replace(run.config.report, title="Pairs <of> promoters")
    changed = Run(path=run.path, config=dataclasses.replace(run.config, report=settings))
    data = gather(changed, RUNTIME)
    assert toml.parse(data.settings, Config, name="page") == changed.config
    page = render(dataclasses.replace(data, max_rows=3, max_logos=2))
    assert "<h1>Pairs &lt;of&gt; promoters</h1>" in page
    assert page.count('class="logo"') == 4  # of two filters and their known motifs
    assert page.count(", aligned with filter ") == 2
    rows = json.loads(re.search(r'id="data-filter-0">(.*?)</script>', page).group(1))
    assert len(rows["rows"]) == 3
    assert rows["total"] > 3


def of_collection(run, path, *names) -> Run:
    """A copy of the run whose filters are named after the pool's motifs, by these names, several of each TF."""
    shutil.copytree(run.path, path)
    known = [
        Motif(name.format(tf=item.name.upper(), id=item.identifier), item.ppm[skip:], sites=500)
        for item in truth.read_pool(run.truth)
        for skip, name in enumerate(names)
    ]
    readers.write_meme(path / "known.meme", known, motif.UNIFORM)
    copy = tiny.change(Run.open(path), motifs={"database": "known.meme", "max_match_q": 1.0, "min_match_bits": 0.0})
    motifs_stage(copy, RUNTIME)
    reduce(copy, RUNTIME)
    return copy


@pytest.mark.parametrize(
    "names",
    [
        ("{tf}.H12CORE.0.P.B", "{tf}.H12CORE.1.SM.B", "{tf}.H12CORE.2.S.C"),  # HOCOMOCO
        ("{id}.{tf}", "{tf}(var.2)", "{tf}_full"),
    ],
)
def test_subtypes_are_one_tf_and_are_compared_with_the_implanted_ones(run, tmp_path, names):
    copy = of_collection(run, tmp_path / "copy", *names)
    pool = {item.name.upper() for item in truth.read_pool(run.truth)}
    tf = motif_store.read_tf(copy.motifs)
    assert set(tf["tf"]) <= pool
    assert not set(tf["motif_id"]) & pool  # the motif keeps its own name
    pairs = tables.read_tf(copy.interactions("attention"))
    assert len(pairs)
    assert {*pairs["tf_a"], *pairs["tf_b"]} <= pool
    assert (pairs["tf_a"] != pairs["tf_b"]).all()
    evaluate(copy, RUNTIME)
    known = json.loads(copy.evaluation.read_text())["truth"]
    assert known["named_tfs"] == len(set(tf["tf"]))
    assert known["recall_ceiling"] == calls.recall_ceiling(truth.read_pairs(copy.truth), named=set(tf["tf"])) > 0
    assert known["unmet"] is None


def test_names_that_tell_no_tf_are_said_where_the_user_looks(run, tmp_path, caplog):
    copy = of_collection(run, tmp_path / "copy", "GM.5.0.Mixed.{id}")
    assert "6 of 6 motifs have names that tell no TF ('GM.5.0.Mixed." in caplog.text
    summary = evaluate(copy, RUNTIME)
    known = json.loads(copy.evaluation.read_text())["truth"]
    assert (known["recall_ceiling"], known["named_tfs"]) == (0, 0)
    assert "No filter is named after an implanted TF" in known["unmet"]
    assert known["unmet"] == summary["names"]
    assert known["unmet"] in caplog.text
    report(copy, RUNTIME)
    assert "No filter is named after an implanted TF" in copy.report.read_text()


def test_names_of_uniprot_are_compared_without_the_species_and_said(run, tmp_path, caplog):
    copy = of_collection(run, tmp_path / "copy", "{tf}_HUMAN.H11MO.0.A", "{tf}_MOUSE.H11MO.0.A")
    assert "names of UniProt's entries (" in caplog.text
    assert all(name.endswith("_HUMAN") for name in motif_store.read_tf(copy.motifs)["tf"])
    evaluate(copy, RUNTIME)
    assert json.loads(copy.evaluation.read_text())["truth"]["recall_ceiling"] > 0
