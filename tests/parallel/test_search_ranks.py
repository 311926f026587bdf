"""search under real mpiexec: ranks share the trials, and the leaderboard is that of one process."""

import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from satori_hpc.run.layout import Run
from satori_hpc.tuning import search
from tests.fixtures.search import DEADLY, RUNTIME, searchable, table

pytestmark = [pytest.mark.mpi, pytest.mark.slow]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searchable(tmp_path_factory.mktemp("ranks") / "run", trials=6, epochs=4).path


@pytest.fixture(scope="module")
def undisturbed(prepared: Path) -> list[dict[str, str]]:
    path = prepared.with_name("undisturbed")
    shutil.copytree(prepared, path)
    search.search(Run.open(path), RUNTIME)
    return table(path)


def test_two_ranks_share_the_trials_and_a_killed_one_costs_nothing(
    mpi: Any, prepared: Path, undisturbed: list[dict[str, str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(prepared, run)
    command = ["search", run, "--threads", 1, "--expect-ranks", 2]
    if mpi.name == "mpich":  # the other library adds nothing here: the trials know nothing of MPI
        kill_a_rank(mpi.start(2, command), run)
    done = mpi.run(2, command, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 of 6 trials have ended") == 1, "one summary"
    assert table(run) == undisturbed
    for rank in (0, 1):
        assert f"rank {rank}/2 INFO trial" in done.stderr, done.stderr


def kill_a_rank(started: Any, run: Path) -> None:
    """Kill rank 1 in its first trial."""
    for line in started.stderr:
        if "rank 1/2" in line and "trial" in line:
            break
    workers = [
        one
        for one in psutil.process_iter(["cmdline"])
        if {str(run), "satori_hpc"} <= set(one.info["cmdline"] or []) and one.ppid() != started.pid
    ]
    ranks = [one for one in workers if one.pid != started.pid]
    ranks[-1].send_signal(signal.SIGKILL)
    started.communicate(timeout=60)
    assert started.returncode != 0
    assert len(table(run)) < 6


def test_of_ranks_that_die_together_only_the_deadly_trial_fails(mpi: Any, tmp_path: Path) -> None:
    if mpi.name != "mpich":
        return  # the other library adds nothing here
    run = searchable(tmp_path / "run", trials=3, epochs=1).path
    command = ["-c", DEADLY, "search", run, "--threads", 1]
    starts = 1
    while mpi.run(2, command, timeout=300).returncode != 0:
        starts += 1
        assert starts <= 6
    assert starts >= 3
    rows = {row["trial"]: row["failed"] for row in table(run)}
    assert (rows.pop("0"), rows.pop("2")) == ("", "")
    assert "processes in a row were killed" in rows.pop("1")
