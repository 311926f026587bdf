"""`mpi`: real mpiexec runs under MPICH (this environment's wheel) and Open MPI (an environment beside it)."""

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.parallel.open_mpi import open_mpi

ROOT = Path(__file__).parent.parent.parent
MARK = "SATORI_TEST_JOB"  # in the environment of every process of a job: ranks leave sessions and process groups
GONE = 5  # seconds after the launcher in which all its processes must end
LAUNCHERS = ("PMI_", "PMIX_", "PRTE_", "OMPI_", "SLURM_", "MPI_", "HYDRA_", "HYDI_")  # of who started the tests


@dataclass
class Mpi:
    """One MPI: how to start processes with it, and how to be sure that none is left.

    `run` and `start` take the number of ranks and the arguments: a script (.py) or python's own options (-c) and what
    follows, or else those of satori-hpc.
    """

    name: str
    python: Path
    launcher: list[str]
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, n: int, argv: Sequence[object], *, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start n ranks, or without a launcher for n = 0; stdout and stderr are pipes. Ended after the test."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
        mark = uuid.uuid4().hex
        program = [str(argument) for argument in argv]
        if not program[0].startswith("-") and not program[0].endswith(".py"):
            program = ["-m", "satori_hpc", *program]
        process = subprocess.Popen(
            [*(self.launcher if n else []), *(["-n", str(n)] if n else []), str(self.python), *program],
            env={**outside, **self.environment, **(env or {}), MARK: mark},
            cwd=cwd or ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        process.mark = mark  # type: ignore[attr-defined]
        self.started.append(process)
        return process

    def run(
        self,
        n: int,
        argv: Sequence[object],
        *,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Start, wait, and see that every process of the job is gone soon after the launcher.

        Raises:
            TimeoutExpired: all processes of the job are killed first.
        """
        return self.finish(self.start(n, argv, env=env, cwd=cwd), timeout=timeout)

    def finish(self, process: subprocess.Popen[str], *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """What `run` does after the start."""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.reap(process)
            raise
        deadline = time.monotonic() + GONE
        while (left := members(process)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.reap(process)
        assert not left, f"outlived the launcher: {left}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def reap(self, process: subprocess.Popen[str]) -> None:
        """End the launcher and every process of its job."""
        process.kill()
        for member in members(process):
            with contextlib.suppress(psutil.Error):
                member.kill()
        process.communicate()
        if process in self.started:
            self.started.remove(process)


def members(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a job that live, wherever they are; the launcher is one of them.

    The dead that nobody has collected yet show no environment, so they are not among them.
    """
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.environ().get(MARK) == process.mark:  # type: ignore[attr-defined]
                found.append(one)
    return found


@pytest.fixture(scope="session", params=["mpich", "openmpi"])
def mpi(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mpi:
    """An MPI to start ranks with; each test runs under both."""
    common = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if request.param == "mpich":
        launcher = Path(sys.executable).parent / "mpiexec"
        if not (_installed("mpich") and launcher.exists()):
            pytest.skip("the wheel of MPICH is not in this environment; run: pip install -c constraints.txt mpich")
        return Mpi("mpich", Path(sys.executable), [str(launcher)], common)
    cache = request.config.cache if hasattr(request.config, "cache") else None
    folder = Path(cache.mkdir("mpi")) if cache is not None else tmp_path_factory.getbasetemp()
    home = open_mpi(folder)
    for_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    patient = {"OMPI_MCA_mpi_yield_when_idle": "1"}
    return Mpi(
        "openmpi",
        home / "bin" / "python",
        [str(home / "bin" / "mpiexec"), "--oversubscribe"],
        {**common, **for_root, **patient},
    )


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test started is ended with it."""
    yield
    if "mpi" in request.fixturenames:
        world = request.getfixturevalue("mpi")
        for process in list(world.started):
            world.reap(process)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
