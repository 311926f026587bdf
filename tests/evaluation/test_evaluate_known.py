"""evaluate against tables of known interactions, on a real small run whose filters bear the names of TFs."""

import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from satori_hpc import cli
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.evaluation import calls, known_tables
from satori_hpc.evaluation.stage import evaluate
from satori_hpc.interactions import tables
from satori_hpc.parallel.world import Runtime
from satori_hpc.report.stage import report
from satori_hpc.run import execute, pipeline
from satori_hpc.run.layout import Run
from satori_hpc.sites import store as motif_store
from satori_hpc.sites.stage import motifs as motifs_stage
from tests.fixtures import tiny
from tests.report.test_evaluate_report import name_filters, write_tf

RUNTIME = Runtime(device="cpu", threads=1)
NAMES = ["GATA1::TAL1", "Tal1", "LMO2", "FOXM1(var.2)", "FOXM1", "MA0148.5", "STAT3", "<i>x</i>"]


def named_motifs(run: Run, runtime: Runtime):
    """The stage, and then names for the filters."""
    summary = motifs_stage(run, runtime)
    name_filters(run, NAMES)
    return summary


@pytest.fixture(scope="module")
def base(tiny_run, tmp_path_factory) -> Run:
    """A tiny run up to reduce."""
    run = tiny_run("train", tmp_path_factory.mktemp("known") / "run")
    for stage in ("motifs", "score", "reduce"):
        execute.execute(run, stage, RUNTIME, function=named_motifs if stage == "motifs" else None)
    assert set(motif_store.read_tf(run.motifs)["tf"]) == set(NAMES)
    return run


@pytest.fixture
def run(base, tmp_path) -> Run:
    """A copy of it."""
    shutil.copytree(base.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def with_known(run: Run, content: str, **settings) -> Run:
    """The run with a table of known interactions beside its run.toml."""
    (run.path / "known.tsv").write_text(content)
    return tiny.change(run, evaluate={"known": ("known.tsv",), "known_permutations": 99, **settings})


def evaluated(run: Run) -> dict:
    evaluate(run, RUNTIME)
    content = json.loads(run.evaluation.read_text())
    assert content["format_version"] == 6
    return content["known"]["tables"][0]


def figures(table: dict, reading: str = "direct") -> tuple[int, ...]:
    found = table["methods"]["attention"][reading]
    return tuple(found[key] for key in ("tested", "called", "known", "both"))


PAIRS = [
    ("GATA1::TAL1", "LMO2", 1e-9, 0.8, True),
    ("GATA1::TAL1", "Tal1", 1e-8, 0.8, True),  # one is part of the other
    ("FOXM1", "STAT3", 0.4, 0.6, False),
    ("FOXM1(var.2)", "STAT3", 1e-7, 0.7, True),  # the same TF again
    ("FOXM1", "FOXM1(var.2)", 1e-7, 0.7, True),  # a TF with itself
    ("LMO2", "STAT3", 0.5, 0.5, False),
    ("MA0148.5", "LMO2", 1e-6, 0.6, True),  # not in the table
    ("<i>x</i>", "LMO2", 0.9, 0.5, False),
]
KNOWN = "tal1\tlmo2\nFoxm1\tStat3\nGATA1\tTAL1\nLDB1\tLMO2\nLDB1\tSTAT3\nLDB1\tFOXM1\n"


def test_composites_variants_and_case(run):
    write_tf(run, PAIRS)
    table = evaluated(with_known(run, KNOWN))
    assert table["found"] == sorted(set(NAMES) - {"MA0148.5", "<i>x</i>"})
    assert table["missing"] == ["<i>x</i>", "MA0148.5"]
    assert (table["rows"], table["used"], table["genes"]) == (6, 6, 6)
    # of GATA1::TAL1-LMO2, FOXM1-STAT3 and LMO2-STAT3; the last has LDB1 in common, as FOXM1-STAT3 has
    assert figures(table) == (3, 2, 2, 2)
    assert figures(table, "shared") == (3, 2, 2, 1)
    method = table["methods"]["attention"]
    assert (method["not_in_table"], method["not_in_table_called"]) == (2, 1)
    assert (method["direct"]["precision"], method["direct"]["fold"]) == (1, 1.5)
    assert method["direct"]["p"] == pytest.approx(1 / 3)
    rows = known_tables.read_pairs(run.known_pairs("attention"))
    assert list(zip(rows["tf_a"], rows["tf_b"], rows["reading"], rows["line"].fillna(0), strict=True)) == [
        ("GATA1::TAL1", "LMO2", "direct", 1),
        ("FOXM1(var.2)", "STAT3", "direct", 2),
        ("FOXM1(var.2)", "STAT3", "shared", 0),
    ]
    assert rows["evidence"][2] == "1 in common: LDB1"


def test_composites_as_names_of_their_own_and_case(run):
    write_tf(run, PAIRS)
    table = evaluated(with_known(run, KNOWN, known_composites="literal"))
    assert "GATA1::TAL1" in table["missing"]
    assert figures(table) == (2, 1, 1, 1)
    table = evaluated(with_known(run, KNOWN, known_case=True))
    assert table["found"] == ["FOXM1", "FOXM1(var.2)", "GATA1::TAL1", "LMO2", "STAT3"]
    assert figures(table)[3] == 0


def test_names_are_translated_on_both_sides(run):
    write_tf(run, PAIRS)
    (run.path / "names.txt").write_text("MA0148\tFOXA1\n3169\tFOXA1\n4005\tLMO2\n")
    table = evaluated(with_known(run, "3169\t4005\nx\ty\n", known_names="names.txt"))
    assert table["found"] == ["LMO2", "MA0148.5"]
    assert figures(table) == (1, 1, 1, 1)


def test_no_name_in_common_is_an_error_that_shows_both_sides(run):
    changed = with_known(run, "2623\t6886\n4005\t9606\n")
    with pytest.raises(
        InputError, match=r"(?s)known\.tsv \(two columns\) has '2623', '6886', '4005'.*'FOXM1'.*known_names"
    ):
        evaluate(changed, RUNTIME)
    assert not run.evaluation.exists()
    assert not run.known_pairs("attention").exists()
    (run.path / "known.tsv").unlink()
    with pytest.raises(InputError, match=r"(?s)run\.toml.*known\.tsv"):
        evaluate(changed, RUNTIME)


def test_a_run_whose_filters_have_no_names_has_nothing_to_compare(run):
    tf = motif_store.read_tf(run.motifs)
    name_filters(run, NAMES)
    tf["named"] = False
    motif_store.write(
        run.motifs,
        motifs=list(motif_store.read_motifs(run.motifs).values()),
        background=np.full(4, 0.25),
        filters=motif_store.read_filters(run.motifs).to_dict("list"),
        tf=tf.to_dict("list"),
        known=list(motif_store.read_known(run.motifs).values()),
    )
    write_tf(run, [])
    table = evaluated(with_known(run, KNOWN))
    assert (table["found"], table["missing"], figures(table)) == ([], [], (0, 0, 0, 0))
    assert table["methods"]["attention"]["direct"]["p_permuted"] == 1


def test_the_page_shows_it_with_names_escaped(run):
    hostile = [("<i>x</i>", "LMO2", 1e-9, 0.8, True), *PAIRS[:-1]]
    write_tf(run, hostile)
    changed = with_known(run, KNOWN + "<i>x</i>\tLMO2\n")
    evaluate(changed, RUNTIME)
    report(changed, RUNTIME)
    page = run.report.read_text()
    assert page.count('id="known"') == 1
    assert '<li><a href="#known">' in page
    assert "<i>x" not in page
    assert "known.tsv lists 3 of the 3 pairs called by attention" in page
    assert 'id="data-support-0"' in page
    plain = tiny.change(changed, evaluate={"known": ()})
    summary = evaluate(plain, RUNTIME)
    assert not run.known_pairs("attention").exists()
    assert json.loads(run.evaluation.read_text())["known"] is None
    assert not any("known" in key for key in summary)
    report(plain, RUNTIME)
    assert 'id="known"' not in run.report.read_text()


def test_truth_written_as_a_table_is_found_and_permuted_names_are_not(base, tmp_path):
    """20 TFs, 40 interacting pairs: half of these called, and a tenth of the others."""
    settings = tiny.tiny_config()
    simulated = dataclasses.replace(settings.prepare.simulated, tfs=20, pairs=40, examples=200)
    made = tiny.make_run(
        tmp_path / "run",
        dataclasses.replace(settings, prepare=dataclasses.replace(settings.prepare, simulated=simulated)),
    )
    execute.execute(made, "prepare", RUNTIME)
    shutil.copytree(base.motifs, made.motifs)
    pool = [motif.name for motif in truth.read_pool(made.truth)]
    gold = truth.read_pairs(made.truth)
    rng = np.random.default_rng(1)
    rows = []
    for a, b in calls.pairs_of(pool):
        called = bool(rng.random() < (0.5 if (a, b) in calls.keys(gold) else 0.1))
        rows.append((a, b, 0.01 if called else 0.5, 0.6, called))
    write_tf(made, rows)
    frame = motif_store.read_tf(made.motifs)
    filters = motif_store.read_filters(made.motifs)
    many = {name: [frame[name][0]] * len(pool) for name in frame} | {"tf": [name.lower() for name in pool]}
    motif_store.write(
        made.motifs,
        motifs=list(motif_store.read_motifs(made.motifs).values()),
        background=np.full(4, 0.25),
        filters=filters.to_dict("list"),
        tf={**many, "named": [True] * len(pool)},
        known=[motif_store.read_known(made.motifs)[number] for number in many["filter"]],
    )
    trrust = "".join(f"{a}\t{b}\tActivation\t{number}\n" for number, (a, b) in enumerate(gold))
    # literal, as the evaluation against the truth takes them: the pool has composites
    table = evaluated(with_known(made, trrust, known_permutations=999, known_composites="literal"))
    found = table["methods"]["attention"]["direct"]
    assert (table["format"], found["tested"], found["known"]) == ("TRRUST", 190, 40)
    assert found["both"] == json.loads(made.evaluation.read_text())["methods"]["attention"]["correct"]
    assert found["p"] < 1e-5
    assert found["p_permuted"] == 1 / 1000
    assert found["fold"] > 2
    # the same table with its names given to other TFs says nothing; over seeds its p-values are spread
    values = []
    for seed in range(20):
        other = dict(zip(pool, np.random.default_rng([7, seed]).permutation(pool), strict=True))
        shuffled = "".join(f"{other[a]}\t{other[b]}\tActivation\t1\n" for a, b in gold)
        values.append(evaluated(with_known(made, shuffled))["methods"]["attention"]["direct"]["p_permuted"])
    assert np.mean(np.array(values) <= 0.05) <= 0.2
    assert 0.3 < np.mean(values) < 0.75


def call(*arguments, code: int = 0) -> str:
    result = CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def tell(run: Run, *tables: Path, columns: tuple[str, ...] = (), code: int = 0) -> str:
    """Set tables of known interactions, and their columns, in run.toml."""
    return call(
        "set",
        run.path,
        f"evaluate.known={','.join(map(str, tables))}",
        f"evaluate.known_columns={list(columns)}",
        code=code,
    )


def test_the_tables_of_run_toml_are_read_and_compared(run, tmp_path):
    first, second, names = tmp_path / "a.tsv", tmp_path / "b.txt.gz", tmp_path / "names.tsv"
    first.write_text(KNOWN)
    second.write_bytes(gzip.compress(b"n\tx\ty\n1\t4005\tSTAT3\n"))
    names.write_text("4005\tLMO2\n")
    config = run.config_file
    config.write_text("# mine\n" + config.read_text())
    tell(run, first)
    said = call("evaluate", run.path, "--no-progress")
    assert "a.tsv (two columns, 6 rows)" in said
    assert Run.open(run.path).config.evaluate.known == (str(first),)
    assert config.read_text().startswith("# mine\n")
    assert "no complete stage becomes stale" in tell(run, first)
    assert "up to date" in call("evaluate", run.path)
    assert "now stale: evaluate" in tell(run, first, second, columns=("", "x,y"))
    call("set", run.path, f"evaluate.known_names={names}")
    call("evaluate", run.path)
    settings = Run.open(run.path).config.evaluate
    assert settings.known == (str(first), str(second))
    assert settings.known_columns == ("", "x,y")
    assert settings.known_names == str(names)
    content = json.loads(run.evaluation.read_text())["known"]["tables"]
    assert [table["table"] for table in content] == ["a.tsv", "b.txt.gz"]
    assert content[1]["found"] == ["LMO2", "STAT3"]
    record = json.loads(run.record("evaluate").read_text())
    assert set(record["sources"]) == {str(first), str(second), str(names)}
    assert "interactions/attention.known.tsv" in record["files"]
    assert call("status", run.path).count("known.tsv") == 1
    first.write_text(KNOWN + "LMO2\tSTAT3\n")
    state = pipeline.states(Run.open(run.path))["evaluate"]
    assert state.state == "stale"
    assert "a.tsv has changed" in state.reason
    call("evaluate", run.path)
    call("verify", run.path)


def test_tables_that_are_refused_change_nothing(run, tmp_path):
    before = run.config_file.read_text()
    table = tmp_path / "a.tsv"
    table.write_text(KNOWN)
    assert "1 entries for 0 tables" in tell(run, columns=("1,2",), code=1)
    assert "2 entries for 1 tables" in tell(run, table, columns=("1,2", "1,2"), code=1)
    assert "twice" in tell(run, table, table, code=1)
    assert run.config_file.read_text() == before
    tell(run, tmp_path / "none")
    assert f"{tmp_path / 'none'}: correct known or known_names" in call("evaluate", run.path, code=1)


BAD = {
    "unclear": ("GATA1\tliver\nLMO2\tblood\n", "no layout that is known"),
    "other names": ("ENSP00000000233\tENSP00000314067\n", "has 'ENSP00000000233', 'ENSP00000314067', Ensembl proteins"),
    "a bad row": (KNOWN + "LMO2\n", "line 7: 1 columns"),
    "nothing": ("", "empty"),
}


@pytest.fixture(scope="module")
def judged(base, tmp_path_factory) -> Run:
    """A run that is compared with a table."""
    path = tmp_path_factory.mktemp("judged") / "run"
    shutil.copytree(base.path, path)
    (path / "good.tsv").write_text(KNOWN)
    tell(Run.open(path), path / "good.tsv")
    call("evaluate", path)
    return Run.open(path)


def files_of(run: Run) -> dict[str, tuple[int, bytes]]:
    """What is in the folders of a run that evaluate writes to; times tell whether it was written again."""
    found = [run.evaluation, run.record("evaluate"), *run.interactions("attention").parent.iterdir()]
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in found}


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD.keys())
def test_a_table_that_is_refused_leaves_everything_as_it_was(judged, tmp_path, content, said):
    before = files_of(judged)
    bad = tmp_path / "bad.tsv"
    bad.write_text(content)
    good = tmp_path / "good.tsv"
    good.write_text(KNOWN)
    for given, options in (([bad], []), ([good, bad], ["--force"])):
        tell(judged, *given)
        assert said in call("evaluate", judged.path, *options, code=1)
        assert files_of(judged) == before
    tell(judged, judged.path / "good.tsv")
    told = call("status", judged.path)
    assert "evaluate   complete" in told
    assert "bad.tsv" not in told
    assert "up to date" in call("evaluate", judged.path)


def test_a_bad_table_that_stands_in_run_toml_leaves_the_evaluation(run):
    first = with_known(run, KNOWN)
    execute.execute(first, "evaluate", RUNTIME)
    before = files_of(first)
    (run.path / "bad.tsv").write_text(BAD["unclear"][0])
    changed = tiny.change(first, evaluate={"known": ("known.tsv", "bad.tsv")})
    with pytest.raises(InputError, match="no layout that is known"):
        execute.execute(changed, "evaluate", RUNTIME, force=True)
    assert files_of(changed) == before


def test_tfs_and_their_targets_from_a_database(run, tmp_path):
    rows = [("LMO2", "STAT3"), ("STAT3", "FOXM1"), *((tf, f"TARGET{number}") for number, tf in enumerate(NAMES))]
    dorothea = tmp_path / "dorothea.csv"
    dorothea.write_text("tf,confidence,target,mor\n" + "".join(f"{a},A,{b},1\n" for a, b in rows))
    tell(run, dorothea)
    said = call("evaluate", run.path)
    assert "dorothea.csv (DoRothEA, 10 rows)" in said
    assert "8 of 8" in said
    table = json.loads(run.evaluation.read_text())["known"]["tables"][0]
    assert (table["format"], table["directed"], table["rows"], table["excluded_records"]) == ("DoRothEA", True, 10, {})
    assert figures(table)[2] == 2
    assert figures(table, "shared")[2] == 0


def test_columns_that_are_told_go_with_their_table_or_neither(judged, tmp_path):
    before = files_of(judged)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("n,pair\n1,GATA1::TAL1-LMO2\n2,STAT3-FOXM1\n")
    tables = judged.path / "good.tsv", pairs
    tell(judged, *tables, columns=("", "pair,x"))
    assert "names no two columns" in call("evaluate", judged.path, code=1)
    assert files_of(judged) == before
    tell(judged, *tables, columns=("", "pair"))
    call("evaluate", judged.path)
    assert Run.open(judged.path).config.evaluate.known_columns == ("", "pair")
    table = json.loads(judged.evaluation.read_text())["known"]["tables"][1]
    assert (table["rows"], table["used"]) == (2, 2)
    assert table["found"] == ["FOXM1", "FOXM1(var.2)", "GATA1::TAL1", "LMO2", "STAT3"]


def test_every_table_has_columns_of_its_own(run, tmp_path):
    files = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    tell(run, *files, columns=("2,3", "2,3"))
    assert Run.open(run.path).config.evaluate.columns == ("2,3", "2,3")
    tell(run, *files, columns=("3,2",))
    again = Run.open(run.path).config.evaluate
    assert again.known == tuple(map(str, files))
    assert again.columns == ("3,2", "")
    tell(run, *files, columns=("3,2",))
    assert Run.open(run.path).config.evaluate == again


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"known": ("a", "a")}, "twice"),
        ({"known": ("",)}, "empty name"),
        ({"known": ("a",), "known_columns": ("", "1,2")}, "2 entries for 1 tables"),
        ({"known_organism": "human"}, "taxon number"),
        ({"known_permutations": 0}, "at least 1"),
        ({"known_composites": "half"}, "parts, literal"),
    ],
)
def test_options_that_cannot_be(run, settings, said):
    with pytest.raises(ConfigError, match=said):
        tiny.change(run, evaluate=settings)


def test_tables_of_one_name_are_told_apart(run):
    write_tf(run, PAIRS)
    for folder in ("a", "b"):
        (run.path / folder).mkdir()
        (run.path / folder / "k.tsv").write_text(KNOWN)
    changed = tiny.change(run, evaluate={"known": ("a/k.tsv", "b/k.tsv"), "known_permutations": 9})
    evaluate(changed, RUNTIME)
    content = json.loads(run.evaluation.read_text())["known"]["tables"]
    assert [table["table"] for table in content] == ["a/k.tsv", "b/k.tsv"]
    assert set(pd.read_csv(run.known_pairs("attention"), sep="\t")["table"]) == {"a/k.tsv", "b/k.tsv"}


def test_relative_tables_of_subruns_are_those_of_the_run(run):
    from satori_hpc import config

    changed = tiny.change(run, evaluate={"known": ("known.tsv",), "known_names": "names.tsv"})
    rooted = config.rooted(changed.config, Path("/somewhere"))
    assert rooted.evaluate.known == ("/somewhere/known.tsv",)
    assert rooted.evaluate.known_names == "/somewhere/names.tsv"


def test_the_same_twice(run):
    write_tf(run, PAIRS)
    changed = with_known(run, KNOWN)
    evaluate(changed, RUNTIME)
    before = run.evaluation.read_bytes(), run.known_pairs("attention").read_bytes()
    evaluate(changed, RUNTIME)
    assert (run.evaluation.read_bytes(), run.known_pairs("attention").read_bytes()) == before
    assert tables.read_tf(run.interactions("attention")).shape[0] == len(PAIRS)
