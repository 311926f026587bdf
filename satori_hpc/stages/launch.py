"""From a launcher's processes to a world: who started us, whether MPI agrees, and how all end when one does."""

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from satori_hpc.errors import SatoriError
from satori_hpc.stages import mpi
from satori_hpc.stages.joined import Joined
from satori_hpc.stages.watch import JOINING, Watch
from satori_hpc.world import World

# Number of processes, by whoever started us. mpiexec inside a Slurm job sets its own and inherits those of the step
# that carries its helpers, so Slurm's word counts last.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
SAID_NOTHING = ("PMIX_RANK", "PALS_RANKID", "FLUX_TASK_RANK")  # launchers that give a rank and no number
AGAIN = "run the same command again to go on"
FORWARDING = 0.2  # seconds that launchers get to forward our last words
Signals = tuple[signal.Signals, ...]
LAST_RESORT = 20  # seconds after which a process that MPI cannot end is killed


class Stopped(BaseException):
    """A signal to stop, raised in the main thread; no ordinary handler of errors may swallow it.

    Args:
        signal: its name.
        status: exit status of the command.
    """

    def __init__(self, signal: str, status: int) -> None:
        super().__init__(signal, status)
        self.signal = signal
        self.status = status

    def __str__(self) -> str:
        return f"stopped by {self.signal}; {AGAIN}"


def expected_ranks() -> int | None:
    """How many processes the launcher says it started; None when no launcher is known."""
    for name in SIZES:
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return None


def refuse_many(command: str) -> None:
    """Keep a command that works in one process from running several times at once.

    Raises:
        SatoriError: a launcher started more than one process.
    """
    found = (expected_ranks(), _torchrun_ranks())
    count = max((count for count in found if count is not None), default=1)
    if count > 1:
        raise SatoriError(
            f"the launcher started {count} processes, and satori-hpc {command} works in one: they would overwrite each "
            "other's work. Start it without the launcher, or with -n 1; only satori-hpc train, score, search and "
            "ensemble share their work out"
        )


def refuse_torchrun(command: str) -> None:
    """Keep a command whose processes find each other by MPI from running under torchrun.

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
    """Keep processes whose launcher gives a rank and no number from each taking itself for the only one.

    Raises:
        SatoriError: such a launcher started this process.
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
def session(*, expect_ranks: int | None) -> Iterator[World]:
    """The world of this command: one process, or all that the launcher started.

    An exception that leaves the block on one process ends all of them, with a message that names the process and
    what it was doing. The exception is an error with `shared`: the leader raises it, the others exit with status 1.
    SIGTERM ends with status 143.

    Args:
        expect_ranks: how many processes the user says there are; None = as many as the launcher says.

    Raises:
        SatoriError: the launcher, the user and MPI do not agree on the number of processes, or there is no MPI.
    """
    launched = expected_ranks()
    counts = {count for count in (launched, expect_ranks) if count is not None}
    unknown = launched is None and any(name in os.environ for name in SAID_NOTHING)
    if counts <= {1} and not unknown:
        with serial():
            yield World()
        return
    watch = Watch(
        name_of(next((os.environ[name] for name in RANKS if name in os.environ), "of a number not known yet"))
    )
    watch.doing(JOINING)
    try:
        world = mpi.join()
    except SatoriError:
        watch.end()
        raise
    watch.who(name_of(world.rank, world.size))
    watch.job(world.lead(lambda: secrets.token_hex(8)))
    watch.doing("")
    world.listen(watch.doing)
    try:
        with together(world, watch):
            _agree(world, launched, expect_ranks)
            yield world
            world.doing("waiting for the others at the end")
            world.close()
    except SatoriError as error:
        if world.rank == 0:
            raise
        raise SystemExit(error.status) from None
    finally:
        watch.end()


def name_of(rank: int | str, size: int | None = None) -> str:
    of = f" of {size}" if size else ""
    return f"rank {rank}{of} (host {socket.gethostname()}, pid {os.getpid()})"


def _agree(world: World, launched: int | None, expect_ranks: int | None) -> None:
    """Refuse together when anybody was told another number of processes than MPI has."""
    said = []
    if launched not in (None, world.size):
        said.append(f"the launcher started {launched} processes")
    if expect_ranks not in (None, world.size):
        said.append(f"--expect-ranks says {expect_ranks}")
    if not any(world.gather(bool(said))):
        return
    if launched == world.size:
        advice = f"start {expect_ranks} processes, or leave --expect-ranks away"
    elif launched is None:
        advice = f"start it by mpiexec -n {expect_ranks} or srun -n {expect_ranks}, or leave --expect-ranks away"
    else:
        advice = (
            "launcher and MPI library do not know each other: with srun, try --mpi=pmi2 or --mpi=pmix; else use the "
            "mpiexec of the same MPI; satori-hpc doctor shows which library is loaded"
        )
    error = SatoriError(
        f"{' and '.join(said) or 'other processes were told another number'}, yet MPI has a world of {world.size}. "
        f"Nothing was done, for processes that do not share the work would overwrite each other's. {advice}"
    )
    error.shared = True
    raise error


@contextlib.contextmanager
def serial(signals: Signals = (signal.SIGTERM,), *, status: int = 143) -> Iterator[None]:
    """One process: these signals end it in good order, with this status."""
    with _stoppable(signals, status):
        try:
            yield
        except Stopped as stopped:
            _say(str(stopped))
            raise SystemExit(stopped.status) from None


@contextlib.contextmanager
def together(world: Joined, watch: Watch, signals: Signals = (signal.SIGTERM,), *, status: int = 143) -> Iterator[None]:
    """End all processes when this one fails, in whatever thread."""
    name = name_of(world.rank, world.size)

    def fail(error: BaseException) -> NoReturn:
        watch.failed()
        while_doing = f", while {world.current}" if world.current else ""
        words, status = _words(error)
        if not world.explains(error):
            _say(f"{name}{while_doing}: {words}")
        _end(world, status)

    def fail_thread(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, SystemExit):  # the way for a thread to end itself
            fail(args.exc_value or args.exc_type())

    previous, threading.excepthook = threading.excepthook, fail_thread
    try:
        with _stoppable(signals, status):
            yield
    except BaseException as error:
        if getattr(error, "shared", False):
            raise
        fail(error)
    finally:
        threading.excepthook = previous


@contextlib.contextmanager
def _stoppable(signals: Signals, status: int) -> Iterator[None]:
    """Turn signals into an exception of the main thread, so that locks and files are left in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # launchers send it again while we tidy up
        raise Stopped(signal.Signals(number).name, status)

    previous = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _words(error: BaseException) -> tuple[str, int]:
    """What to print about an error, and the exit status that it deserves."""
    if isinstance(error, Stopped):
        return str(error), error.status
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; {AGAIN}", 130
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) and error.code else 1
        return f"left the common work early (exit status {error.code})", status
    if isinstance(error, SatoriError):
        return str(error), 1
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", 1
    return "".join(traceback.format_exception(error)).rstrip(), 1


def _say(text: str) -> None:
    """One write for the whole message, so that those of several processes do not mix."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(2, (text + "\n").encode(errors="replace"))


def _end(world: Joined, status: int) -> NoReturn:
    """End this process and all others, whatever state MPI and the threads of this process are in."""
    signal.alarm(LAST_RESORT)  # nobody handles it: the kernel ends us should Abort hang
    time.sleep(FORWARDING)
    with contextlib.suppress(Exception):
        world.abort(status)
    os._exit(status)
