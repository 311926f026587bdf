"""ensemble on real small runs: members share the data; their tables together are those of a loop over them."""

import csv
import dataclasses
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.config import Config, Ensemble, toml
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import ConfigError
from satori_hpc.evaluation import calls
from satori_hpc.interactions import tables
from satori_hpc.run import execute, lock, pipeline
from satori_hpc.run.layout import Run
from satori_hpc.tuning import ensemble
from tests.fixtures import tiny
from tests.fixtures.ensemble import RUNTIME, TABLES, ensemble_run, outcome
from tests.fixtures.search import touch_unseen

COMMAND = [sys.executable, "-m", "satori_hpc", "ensemble"]


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensemble_run(tmp_path_factory.mktemp("prepared") / "run").path


@pytest.fixture(scope="module")
def made(prepared: Path) -> Run:
    """The ensemble of that run, made by one process; not to be changed."""
    path = prepared.with_name("made")
    shutil.copytree(prepared, path)
    assert "3 networks; a TF pair is called when 2 of them call it" in call("ensemble", path, "--threads", 1)
    return Run.open(path)


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    shutil.copytree(made.path, tmp_path / "run", symlinks=True)
    return Run.open(tmp_path / "run")


def test_members_are_runs_that_share_the_data_and_differ_in_the_networks_seed(made: Run) -> None:
    weights = {made.best.read_bytes()}
    for seed in (2, 3):
        member = Run.open(made.member(seed))
        assert member.dataset.is_symlink()
        assert not Path(member.dataset.readlink()).is_absolute()
        own, data = (json.loads(each.record("prepare").read_text()) for each in (member, made))
        for key in ("digest", "files", "config", "seed"):
            assert own[key] == data[key], key
        assert member.config.network_seed == seed
        same = toml.replace(member.config, "train.seed", made.config.train.seed)
        assert same.motifs.database == "../../truth/motifs.meme"
        same = toml.replace(same, "motifs.database", made.config.motifs.database)
        assert dataclasses.replace(same, ensemble=made.config.ensemble) == made.config
        states = pipeline.states(member)
        assert [name for name, state in states.items() if state.usable] == list(states)[:-2]
        weights.add(member.best.read_bytes())
    assert len(weights) == 3
    assert "all as it was written" in call("verify", made.member(3))


def test_counts_and_medians_are_those_of_a_loop_over_the_members_tables(made: Run) -> None:
    members = []
    for path in (made.path, made.member(2), made.member(3)):
        with open(path / "interactions" / "attention.tf.tsv") as handle:
            members.append({(row["tf_a"], row["tf_b"]): row for row in csv.DictReader(handle, delimiter="\t")})
    found = tables.read_ensemble(made.ensemble_table("attention")).to_dict("records")
    assert {(row["tf_a"], row["tf_b"]) for row in found} == {pair for member in members for pair in member}
    for row in found:
        own = [member[row["tf_a"], row["tf_b"]] for member in members if (row["tf_a"], row["tf_b"]) in member]
        assert row["seeds"] == len(own)
        assert row["called_seeds"] == sum(one["called"] == "True" for one in own)
        assert row["called"] == (row["called_seeds"] >= 2)
        assert row["min_q"] == min(float(one["q"]) for one in own)
        for name in ("q", "neg_log10_p", "auc", "effect"):
            assert row[f"median_{name}"] == pytest.approx(statistics.median(float(one[name]) for one in own))
        assert row["median_distance"] == statistics.median(float(one["median_distance"]) for one in own)
    order = [(-row["called_seeds"], row["median_q"]) for row in found]
    assert order == sorted(order)
    assert {row["seeds"] for row in found} == {1, 2, 3}, "some pairs are not in all networks"
    assert {row["called_seeds"] for row in found} == {0, 1, 2, 3}


def test_every_network_and_all_together_are_compared_with_the_implanted_pairs(made: Run) -> None:
    summary = json.loads(made.ensemble_summary.read_text())["methods"]["attention"]
    gold = calls.keys(truth.read_pairs(made.truth))
    sources = {"1": made, "2": Run.open(made.member(2)), "3": Run.open(made.member(3))}
    own = {seed: tables.read_tf(member.interactions("attention")) for seed, member in sources.items()}
    together = tables.read_ensemble(made.ensemble_table("attention"))
    for table, scores in [(own[seed], summary["members"][seed]) for seed in own] + [(together, summary["together"])]:
        rows = table[table["called"]]
        called = calls.keys(zip(rows["tf_a"], rows["tf_b"], strict=True))
        assert scores["called"] == len(called) > 0
        assert scores["precision"] == pytest.approx(len(called & gold) / len(called))
        assert scores["recall"] == pytest.approx(len(called & gold) / len(gold))
    counts = together["called_seeds"].value_counts()
    assert summary["called_by"] == {str(k): int(counts.get(k, 0)) for k in (3, 2, 1)}


def test_again_nothing_is_made_and_fewer_needed_seeds_call_more(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    run.path.rename(moved)
    files = {
        path: path.stat().st_mtime_ns
        for path in moved.rglob("*")
        if path.is_file() and path.parent != moved / "ensemble" and path != Run.open(moved).record("ensemble")
    }
    before = outcome(moved)
    call("ensemble", moved)
    assert outcome(moved) == before
    tiny.change(Run.open(moved), ensemble={"min_seeds": 1})
    assert ensemble.table_of(Run.open(moved), "attention") is None, "made with other settings"
    call("ensemble", moved)
    table = ensemble.table_of(Run.open(moved), "attention")
    assert table is not None
    assert (table["called"] == (table["called_seeds"] >= 1)).all()
    assert {path: path.stat().st_mtime_ns for path in files if path.name != "run.toml"} == {
        path: stamp for path, stamp in files.items() if path.name != "run.toml"
    }


def test_an_ensemble_of_one_is_the_run_itself(run: Run) -> None:
    call("set", run.path, "ensemble.seeds=1")
    said = json.loads(CliRunner().invoke(cli, ["ensemble", str(run.path), "--json"]).stdout)
    assert (said["seeds"], said["min_seeds"], said["complete"]) == ([1], 1, True)
    own = tables.read_tf(run.interactions("attention")).set_index(["tf_a", "tf_b"])
    together = tables.read_ensemble(run.ensemble_table("attention")).set_index(["tf_a", "tf_b"])
    assert set(own.index) == set(together.index)
    for name in ("called", "q"):
        assert (together["median_q" if name == "q" else name] == own[name].reindex(together.index)).all()
    assert (together["seeds"] == 1).all()


def test_what_the_others_hold_is_left_to_them_and_the_outcome_is_the_same(
    prepared: Path, made: Run, tmp_path: Path
) -> None:
    shutil.copytree(prepared, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    call("ensemble", run.path, "--at-most", 1, "--threads", 1)
    run.member(2).mkdir()
    with lock.hold(run.member(2), what="a test"), lock.hold(run.ensemble, what="a test"):
        said = call("ensemble", run.path, "--threads", 1)
    assert "2 of 3 networks are done" in said
    assert "left by a process that is gone: 2" in said
    assert not run.ensemble_summary.exists()
    call("ensemble", run.path, "--threads", 1)
    assert outcome(run.path) == outcome(made.path)


@pytest.mark.parametrize("asked", [False, True])
def test_ended_and_restarted_the_outcome_is_the_same(asked: bool, run: Run) -> None:
    before = outcome(run.path)
    shutil.rmtree(run.ensemble)
    victim = subprocess.Popen([*COMMAND, str(run.path), "--threads", "1"], stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not run.member(2).joinpath("checkpoints").exists() and time.monotonic() < deadline:
        assert victim.poll() is None
        time.sleep(0.005)
    if asked:
        touch_unseen(run.stop, victim)
    else:
        victim.send_signal(signal.SIGKILL)
    assert victim.wait() == (75 if asked else -signal.SIGKILL)
    assert not run.ensemble_summary.exists(), "ended before all networks were done"
    call("ensemble", run.path, "--threads", 1)
    assert outcome(run.path) == before


def test_networks_that_cannot_be_made_are_named(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "run")
    tiny.change(Run.open(tmp_path / "run"), train={"learning_rate": 1e30, "epochs": 1}, ensemble={"seeds": 2})
    said = call("ensemble", tmp_path / "run", "--threads", 1, code=1)
    assert said.count("not finite") >= 2
    for seed in (1, 2):
        assert f"  - seed {seed}: " in said


def test_the_report_shows_how_many_networks_call_a_pair(run: Run) -> None:
    for name in ("evaluate", "report"):
        execute.execute(run, name, RUNTIME)
    page = run.report.read_text()
    assert "Calls by 3 networks" in page
    assert "ensemble/attention_tf.tsv" in page


def test_unprepared_and_impossible_ensembles_are_refused(tmp_path: Path) -> None:
    made = tiny.make_run(tmp_path / "run")
    assert f"run: satori-hpc prepare {made.path}" in call("ensemble", made.path, code=1)
    with pytest.raises(ConfigError, match="min_seeds = 4: expected at most seeds = 3"):
        toml.parse("[ensemble]\nmin_seeds = 4\n", Config, name="run.toml")


@pytest.mark.parametrize(("seeds", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_more_than_half_must_call(seeds: int, needed: int) -> None:
    assert Ensemble(seeds=seeds).needed == needed
    assert Ensemble(seeds=seeds, min_seeds=1).needed == 1


def test_tables_in_text_and_parquet_are_there(made: Run) -> None:
    assert sorted(path.name for path in made.ensemble.iterdir() if path.is_file()) == sorted(TABLES)
    kinds: dict[str, Any] = tables.ENSEMBLE_COLUMNS
    assert (made.ensemble / "attention_tf.tsv").read_text().splitlines()[0].split("\t") == list(kinds)
