"""Handle signals and failures: stop in good order on a signal, abort all processes when one fails."""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from satori_hpc.errors import Preempted, SatoriError
from satori_hpc.log import logger
from satori_hpc.parallel.world import World

AGAIN = "run the same command again to resume"
FORWARDING = 0.2  # seconds that launchers get to forward our last messages
AFTER_ROOT = 0.5  # seconds by which rank 0 leaves first: launchers kill all when one has ended
LAST_RESORT = 20  # seconds after which a process that MPI cannot end is killed
AFRESH = 0.05  # seconds after which a signal is sent again whose exception got lost
INTERRUPTED = 128 + signal.SIGINT  # exit status after Ctrl-C
STOPPED = (INTERRUPTED, 128 + signal.SIGTERM, 128 + signal.SIGHUP)
Signals = tuple[signal.Signals, ...]


class Stopped(BaseException):
    """A signal to stop, raised in the main thread; a BaseException, so that no `except Exception` swallows it.

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


def name_of(rank: int | str, size: int | None = None) -> str:
    of = f" of {size}" if size else ""
    return f"rank {rank}{of} (host {socket.gethostname()}, pid {os.getpid()})"


@contextlib.contextmanager
def serial(signals: Signals = (signal.SIGTERM, signal.SIGHUP), *, status: int | None = None) -> Iterator[None]:
    """Within the block, these signals and Ctrl-C end a single process in good order.

    Args:
        signals: besides Ctrl-C.
        status: of the command then; None = 128 and the number of the signal, as shells have it.
    """
    with _stoppable(signals, status):
        try:
            yield
        except (Stopped, KeyboardInterrupt) as error:
            words, code = _words(error)
            say(words)
            raise SystemExit(code) from None


def exit_at_once(status: int) -> NoReturn:
    """Exit without waiting for threads that still compute; all context managers have been left."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def delayed(signals: Signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) -> Iterator[None]:
    """Delay signals until the block has ended, which cannot be undone half-way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    previous = {each: signal.signal(each, lambda number, frame: came.append(number)) for each in signals}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def together(world: World, signals: Signals = (signal.SIGTERM,), *, status: int = 143) -> Iterator[None]:
    """Abort all processes when this one fails, in whatever thread, while the block runs.

    An error with `shared` leaves the block on all of them: rank 0 raises it, the others exit with its status.

    Args:
        world: is closed at the end.
        signals: besides Ctrl-C that stop the work.
        status: of the command then.
    """

    def fail(error: BaseException) -> NoReturn:
        while_doing = f", while {world.status}" if world.status else ""
        words, code = _words(error)
        if not world.explains(error):
            say(f"{name_of(world.rank, world.size)}{while_doing}: {words}")
        _end(world, code)

    def fail_thread(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, SystemExit):  # raised by a thread to end itself
            fail(args.exc_value or args.exc_type())

    previous, threading.excepthook = threading.excepthook, fail_thread
    try:
        with _stoppable(signals, status):
            yield
            world.status = "waiting for the others at the end"
            world.close()
    except BaseException as error:
        if not (isinstance(error, SatoriError) and error.shared):
            fail(error)
        for number in SIGNALS:  # launchers signal the remaining processes when the first has ended
            signal.signal(number, signal.SIG_IGN)
        world.leave()
        if world.rank == 0:
            raise
        time.sleep(AFTER_ROOT)
        raise SystemExit(error.status) from None
    finally:
        threading.excepthook = previous


@contextlib.contextmanager
def _stoppable(signals: Signals, status: int | None) -> Iterator[None]:
    """Turn signals into an exception of the main thread, so that locks and files are left in order.

    In a function that C calls, as LLVM does when numba compiles, and in a finaliser Python reports an exception and
    goes on: there the exception of a signal, of Ctrl-C as well, would be lost. So the signal is sent again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:  # launchers send it again while we clean up
            return
        stopping = True
        raise Stopped(signal.Signals(number).name, 128 + number if status is None else status)

    def lost(unraisable: "sys.UnraisableHookArgs") -> None:
        nonlocal stopping
        error = unraisable.exc_value
        if not isinstance(error, Stopped | KeyboardInterrupt):
            hook(unraisable)
            return
        stopping = False
        number = signal.Signals[error.signal] if isinstance(error, Stopped) else signal.SIGINT
        again = threading.Timer(AFRESH, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    previous = {each: signal.signal(each, stop) for each in signals if not (nohup and each == signal.SIGHUP)}
    hook, sys.unraisablehook = sys.unraisablehook, lost
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for each, handler in previous.items():
            signal.signal(each, handler)


def _words(error: BaseException) -> tuple[str, int]:
    """Return the message of an error, and the exit status for it."""
    if isinstance(error, Stopped):
        return str(error), error.status
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; {AGAIN}", INTERRUPTED
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) and error.code else 1
        return f"left the common work early (exit status {error.code})", status
    if isinstance(error, SatoriError):
        return str(error), 1
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", 1
    return "".join(traceback.format_exception(error)).rstrip(), 1


def say(text: str) -> None:
    """Write a message to stderr in one write, so that those of several processes do not mix."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(2, (text + "\n").encode(errors="replace"))


def _end(world: World, status: int) -> NoReturn:
    """Abort this process and all others, whatever state MPI and the threads of this process are in."""
    signal.alarm(LAST_RESORT)  # no handler: the kernel ends us should Abort hang
    time.sleep(FORWARDING)
    with contextlib.suppress(Exception):
        world.abort(status)
    os._exit(status)


# Preemption: signals and RUN/STOP set a flag, which training checks between two steps.
#
# A signal handler writes nothing, for it may interrupt the writing of a checkpoint.
#
# Trainings that are parts of a multi-part job, as in a search, share its stop request: `work`.

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # SIGUSR1 is left alone: NCCL and launchers use it
SECONDS_BETWEEN_LOOKS = 1.0


class StopRequest:
    """A request to stop, by a signal or a file.

    Args:
        file: its presence is a request; None = signals only.
        common: it is for other processes too, but not for those that start later: the file is left in place, and counts
            only once it is touched after the start.

    Attributes:
        why: "" or the source of the request, in words.
    """

    def __init__(self, file: Path | None = None, *, common: bool = False) -> None:
        self.why = ""
        self._file = file
        self._common = common
        self._known = _touched(file) if file is not None and common else None
        self._looked = 0.0

    def requested(self) -> bool:
        """Return whether a stop was requested; cheap enough for every step: the file is checked once a second."""
        if not self.why and self._file is not None and time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            if _touched(self._file) not in (None, self._known):
                self.why = str(self._file)
        return bool(self.why)

    def acknowledge(self) -> None:
        """Acknowledge, once the state is saved: remove the file, which must not stop the job that resumes."""
        if self._file is not None and not self._common:
            self._file.unlink(missing_ok=True)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.why = signal.Signals(number).name


def _touched(file: Path) -> int | None:
    """Return the modification time of a file; None when it does not exist."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


_work: StopRequest | None = None


@contextlib.contextmanager
def work(file: Path) -> Iterator[StopRequest]:
    """Share one stop request between all parts of a multi-part job: within the block, `listen` yields it.

    A file that exists already is no request; touched again, it is.
    """
    global _work
    _work = StopRequest(file, common=True)
    try:
        yield _work
    finally:
        _work = None


def between_parts() -> None:
    """Stop here, between two parts of a multi-part job, if requested.

    Raises:
        Preempted: a stop was requested.
    """
    if _work is not None and _work.requested():
        raise Preempted(f"stopped for {_work.why}: run the same command again to go on")


@contextlib.contextmanager
def listen(file: Path, world: World) -> Iterator[StopRequest]:
    """Within the block, SIGTERM, SIGUSR2 or the file request a stop; inside a multi-part job its request is used.

    A file that exists already was meant for an earlier job: it is removed, or a requeued job would stop again for
    ever. Only rank 0 checks for the file.
    """
    if _work is not None:
        request = _work
    else:
        if world.rank == 0 and file.exists():
            logger.info("%s was there from before and is removed", file)
            file.unlink(missing_ok=True)
        request = StopRequest(file if world.rank == 0 else None)
    with handling(request):
        yield request


@contextlib.contextmanager
def handling(request: StopRequest) -> Iterator[None]:
    """Within the block, signals only request a stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, request.handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
