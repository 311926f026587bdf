"""Wishes to stop: a flag, a file, and where processes meet."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from satori_hpc.config import Config
from satori_hpc.errors import Preempted, SatoriError
from satori_hpc.parallel import mpi, signals, torch_group
from satori_hpc.parallel.signals import StopRequest
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run.layout import Run
from satori_hpc.tuning import child_runs
from tests.parallel.ranks import LAUNCHERS


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No launcher's variables."""
    for name in list(os.environ):
        if name.startswith(LAUNCHERS):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_is_a_request_and_nothing_else(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with signals.listen(tmp_path / "STOP", World()) as request:
        assert not request.requested()
        os.kill(os.getpid(), number)
        assert request.requested()
        assert request.why == number.name
    assert signal.getsignal(number) is before


def test_the_file_asks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "SECONDS_BETWEEN_LOOKS", 0.0)
    file = tmp_path / "STOP"
    file.touch()  # left from a job before
    with signals.listen(file, World()) as request:
        assert not file.exists()
        assert not request.requested()
        file.touch()
        assert request.requested()
        assert request.why == str(file)
        request.acknowledge()
        assert not file.exists()


def test_the_file_is_looked_for_once_a_second_and_by_the_leader_alone(tmp_path: Path) -> None:
    request = StopRequest(tmp_path / "STOP")
    assert not request.requested()
    (tmp_path / "STOP").touch()
    assert not request.requested()
    time.sleep(signals.SECONDS_BETWEEN_LOOKS)
    assert request.requested()
    other = World()
    other.rank = 1
    with signals.listen(tmp_path / "STOP", other) as theirs:
        assert (tmp_path / "STOP").exists()
        assert not theirs.requested()


def test_who_started_us(alone: pytest.MonkeyPatch) -> None:
    assert torch_group.place() is None
    alone.setenv("SLURM_PROCID", "0")  # a batch script has a rank, and no number of tasks
    assert torch_group.place() is None
    for rank, size, launcher in (
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun"),
        ("PMI_RANK", "PMI_SIZE", "srun"),  # srun --mpi=pmi2 sets both
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "srun"),
        ("RANK", "WORLD_SIZE", "torchrun"),
    ):
        alone.setenv(rank, "1")
        alone.setenv(size, "4")
        assert torch_group.place() == torch_group.Place(launcher, 1, 4)
    alone.delenv("RANK")
    alone.setenv("PMI_SIZE", "8")  # an mpiexec whose helpers are the step's tasks
    assert torch_group.place() == torch_group.Place("mpiexec", 1, 8)


def test_the_file_is_that_of_the_job_its_restart_and_its_step(alone: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where = torch_group.Place("srun", 1, 4)
    names = set()
    for job, restarts, step in (("7", "0", "0"), ("7", "1", "0"), ("7", "0", "1"), ("8", "0", "0")):
        for name, value in (("JOB_ID", job), ("RESTART_COUNT", restarts), ("STEP_ID", step)):
            alone.setenv(f"SLURM_{name}", value)
        names.add(torch_group.file_of(tmp_path, where))
    assert len(names) == 4
    with pytest.raises(SatoriError, match="do not say where rank 0 is: set MASTER_ADDR"):
        torch_group.file_of(tmp_path, torch_group.Place("torchrun", 1, 4))


@pytest.mark.parametrize(
    ("rank", "host", "port", "said"),
    [
        (0, "127.0.0.1", "0x", "cannot listen at MASTER_ADDR=127.0.0.1, MASTER_PORT=0x"),
        (0, "203.0.113.1", "29500", "cannot listen at .*Cannot assign"),  # an address of documents, nobody's
        (1, "127.0.0.1", "1", "rank 1 cannot reach rank 0 at MASTER_ADDR=127.0.0.1, MASTER_PORT=1 "),
    ],
)
def test_an_address_that_is_not_that_of_rank_0(
    alone: pytest.MonkeyPatch, tmp_path: Path, rank: int, host: str, port: str, said: str
) -> None:
    alone.setenv("MASTER_ADDR", host)
    alone.setenv("MASTER_PORT", port)
    with pytest.raises(SatoriError, match=f"{said}.*set MASTER_ADDR to the node of rank 0"):
        torch_group.meet(tmp_path, torch_group.Place("srun", rank, 2), timeout=timedelta(seconds=1))
    assert not list(tmp_path.iterdir())


def test_launchers_that_do_not_suit_are_told_what_does(alone: pytest.MonkeyPatch) -> None:
    mpi.refuse_torchrun("score")
    alone.setenv("PMIX_RANK", "0")
    with pytest.raises(SatoriError, match="PMIX_RANK.*RANK and WORLD_SIZE"):
        mpi.refuse_unknown("train", torch_group.CURE)
    alone.setenv("TORCHELASTIC_RUN_ID", "x")
    alone.setenv("WORLD_SIZE", "2")
    with pytest.raises(SatoriError, match="torchrun started 2 processes.*mpiexec -n 2"):
        mpi.refuse_torchrun("score")
    with pytest.raises(SatoriError, match="started 2 processes"):
        mpi.refuse_many("reduce")


def test_who_is_asked_while_waiting_for_the_others_says_so(tmp_path: Path) -> None:
    """A signal that comes after the own share is done, while others still work, ends the parts that would follow."""
    run = Run(path=tmp_path, config=Config())

    class Asked(World):
        def barrier(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    class Unfinished:
        complete = False

    def ended(world: World) -> Unfinished | None:
        worker = child_runs.Worker(run, Runtime(device="cpu", world=world), command="a test", most=0)
        worker.work([])
        return worker.conclude(lambda failures: Unfinished())

    assert ended(World()) is not None
    with pytest.raises(Preempted, match="SIGTERM: run the same command again"):
        ended(Asked())
