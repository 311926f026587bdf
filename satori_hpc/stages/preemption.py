"""Stopping in good order: signals and RUN/STOP set a flag, and training looks at it between two steps.

Nothing is written inside a signal handler, for it may interrupt the very writing of a checkpoint.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from satori_hpc.log import logger
from satori_hpc.world import World

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # SIGUSR1 is left alone: NCCL and launchers use it
SECONDS_BETWEEN_LOOKS = 1.0


class StopWish:
    """Whether this process has been asked to stop.

    Args:
        file: its presence asks; None = signals only.

    Attributes:
        why: "" or what asked, in words.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.why = ""
        self._file = file
        self._looked = 0.0

    def wished(self) -> bool:
        """Cheap enough for every step: the file system is asked once a second."""
        if not self.why and self._file is not None and time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            if self._file.exists():
                self.why = str(self._file)
        return bool(self.why)

    def obeyed(self) -> None:
        """The state is kept: the file has done its work, and must not stop the job that goes on."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Handler of the signals."""
        self.why = signal.Signals(number).name


@contextlib.contextmanager
def listen(file: Path, world: World) -> Iterator[StopWish]:
    """Turn SIGTERM, SIGUSR2 and the file into a wish, as long as the block runs.

    A file that is there already was meant for a job before this one: it is removed, or a requeued job would stop again
    for ever. Only the leader looks for the file.
    """
    if world.rank == 0 and file.exists():
        logger.info("%s was there from before and is removed", file)
        file.unlink(missing_ok=True)
    wish = StopWish(file if world.rank == 0 else None)
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    previous = {number: signal.signal(number, wish.heard) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
