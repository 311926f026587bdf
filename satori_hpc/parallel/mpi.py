"""Join several processes by MPI. Host memory only; mpi4py is loaded by `join`."""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from satori_hpc.errors import Preempted, SatoriError, shared
from satori_hpc.parallel import signals as parallel_signals
from satori_hpc.parallel.signals import AGAIN, name_of, say, serial, together
from satori_hpc.parallel.world import World

Value = TypeVar("Value")

LONGEST_PAUSE = 0.01  # seconds between two polls for a message
INSTALL = "pip install 'satori-hpc[mpi]'"


def join() -> "MpiWorld":
    """Initialise MPI and return its world.

    Raises:
        SatoriError: no mpi4py, or no MPI library for it.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise SatoriError(f"several processes need mpi4py, which cannot be loaded ({error}); run: {INSTALL}") from error
    except RuntimeError as error:
        raise SatoriError(
            f"mpi4py finds no MPI library ({error}); run: {INSTALL}, or load the MPI of this machine "
            "and set MPI4PY_LIBMPI to its libmpi.so"
        ) from error
    return MpiWorld(MPI.COMM_WORLD)


class MpiWorld(World):
    """The processes of an MPI communicator.

    Waiting polls with growing pauses, not inside MPI: a waiting process takes no processor from those that compute,
    and signals reach it.

    Args:
        comm: an intracommunicator of mpi4py; duplicated, so that messages of other code do not interfere.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._find_neighbours()

    def barrier(self) -> None:
        self._wait(self._comm.Ibarrier())

    def my_items(self, items: Sequence[Value], *, schedule: str) -> Iterator[Value]:
        if schedule != "dynamic":
            yield from super().my_items(items, schedule=schedule)
            return
        from mpi4py.util.sync import Counter

        self.barrier()  # creating a window blocks inside MPI: barrier first
        counter = Counter(comm=self._comm)
        while (number := counter.next()) < len(items):
            yield items[number]
        self.barrier()
        counter.free()

    def progress(self) -> None:
        # Probing lets the library serve remote accesses to the counter in the memory of this process.
        self._comm.Iprobe()

    def set_status(self, what: str) -> None:
        """Also print it at once: a killed process cannot report it, and launchers name only the rank."""
        super().set_status(what)
        if what:
            say(f"{name_of(self.rank, self.size)}: {what}")

    def close(self) -> None:
        self.barrier()
        self._comm.Free()

    def abort(self, status: int) -> None:
        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(status)

    def _broadcast(self, message: bytes) -> bytes:
        buffer = bytearray(message)
        self._wait(self._comm.Ibcast(buffer))
        return bytes(buffer)

    def _all_gather(self, message: bytes) -> list[bytes]:
        buffer = bytearray(self.size * len(message))
        self._wait(self._comm.Iallgather(message, buffer))
        return [bytes(buffer[rank * len(message) :][: len(message)]) for rank in range(self.size)]

    def _wait(self, request: Any) -> None:
        began = time.monotonic()
        while not request.Test():
            waited = time.monotonic() - began
            time.sleep(min(LONGEST_PAUSE, waited / 10))


# Compare the launcher's number of processes with that of MPI.

# Number of processes, by launcher. mpiexec inside a Slurm job sets its own and inherits those of the step
# that carries its helpers, so Slurm's variables count last.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
SAID_NOTHING = ("PMIX_RANK", "PALS_RANKID", "FLUX_TASK_RANK")  # launchers that give a rank and no number
CURE = "with srun, use --mpi=pmi2 for MPICH (Intel, Cray) or --mpi=pmix for Open MPI; else the mpiexec of the same MPI"


def expected_ranks() -> int | None:
    """Return the number of processes that the launcher reports; None without a known launcher."""
    for name in SIZES:
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return None


def refuse_many(command: str) -> None:
    """Refuse several processes for a command that works in one.

    Raises:
        SatoriError: a launcher started more than one process.
    """
    found = (expected_ranks(), _torchrun_ranks())
    count = max((count for count in found if count is not None), default=1)
    if count > 1:
        raise SatoriError(
            f"the launcher started {count} processes, and satori-hpc {command} works in one: they would overwrite each "
            "other's work. Start it without the launcher, or with -n 1; only satori-hpc train, score, search and "
            "ensemble divide their work"
        )


def refuse_torchrun(command: str) -> None:
    """Refuse torchrun for a command whose processes find each other by MPI.

    Raises:
        SatoriError: torchrun started more than one process.
    """
    count = _torchrun_ranks()
    if count is not None and count > 1 and expected_ranks() in (None, 1):
        raise SatoriError(
            f"torchrun started {count} processes, and those of satori-hpc {command} find each other by MPI: start it "
            f"by mpiexec -n {count} or srun -n {count}"
        )


def refuse_unknown(command: str, cure: str) -> None:
    """Refuse launchers that set a rank and no size, where each process would take itself for the only one.

    Raises:
        SatoriError: this is such a launcher.
    """
    name = next((name for name in SAID_NOTHING if name in os.environ), None)
    if name is not None and expected_ranks() is None:
        raise SatoriError(
            f"the launcher sets {name} and does not say how many processes it started, which satori-hpc {command} must "
            f"know: set RANK and WORLD_SIZE for each, and {cure}"
        )


def _torchrun_ranks() -> int | None:
    value = os.environ.get("WORLD_SIZE", "") if "TORCHELASTIC_RUN_ID" in os.environ else ""
    return int(value) if value.isdigit() else None


@contextlib.contextmanager
def session(*, expect_ranks: int | None, parts: bool = False) -> Iterator[World]:
    """Join the world of this command: one process, or all that the launcher started.

    An exception that leaves the block on one process ends all of them, with a message that names the process and
    what it was doing. The exception is an error with `shared`: rank 0 raises it, the others exit with status 1.
    SIGTERM ends with status 143; a multi-part job by SIGTERM and SIGUSR2 with that of Preempted.

    Args:
        expect_ranks: how many processes the user says there are; None = as many as the launcher says.
        parts: it is a multi-part job (`signals.work`).

    Raises:
        SatoriError: the launcher, the user and MPI do not agree on the number of processes, or there is no MPI.
    """
    signals, status = (parallel_signals.SIGNALS, Preempted.status) if parts else ((signal.SIGTERM,), 143)
    launched = expected_ranks()
    counts = {count for count in (launched, expect_ranks) if count is not None}
    unknown = launched is None and any(name in os.environ for name in SAID_NOTHING)
    if counts <= {1} and not unknown:
        with serial(signals, status=status):
            yield World()
        return
    world = join()
    with together(world, signals, status=status):
        agree(world, launched, expect_ranks)
        if world.rank == 0:
            say(f"{world.size} processes work together by MPI; if one is killed, {AGAIN}")
        yield world


def draw_word(size: int) -> str:
    """Agree by MPI on a random name for all processes of an mpiexec, and finalise MPI.

    Args:
        size: how many processes it started.

    Raises:
        SatoriError: there is no MPI here, or it knows of another number of processes.
    """
    from_mpi = join()
    from mpi4py import MPI

    agree(from_mpi, size)
    word = from_mpi.broadcast(secrets.token_hex(8))
    from_mpi.close()
    MPI.Finalize()
    return word


def agree(world: World, launched: int | None, expect_ranks: int | None = None) -> None:
    """Refuse, on all processes, if the number of processes of launcher or user differs from that of MPI anywhere.

    Raises:
        SatoriError: on every process, if any differs.
    """
    said = []
    if launched not in (None, world.size):
        said.append(f"the launcher started {launched} processes")
    if expect_ranks not in (None, world.size):
        said.append(f"--expect-ranks says {expect_ranks}")
    if not any(world.all_gather(bool(said))):
        return
    if launched == world.size:
        advice = f"start {expect_ranks} processes, or leave --expect-ranks away"
    elif launched is None:
        advice = f"start it by mpiexec -n {expect_ranks} or srun -n {expect_ranks}, or leave --expect-ranks away"
    else:
        advice = f"launcher and MPI library do not know each other: {CURE}; satori-hpc doctor shows which is loaded"
    raise shared(
        SatoriError(
            f"{' and '.join(said) or 'other processes were told another number'}, yet MPI has a world of {world.size}. "
            f"Nothing was done, for processes that do not share the work would overwrite each other's. {advice}"
        )
    )
