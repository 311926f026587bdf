"""The world of many processes: MPI as this package uses it. Host memory only; mpi4py is loaded by `join`."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from satori_hpc.errors import SatoriError
from satori_hpc.stages.joined import Joined

Value = TypeVar("Value")

PIECE = 2**30  # bytes in one message; counts of older MPI libraries end at 2**31
LONGEST_PAUSE = 0.01  # seconds between two looks at a message that is not there yet
INSTALL = "pip install 'satori-hpc[mpi]'"


def join() -> "MpiWorld":
    """Enter MPI and become one of its processes.

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


class MpiWorld(Joined):
    """The processes of an MPI communicator; see World for what each method promises.

    Waiting is done by looking again and again with growing pauses, not inside MPI: a waiting process takes no
    processor from those that compute, and signals reach it.

    Args:
        comm: an intracommunicator of mpi4py; duplicated, so that no message of others is met.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._comm = comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank = node.Get_rank()
        here = sorted(node.group.Translate_ranks(None, comm.group))
        cores = self.gather(sorted(os.sched_getaffinity(0)))
        self.sharers = sum(not set(cores[self.rank]).isdisjoint(cores[rank]) for rank in here)
        node.Free()

    def barrier(self) -> None:
        self._wait(self._comm.Ibarrier())

    def shares(self, items: Sequence[Value], *, schedule: str) -> Iterator[Value]:
        if schedule != "dynamic":
            yield from items[self.rank :: self.size]
            return
        from mpi4py.util.sync import Counter

        self.barrier()  # making a counter waits inside MPI: be there together
        counter = Counter(comm=self._comm)
        while (number := counter.next()) < len(items):
            yield items[number]
        self.barrier()
        counter.free()

    def poke(self) -> None:
        # Asking for any message lets the library serve those who want the counter that lies on this process.
        self._comm.Iprobe()

    def close(self) -> None:
        self.barrier()
        self._comm.Free()

    def abort(self, status: int) -> None:
        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(status)

    def _all_gather(self, message: bytes) -> list[bytes]:
        import numpy as np
        from mpi4py import MPI

        sizes = np.empty(self.size, np.int64)
        self._wait(self._comm.Iallgather(np.array([len(message)], np.int64), sizes))
        starts = np.concatenate([[0], np.cumsum(sizes)])
        buffer = bytearray(int(starts[-1]))
        layout = [buffer, (sizes.tolist(), starts[:-1].tolist()), MPI.BYTE]
        self._wait(self._comm.Iallgatherv([message, MPI.BYTE], layout))
        return [bytes(buffer[start:stop]) for start, stop in zip(starts[:-1], starts[1:], strict=True)]

    def _broadcast(self, payload: bytes) -> bytes:
        """The leader's bytes, on every process."""
        import numpy as np
        from mpi4py import MPI

        size = np.array([len(payload)], np.int64)
        self._wait(self._comm.Ibcast(size))
        buffer = bytearray(payload) if self.rank == 0 else bytearray(int(size[0]))
        view = memoryview(buffer)
        for start in range(0, len(buffer), PIECE):
            self._wait(self._comm.Ibcast([view[start : start + PIECE], MPI.BYTE]))
        return bytes(buffer)

    def _wait(self, request: Any) -> None:
        began = time.monotonic()
        while not request.Test():
            waited = time.monotonic() - began
            time.sleep(min(LONGEST_PAUSE, waited / 10))
