"""Stopping in good order: signals and RUN/STOP set a flag, and training looks at it between two steps.

Nothing is written inside a signal handler, for it may interrupt the very writing of a checkpoint.

Trainings that are parts of a larger work, as in a search, share its wish to stop: `work`.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from satori_hpc.errors import Requeue
from satori_hpc.log import logger
from satori_hpc.world import World

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # SIGUSR1 is left alone: NCCL and launchers use it
SECONDS_BETWEEN_LOOKS = 1.0


class StopWish:
    """Whether this process has been asked to stop.

    Args:
        file: its presence asks; None = signals only.
        common: it asks other processes, too, and those that come later not: it is left where it is, and does not count
            as long as it is as it was found.

    Attributes:
        why: "" or what asked, in words.
    """

    def __init__(self, file: Path | None = None, *, common: bool = False) -> None:
        self.why = ""
        self._file = file
        self._common = common
        self._known = _touched(file) if file is not None and common else None
        self._looked = 0.0

    def wished(self) -> bool:
        """Cheap enough for every step: the file system is asked once a second."""
        if not self.why and self._file is not None and time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            if _touched(self._file) not in (None, self._known):
                self.why = str(self._file)
        return bool(self.why)

    def obeyed(self) -> None:
        """The state is kept: the file has done its work, and must not stop the job that goes on."""
        if self._file is not None and not self._common:
            self._file.unlink(missing_ok=True)

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Handler of the signals."""
        self.why = signal.Signals(number).name


def _touched(file: Path) -> int | None:
    """When a file was touched last; None when it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


_work: StopWish | None = None


@contextlib.contextmanager
def work(file: Path) -> Iterator[StopWish]:
    """Work of many parts that this process does alone, beside others: in the block, `listen` gives its wish to stop.

    A file that is there already does not ask; touched again, it does.
    """
    global _work
    _work = StopWish(file, common=True)
    try:
        yield _work
    finally:
        _work = None


def between_parts() -> None:
    """A point between two parts of a work, or of none.

    Raises:
        Requeue: somebody wished the work to stop.
    """
    if _work is not None and _work.wished():
        raise Requeue(f"stopped for {_work.why}: run the same command again to go on")


@contextlib.contextmanager
def listen(file: Path, world: World) -> Iterator[StopWish]:
    """Turn SIGTERM, SIGUSR2 and the file into a wish, as long as the block runs; in a work, its wish.

    A file that is there already was meant for a job before this one: it is removed, or a requeued job would stop again
    for ever. Only the leader looks for the file.
    """
    if _work is not None:
        wish = _work
    else:
        if world.rank == 0 and file.exists():
            logger.info("%s was there from before and is removed", file)
            file.unlink(missing_ok=True)
        wish = StopWish(file if world.rank == 0 else None)
    with hearing(wish):
        yield wish


@contextlib.contextmanager
def hearing(wish: StopWish) -> Iterator[None]:
    """In the block, signals are wishes and nothing else."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, wish.heard) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
