"""ensemble under real mpiexec: every rank takes networks, and all ranks end together, with one message."""

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import tiny
from tests.fixtures.ensemble import ensemble_run

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("mpi", ["mpich"], indirect=True)  # networks know nothing of MPI: one library will do
def test_ranks_take_networks_and_tell_together_which_failed(mpi: Any, tmp_path: Path) -> None:
    run = ensemble_run(tmp_path / "run", seeds=2)
    tiny.change(run, train={"learning_rate": 1e30, "epochs": 1})
    done = mpi.run(2, ["ensemble", run.path, "--threads", 1, "--expect-ranks", 2], timeout=120)
    assert done.returncode == 1, done.stderr
    for rank in (0, 1):
        assert f"rank {rank}/2 INFO seed" in done.stderr, done.stderr
    assert done.stderr.count("networks that failed:") == 1
    for seed in (1, 2):
        assert f"  - seed {seed}: the loss" in done.stderr
