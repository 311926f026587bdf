"""search under real mpiexec: ranks share the trials, and the leaderboard is that of one process."""

import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from satori_hpc.run import Run
from satori_hpc.stages import search
from tests.helpers_search import RUNTIME, searchable, table

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searchable(tmp_path_factory.mktemp("ranks") / "run", trials=6, epochs=12).path


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
    started = mpi.start(2, command)
    for line in started.stderr:
        if "rank 1/2" in line and "trial" in line:
            break
    ranks = [one for one in psutil.process_iter(["cmdline"]) if str(run) in (one.info["cmdline"] or [])]
    workers = [one for one in ranks if one.pid != started.pid and "--expect-ranks" in one.info["cmdline"]]
    workers[-1].send_signal(signal.SIGKILL)
    started.communicate(timeout=60)
    assert started.returncode != 0

    again = mpi.run(2, command, timeout=120)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("6 of 6 trials have ended") == 1, "one summary"
    assert table(run) == undisturbed
    for rank in (0, 1):
        assert f"rank {rank}/2 INFO trial" in again.stderr, again.stderr
