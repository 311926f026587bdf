"""The world of many processes that train together: torch.distributed, by gloo on CPUs and NCCL on GPUs."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from satori_hpc.errors import Requeue, SatoriError, shared
from satori_hpc.stages import ending, launch, messages, preemption, rendezvous
from satori_hpc.stages.joined import Joined
from satori_hpc.stages.rendezvous import Meeting, Place
from satori_hpc.stages.watch import Watch
from satori_hpc.world import World

if TYPE_CHECKING:
    import torch

EXCHANGE = timedelta(minutes=60)  # longest wait in one exchange: the leader may be writing to a slow disk
BEAT = 2.0  # seconds between two looks whether somebody has failed
GRACE = 3.0  # seconds that the main thread gets to end by itself then
AFTER_YOU = 0.5  # seconds by which the leader leaves first: launchers end all when one has ended
FAILED = "failed"
SIZE_BYTES = 8  # the size of a message, which goes ahead of it


class LostError(SatoriError):
    """An exchange did not come about."""


@contextlib.contextmanager
def session(run_path: Path, *, meeting: str | None, join_timeout: float) -> Iterator[World]:
    """The world of a training command: one process, or all that torchrun, srun or mpiexec started.

    An exception that leaves the block on one process ends all of them, as in `launch.session`; an error with `shared`
    is raised by the leader, and the others exit with its status. Stopped by a signal, the status is that of Requeue.

    Args:
        run_path: the run directory.
        meeting: "file", "tcp://HOST:PORT" or None, see `rendezvous.meet`.
        join_timeout: seconds to wait for all processes to come.

    Raises:
        SatoriError: the processes do not find each other.
    """
    where = rendezvous.place()
    if where is None:
        launch.refuse_unknown("train", rendezvous.CURE)
    if where is None or where.size == 1:
        with ending.serial(preemption.SIGNALS, status=Requeue.status):
            yield World()
        return
    name = ending.name_of(where.rank, where.size)
    watch = Watch(name)
    watch.doing("joining the other processes")
    try:
        world = _join(run_path, where, meeting=meeting, timeout=timedelta(seconds=join_timeout))
    except BaseException as error:
        watch.failed()
        watch.end()
        if isinstance(error, SatoriError) and error.shared and where.rank > 0:
            raise SystemExit(error.status) from None
        raise
    watch.job(world.lead(lambda: os.urandom(8).hex()))
    watch.doing("")
    world.listen(watch.doing)
    try:
        with ending.together(world, watch, preemption.SIGNALS, status=Requeue.status):
            yield world
            world.doing("waiting for the others at the end")
            world.close()
    except SatoriError as error:
        for number in preemption.SIGNALS:  # launchers signal those who are left when the first has ended
            signal.signal(number, signal.SIG_IGN)
        world.leave()
        if world.rank == 0:
            raise
        time.sleep(AFTER_YOU)
        raise SystemExit(error.status) from None
    finally:
        watch.end()


def _join(run_path: Path, where: Place, *, meeting: str | None, timeout: timedelta) -> "TorchWorld":
    """Become one of the processes of the job."""
    if not run_path.is_dir():
        raise shared(SatoriError(f"{run_path}: no such run directory"))
    try:
        met = rendezvous.meet(run_path, where, rendezvous=meeting, name=ending.name_of(where.rank), timeout=timeout)
    except RuntimeError as error:
        raise SatoriError(
            f"rank {where.rank} lost the others before all had come, or the file system of {run_path} has no locks "
            f"({_first_line(error)}): run it again, or {rendezvous.CURE}"
        ) from None
    try:
        return _connect(where, met, timeout=max(EXCHANGE, timeout))
    except BaseException:
        if where.rank == 0:
            met.remove()
        raise


def _connect(where: Place, met: Meeting, *, timeout: timedelta) -> "TorchWorld":
    """Connect the processes that have met."""
    import torch
    import torch.distributed as dist

    if met.interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", met.interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={met.interface}")  # "=": this one, not all that begin so
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(
            backend,
            store=dist.PrefixStore("group", met.store),
            rank=where.rank,
            world_size=where.size,
            timeout=timeout,
        )
    except RuntimeError as error:
        raise SatoriError(
            f"the processes cannot connect to each other ({_first_line(error)}): name the network "
            "interface to use in GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME), see: ip -brief address"
        ) from error
    return TorchWorld(where, met)


class TorchWorld(Joined):
    """The processes of torch's default group; see World for what each method promises.

    Connections of gloo are not authenticated, so every message is sealed by the job's secret; the first one proves
    that all processes are of this job. Sums of gradients are not: numbers, of which no code can be made.

    Args:
        where: this process.
        met: how it met the others; the leader removes the files of that in the end.
    """

    def __init__(self, where: Place, met: Meeting) -> None:
        self.rank, self.size = where.rank, where.size
        self._store = met.store
        self._met = met
        self._exchanges = 0
        self._over = threading.Event()
        mine = (socket.gethostname(), sorted(os.sched_getaffinity(0)))
        node = [(rank, cores) for rank, (host, cores) in enumerate(self.gather(mine)) if host == mine[0]]
        self.local_rank = sum(rank < self.rank for rank, _ in node)
        self.sharers = sum(not set(mine[1]).isdisjoint(cores) for _, cores in node)
        self._guard = threading.Thread(target=self._look_after_others, daemon=True)
        self._guard.start()

    def barrier(self) -> None:
        self.gather(None)

    def add_up(self, values: "torch.Tensor") -> None:
        import torch.distributed as dist

        with _exchange():
            dist.all_reduce(values)

    def close(self) -> None:
        import torch.distributed as dist

        self._over.set()
        self._guard.join()
        self.barrier()  # who still looked into the file would wait for it to come back
        self.leave()
        dist.destroy_process_group()

    def leave(self) -> None:
        """What is left to do when nobody waits for anybody any more."""
        self._over.set()
        self._guard.join(timeout=1)
        if self.rank == 0:
            self._met.remove()

    def abort(self, status: int) -> None:
        """Tell the others, who end themselves: their connections break, or their guard hears of it."""
        self._store.set(FAILED, str(self.rank))

    def explains(self, error: BaseException) -> bool:
        if not isinstance(error, LostError):
            return False
        deadline = time.monotonic() + GRACE
        try:
            while time.monotonic() < deadline:
                if self._store.check([FAILED]):
                    return True
                time.sleep(0.05)
            return bool(self._store.add("lost", 1) > 1)  # it was killed: one of those who are left tells
        except RuntimeError:
            return False  # the store went with the leader

    def _somebody_failed(self) -> bool:
        try:
            return bool(self._store.check([FAILED]))
        except RuntimeError:
            return True  # the store went with the leader

    def _look_after_others(self) -> None:
        """End this process when another one has failed: a GPU would wait for it for ever."""
        while not self._over.wait(BEAT):
            if self.rank == 0:
                self._met.keep()
            if self._somebody_failed() and not self._over.wait(GRACE):
                os._exit(1)

    def _all_gather(self, message: bytes) -> list[bytes]:
        sizes = self._gather_sized(_size(message), [SIZE_BYTES] * self.size)
        return self._gather_sized(message, [int.from_bytes(size, "little") for size in sizes])

    def _broadcast(self, message: bytes) -> bytes:
        size = self._broadcast_sized(_size(message), SIZE_BYTES)
        return self._broadcast_sized(message, int.from_bytes(size, "little"))

    def _gather_sized(self, message: bytes, sizes: list[int]) -> list[bytes]:
        """The messages of all processes, whose sizes are known."""
        import torch
        import torch.distributed as dist

        mine = self._seal(message)
        longest = max(sizes) + messages.TAG_BYTES
        found = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
        with _exchange():
            dist.all_gather(found, torch.nn.functional.pad(mine, (0, longest - len(mine))))
        return [self._unseal(each, size, rank) for rank, (each, size) in enumerate(zip(found, sizes, strict=True))]

    def _broadcast_sized(self, message: bytes, size: int) -> bytes:
        """The leader's message, whose size is known."""
        import torch
        import torch.distributed as dist

        mine = self._seal(message)
        found = mine if self.rank == 0 else torch.empty(size + messages.TAG_BYTES, dtype=torch.uint8)
        with _exchange():
            dist.broadcast(found, 0)
        return self._unseal(found, size, 0)

    def _seal(self, message: bytes) -> "torch.Tensor":
        """A message for the next exchange; all processes are at the same one."""
        import torch

        self._exchanges += 1
        sealed = messages.seal(message, self._met.secret, number=self._exchanges, rank=self.rank)
        return torch.frombuffer(bytearray(sealed), dtype=torch.uint8)

    def _unseal(self, sealed: "torch.Tensor", size: int, rank: int) -> bytes:
        """The message of a process in this exchange."""
        content = sealed[: messages.TAG_BYTES + size].numpy().tobytes()
        return messages.unseal(content, self._met.secret, number=self._exchanges, rank=rank)


@contextlib.contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            f"lost another process, which was killed, or whose node or network failed ({_first_line(error)}); "
            f"{ending.AGAIN}"
        ) from None


def _first_line(error: Exception) -> str:
    """All of an error of torch's that is worth telling; the rest is its stack in C++."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _size(message: bytes) -> bytes:
    return len(message).to_bytes(SIZE_BYTES, "little")
