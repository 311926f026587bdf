"""search on real small runs: the same leaderboard whoever worked on it, killed or not; what fails does not stop it."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.config import Config, toml
from satori_hpc.config.search import Choice, Range, Search, Space
from satori_hpc.data import dataset
from satori_hpc.errors import ArtefactError, ConfigError
from satori_hpc.run import execute, lock, pipeline
from satori_hpc.run.layout import Run
from satori_hpc.tuning import search
from tests.fixtures import tiny
from tests.fixtures.learnable import learnable, small_config
from tests.fixtures.search import DEADLY, RUNTIME, SPACE, searchable, table, touch_unseen

SATORI = [sys.executable, "-m", "satori_hpc"]


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def as_json(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searchable(tmp_path_factory.mktemp("prepared") / "run").path


@pytest.fixture(scope="module")
def searched(prepared: Path) -> Path:
    """That run, searched by one process."""
    path = prepared.with_name("searched")
    shutil.copytree(prepared, path)
    assert "5 of 5 trials have ended" in call("search", path, "--threads", 1)
    return path


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Run:
    shutil.copytree(searched, tmp_path / "run", symlinks=True)
    return Run.open(tmp_path / "run")


def test_the_leaderboard_ranks_the_trials_beside_the_default(searched: Path) -> None:
    rows = table(searched)
    assert [row["rank"] for row in rows] == list("12345")
    values = [float(row["value"]) for row in rows]
    assert values == sorted(values, reverse=True)
    default = next(row for row in rows if row["trial"] == "0")
    assert [default[key] for key in ("model.num_filters", "train.learning_rate", "epochs")] == ["12", "0.005", "2"]
    run = Run.open(searched)
    best = Run.open(run.trial(int(rows[0]["trial"])))
    assert toml.parse(run.best_settings.read_text(), Config, name="best") == best.config
    history = best.history.read_text().splitlines()
    column = history[0].split("\t").index("valid_auroc")
    assert max(float(line.split("\t")[column]) for line in history[1:]) == pytest.approx(values[0], abs=1e-5)


def test_trials_are_runs_that_share_the_data(searched: Path) -> None:
    run = Run.open(searched)
    for number in range(5):
        trial = Run.open(run.trial(number))
        assert trial.dataset.is_symlink()
        assert not Path(trial.dataset.readlink()).is_absolute()
        states = {name: state.state for name, state in pipeline.states(trial).items()}
        assert (states["prepare"], states["train"], states["motifs"]) == ("complete", "complete", "missing")
    assert pipeline.remaining(run)[0] == "train", "the searched run itself is untouched"
    assert "all as it was written" in call("verify", run.trial(3))


def test_a_trial_made_by_hand_leaves_the_shared_data_alone(run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.dataset.rglob("*")}
    call("prepare", run.trial(1), "--force")
    assert not Run.open(run.trial(1)).dataset.is_symlink()
    assert before == {path: path.stat().st_mtime_ns for path in run.dataset.rglob("*")}
    assert pipeline.states(run)["prepare"].usable


def test_again_nothing_is_done_and_a_moved_run_stays_whole(run: Run, tmp_path: Path) -> None:
    before = table(run.path)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    run.path.rename(moved)
    files = {path: path.stat().st_mtime_ns for path in moved.rglob("trial_*/**/*") if path.is_file()}
    told = as_json("search", moved, "--json")
    assert told["complete"]
    assert (told["unfinished"], told["trials"]) == ([], 5)
    assert [str(row["trial"]) for row in told["leaderboard"]] == [row["trial"] for row in before]
    assert "--like" in told["next"][1]
    assert table(moved) == before
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert pipeline.states(Run.open(moved / "search" / "trial_0002"))["train"].usable


def test_more_trials_go_on_where_the_others_ended(run: Run) -> None:
    before = {row["trial"]: row["value"] for row in table(run.path)}
    call("set", run.path, "search.trials=6")
    assert "6 of 6 trials" in call("search", run.path, "--threads", 1)
    after = {row["trial"]: row["value"] for row in table(run.path)}
    assert Run.open(run.path).config.search.trials == 6
    assert {number: after[number] for number in before} == before
    assert set(after) - set(before) == {"5"}


def test_what_the_trials_follow_from_must_not_change(run: Run) -> None:
    other = tiny.change(run, train={"epochs": 3})
    with pytest.raises(ArtefactError, match=r"run.toml outside \[search\] changed since"):
        search.search(other, RUNTIME)
    other = tiny.change(run, search={"seed": 2, "space": Space(SPACE.dimensions[1:])})
    with pytest.raises(ArtefactError, match=r"search.space and search.seed changed since"):
        search.search(other, RUNTIME)
    other = tiny.change(run, prepare={"valid_fraction": 0.2})
    with pytest.raises(ArtefactError, match="satori-hpc prepare"):
        search.search(other, RUNTIME)


def test_a_trial_that_somebody_holds_is_left_to_them(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert "1 of 5 trials have ended" in call("search", run.path, "--at-most", 1, "--threads", 1)
    run.trial(1).mkdir()
    with lock.hold(run.trial(1), what="a test"):
        told = as_json("search", run.path, "--json", "--threads", 1)
    assert told["unfinished"] == [1]
    assert sorted(row["trial"] for row in told["leaderboard"]) == [0, 2, 3, 4]
    assert not told["complete"]
    assert told["next"] == []
    assert "5 of 5" in call("search", run.path, "--threads", 1)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with trials that last for a second or two."""
    return searchable(tmp_path_factory.mktemp("long") / "run", trials=3, epochs=20).path


@pytest.fixture(scope="module")
def undisturbed(long: Path) -> list[dict[str, str]]:
    """Its leaderboard, searched by one process."""
    path = long.with_name("undisturbed")
    shutil.copytree(long, path)
    call("search", path, "--threads", 1)
    return table(path)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_ended_and_gone_on_with_the_leaderboard_is_the_same(
    number: int, status: int, long: Path, undisturbed: list[dict[str, str]], tmp_path: Path
) -> None:
    shutil.copytree(long, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    command = [*SATORI, "search", str(run.path), "--threads", "1"]
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list(run.trial(1).glob("checkpoints/step_*")) and time.monotonic() < deadline:
        assert victim.poll() is None
        time.sleep(0.005)
    victim.send_signal(number)
    victim.communicate()
    assert victim.returncode == status
    assert not Run.open(run.trial(1)).record("train").exists(), "ended in the middle of the second trial"
    assert len(table(run.path)) == 1
    assert "training resumes after" in call("search", run.path, "--threads", 1)
    assert table(run.path) == undisturbed


def searching(run: Run, *, until: str) -> subprocess.Popen[str]:
    """A process that searches, once a file of this pattern is there."""
    started = subprocess.Popen([*SATORI, "search", str(run.path), "--threads", "1"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(run.search.glob(until)):
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return started


@pytest.mark.slow
def test_asked_to_stop_wherever_it_is_it_ends_with_75(tmp_path: Path) -> None:
    run = searchable(tmp_path / "run", trials=2, epochs=20)
    started = searching(run, until="leaderboard.tsv")
    started.send_signal(signal.SIGUSR2)
    assert "run the same command again" in started.communicate()[1]
    assert started.returncode == 75
    run.stop.touch()  # was there before: does not ask
    started = searching(run, until="trial_0001/checkpoints/step_*")
    touch_unseen(run.stop, started)
    assert f"for {run.stop}" in started.communicate()[1]
    assert started.returncode == 75
    assert run.stop.exists(), "others may have yet to see it"
    assert not run.trial(1).joinpath("provenance", "train.json").exists()
    assert "2 of 2 trials have ended" in call("search", run.path, "--threads", 1)


@pytest.mark.slow
def test_a_trial_that_kills_whoever_works_on_it_fails_in_the_end(tmp_path: Path) -> None:
    run = searchable(tmp_path / "run", trials=2, epochs=1)
    command = [sys.executable, "-c", DEADLY, "search", str(run.path), "--threads", "1"]
    for status in (-9, -9, -9, 0):
        assert subprocess.run(command, capture_output=True, timeout=300).returncode == status
    rows = {row["trial"]: row for row in table(run.path)}
    assert rows["0"]["failed"] == ""
    assert "3 processes in a row were killed" in rows["1"]["failed"]
    assert "2 of 2 trials have ended" in call("search", run.path, "--threads", 1)


def test_a_trial_that_fails_is_told_and_the_search_goes_on(tmp_path: Path) -> None:
    space = Space(
        (
            Choice("train.learning_rate", (5e-3, 1e30)),
            Choice("model.padding", (4, 8)),
            Choice("model.kernel_size", (7,)),
        )
    )
    run = searchable(tmp_path / "run", trials=9, epochs=1, space=space)
    shown = call("search", run.path, "--threads", 1)
    rows = table(run.path)
    assert len(rows) == 5, "the default, and the four combinations"
    assert "the space holds no more" in shown
    failed = {(row["train.learning_rate"], row["model.padding"]): row["failed"] for row in rows if row["failed"]}
    assert "not finite" in failed["1e+30", "4"]
    assert "expected less than kernel_size" in failed["0.005", "8"]
    assert len(failed) == 3
    assert all(row["rank"] == "" for row in rows if row["failed"])
    assert "failed: " in shown
    assert table(run.path) == rows


def test_f1_chooses_by_the_called_pairs_and_says_that_the_set_is_spent(tmp_path: Path) -> None:
    run = searchable(
        tmp_path / "run", trials=2, select="f1", space=Space((Choice("train.entropy", (1e-3,)),)), epochs=1
    )
    shown = call("search", run.path, "--threads", 1)
    assert "discard it" in shown
    assert f"satori-hpc new RUN2 --like {run.best_settings} --seed {run.config.seed + 1}" in shown
    for row in table(run.path):
        trial = Run.open(run.trial(int(row["trial"])))
        content = json.loads(trial.evaluation.read_text())
        assert float(row["value"]) == content["methods"]["attention"]["f1"]
        assert pipeline.remaining(trial) == ["report"]


def learnable_run(path: Path, **settings: Any) -> Run:
    """A run on the learnable set, which has no truth."""
    run = tiny.make_run(path, dataclasses.replace(small_config(**settings.pop("train", {})), **settings))

    def write(run: Run, runtime: object) -> dict[str, Any]:
        dataset.write(run.dataset, learnable())
        return {}

    execute.execute(run, "prepare", RUNTIME, function=write)
    return run


def test_f1_needs_known_pairs(tmp_path: Path) -> None:
    run = learnable_run(tmp_path / "run", search=Search(select="f1", space=Space((Choice("train.entropy", (1e-3,)),))))
    with pytest.raises(ConfigError, match="only simulated sets have"):
        search.search(run, RUNTIME)


def test_a_poor_default_is_beaten_within_the_budget(tmp_path: Path) -> None:
    space = Space((Choice("model.num_filters", (8, 16)), Range("train.learning_rate", 1e-4, 1e-2, log=True)))
    run = learnable_run(
        tmp_path / "run", train={"learning_rate": 1e-5, "epochs": 4}, search=Search(trials=6, space=space)
    )
    board = search.search(run, RUNTIME)
    assert board.complete
    assert board.best is not None
    assert board.default is not None
    assert board.best.value > 0.8 > 0.65 > board.default.value
    assert board.best.trial != 0


def test_new_takes_the_settings_of_the_best_for_other_data(searched: Path, tmp_path: Path) -> None:
    best = Run.open(searched).best_settings
    like = toml.parse(best.read_text(), Config, name="best")
    call("new", tmp_path / "a", "--like", best, "--seed", 2)
    assert Run.open(tmp_path / "a").config == dataclasses.replace(like, seed=2)
    call("new", tmp_path / "b", "--like", best, "--template", "fasta", "--fasta", "a.fa", "--table", "a.txt")
    other = Run.open(tmp_path / "b").config
    assert (other.model, other.train) == (like.model, like.train)
    assert other.prepare.fasta is not None
    assert other.prepare.fasta.fasta == str(Path("a.fa").resolve())


def test_new_sets_a_space(tmp_path: Path) -> None:
    call("new", tmp_path / "a", "--set", "search.space={train.entropy = [1e-5, 1e-4], model.num_heads = [2]}")
    space = Run.open(tmp_path / "a").config.search.space
    assert space == Space((Choice("model.num_heads", (2,)), Choice("train.entropy", (1e-5, 1e-4))))
    for wrong in ("search.space=7", "search.space.train.entropy=[1]"):
        assert "expected a table, such as {model.head_dim" in call("new", tmp_path / "b", "--set", wrong, code=1)
    refused = call("new", tmp_path / "b", "--set", "search.space={model.filers=[7]}", code=1)
    assert "did you mean 'num_filters'" in refused


def test_named_files_are_found_from_trials(tmp_path: Path) -> None:
    here = Path(__file__).parent.parent / "fixtures" / "data" / "drosophila_promoters.fa.gz"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.fa.gz").write_bytes(here.read_bytes())
    (tmp_path / "run" / "mine.txt").write_bytes(here.with_name("drosophila_promoters.txt").read_bytes())
    config = small_config(epochs=1)
    source = toml.parse(
        '[prepare]\nsource="fasta"\n[prepare.fasta]\nfasta="mine.fa.gz"\ntable="mine.txt"\n', Config, name="x"
    )
    run = tiny.make_run(
        tmp_path / "run", dataclasses.replace(config, prepare=source.prepare, search=Search(trials=1, space=SPACE))
    )
    execute.execute(run, "prepare", RUNTIME)
    assert search.search(run, RUNTIME).complete
    trial = Run.open(run.trial(0))
    assert trial.config.prepare.fasta is not None
    assert trial.config.prepare.fasta.fasta == str((run.path / "mine.fa.gz").resolve())
    assert pipeline.states(trial)["train"].usable
