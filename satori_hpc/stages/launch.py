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
from satori_hpc.stages.watch import JOINING, Watch
from satori_hpc.world import World

# Number of processes, by whoever started us. mpiexec inside a Slurm job sets its own and inherits those of the step
# that carries its helpers, so Slurm's word counts last.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
SAID_NOTHING = ("PMIX_RANK", "PALS_RANKID", "FLUX_TASK_RANK")  # launchers that give a rank and no number
AGAIN = "run the same command again to go on"
FORWARDING = 0.2  # seconds that launchers get to forward our last words
LAST_RESORT = 20  # seconds after which a process that MPI cannot end is killed


class Stopped(BaseException):
    """SIGTERM, raised in the main thread; no ordinary handler of errors may swallow it."""


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
    count = expected_ranks()
    if count is not None and count > 1:
        raise SatoriError(
            f"the launcher started {count} processes, and satori-hpc {command} works in one: they would overwrite each "
            "other's work. Start it without the launcher, or with -n 1; only satori-hpc score and search share work"
        )


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
        with _serial():
            yield World()
        return
    watch = Watch(_name(next((os.environ[name] for name in RANKS if name in os.environ), "of a number not known yet")))
    watch.doing(JOINING)
    try:
        world = mpi.join()
    except SatoriError:
        watch.end()
        raise
    watch.who(_name(world.rank, world.size))
    watch.job(world.lead(lambda: secrets.token_hex(8)))
    watch.doing("")
    world.listen(watch.doing)
    try:
        with _together(world, watch):
            _agree(world, launched, expect_ranks)
            yield world
            world.doing("waiting for the others at the end")
            world.close()
    except SatoriError:
        if world.rank == 0:
            raise
        raise SystemExit(1) from None
    finally:
        watch.end()


def _name(rank: int | str, size: int | None = None) -> str:
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
def _serial() -> Iterator[None]:
    with _stoppable():
        try:
            yield
        except Stopped:
            _say(f"stopped by SIGTERM; {AGAIN}")
            raise SystemExit(143) from None


@contextlib.contextmanager
def _together(world: mpi.MpiWorld, watch: Watch) -> Iterator[None]:
    """End all processes when this one fails, in whatever thread."""
    name = _name(world.rank, world.size)

    def fail(error: BaseException) -> NoReturn:
        watch.failed()
        while_doing = f", while {world.current}" if world.current else ""
        words, status = _words(error)
        _say(f"{name}{while_doing}: {words}")
        _end(world, status)

    def fail_thread(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, SystemExit):  # the way for a thread to end itself
            fail(args.exc_value or args.exc_type())

    previous, threading.excepthook = threading.excepthook, fail_thread
    try:
        with _stoppable():
            yield
    except BaseException as error:
        if getattr(error, "shared", False):
            raise
        fail(error)
    finally:
        threading.excepthook = previous


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM into an exception of the main thread, so that locks and files are left in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers send it again while we tidy up
        raise Stopped

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _words(error: BaseException) -> tuple[str, int]:
    """What to print about an error, and the exit status that it deserves."""
    if isinstance(error, Stopped):
        return f"stopped by SIGTERM; {AGAIN}", 143
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


def _end(world: mpi.MpiWorld, status: int) -> NoReturn:
    """End this process and all others, whatever state MPI and the threads of this process are in."""
    signal.alarm(LAST_RESORT)  # nobody handles it: the kernel ends us should Abort hang
    time.sleep(FORWARDING)
    with contextlib.suppress(Exception):
        world.abort(status)
    os._exit(status)
