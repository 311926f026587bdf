"""Trials between processes: each is worked on once, ends once, and fails where it kills whoever works on it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.run.layout import Run
from satori_hpc.tuning import child_runs
from satori_hpc.tuning.trial import Trial, outcome
from tests.fixtures.search import RUNTIME, searchable

FOLLOWS = {"the data set": "one"}
# A process that takes ten children once it may; each notes who has worked on it.
TAKE = """
import os, sys, time
from pathlib import Path
from satori_hpc.run.layout import Run
from satori_hpc.tuning import child_runs
from tests.fixtures.search import RUNTIME

class Child:
    what = "a child"

    def __init__(self, folder):
        self.name, self.folder = folder.name, folder

    def waits(self):
        return not (self.folder / "done").exists()

    def work(self, runtime):
        with open(self.folder / "workers", "a") as file:
            file.write(f"{os.getpid()} ")
        time.sleep(0.05)
        (self.folder / "done").touch()
        return "done"

run = Run.open(sys.argv[1])
worker = child_runs.Worker(run, RUNTIME, command="a test", most=0)
(run.path / f"ready-{os.getpid()}").touch()
while not (run.path / "go").exists():
    time.sleep(0.001)
worker.work([Child(run.path / "children" / str(number)) for number in range(10)])
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searchable(tmp_path_factory.mktemp("trials") / "run", trials=3, epochs=1).path


@pytest.fixture
def run(prepared: Path, tmp_path: Path) -> Run:
    shutil.copytree(prepared, tmp_path / "run")
    return Run.open(tmp_path / "run")


def trial(run: Run, number: int, *, alone: bool = True) -> Trial:
    return Trial(run, number, FOLLOWS, alone=alone)


def test_each_child_is_worked_on_once_whoever_asks(run: Run) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", TAKE, str(run.path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    while len(list(run.path.glob("ready-*"))) < len(workers):
        assert all(worker.poll() is None for worker in workers)
    (run.path / "go").touch()
    for worker in workers:
        said = worker.communicate(timeout=120)[1]
        assert worker.returncode == 0, said
    took = [(run.path / "children" / str(number) / "workers").read_text().split() for number in range(10)]
    assert [len(pids) for pids in took] == [1] * 10
    assert len({pid for pids in took for pid in pids}) > 1, "they share the work"


def test_ends_are_seen_by_all_and_stand(run: Run) -> None:
    assert outcome(run, 0) is None
    assert "validation AUROC" in trial(run, 0).work(RUNTIME)
    trial(run, 1).folder.mkdir()
    trial(run, 1).failed("the loss")
    ended, failed = outcome(run, 0), outcome(run, 1)
    assert ended is not None
    assert failed is not None
    assert (ended.value is not None, ended.epochs, ended.failed) == (True, 1, "")
    assert (failed.value, failed.failed) == (None, "the loss")
    assert [trial(run, number).waits() for number in range(3)] == [False, False, True]
    worker = child_runs.Worker(run, RUNTIME, command="a test", most=0)
    worker.work([trial(run, 0), trial(run, 1)])
    assert (outcome(run, 0), outcome(run, 1)) == (ended, failed)


@pytest.mark.parametrize("content", [b"", b"no outcome\nat all\n", None])
def test_an_outcome_that_was_cut_short_or_is_none_is_refused(run: Run, content: bytes | None) -> None:
    trial(run, 0).folder.mkdir(parents=True)
    trial(run, 0).failed("the loss")
    run.outcome(0).write_bytes(run.outcome(0).read_bytes()[:-5] if content is None else content)
    with pytest.raises(ArtefactError, match=f"rm {run.outcome(0)} && satori-hpc search {run.path}"):
        trial(run, 0).waits()


def killed(run: Run) -> int:
    """How many were killed at the same place, once a process was that worked on trial 1."""
    pid = os.fork()
    if not pid:
        child_runs.work = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        trial(run, 1).work(RUNTIME)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    found = outcome(run, 1)
    assert found is not None
    return found.killed


def test_processes_that_are_killed_at_one_place_are_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise ValueError("asked to stop")

    assert [killed(run), killed(run)] == [1, 2]
    record = Run(run.trial(1), run.config).record("prepare")
    record.parent.mkdir()
    record.touch()
    assert [killed(run), killed(run)] == [1, 2], "it had come further"
    with monkeypatch.context() as patched:
        patched.setattr(child_runs, "work", stop)
        with pytest.raises(ValueError, match="asked to stop"):
            trial(run, 1).work(RUNTIME)
    assert not trial(run, 1, alone=False).waits(), "beside others nobody would know whose it was"
    assert trial(run, 1).waits()
    assert killed(run) == 3
    with pytest.raises(SatoriError, match="3 processes in a row were killed"):
        trial(run, 1).work(RUNTIME)
