"""Define the world (rank and size) and runtime (device, threads, memory) of a process; launchers start it."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from satori_hpc.errors import SatoriError, shared
from satori_hpc.parallel import memory, messages

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")


class World:
    """The processes that work together on a command; this class: a single one. `mpi` and `torch_group` join several.

    Values sent between processes are plain, as `messages.encode` takes them; nothing is pickled.

    Attributes:
        rank, size: this process among all; rank 0 is the root.
        local_rank: this process among those on its node.
        ranks_per_cpuset: processes, itself included, that may run on the same processors.
        status: current work of this process, in words, for messages.
    """

    rank = 0
    size = 1
    local_rank = 0
    ranks_per_cpuset = 1
    status = ""

    def run_on_root(self, function: Callable[[], Value]) -> Value:
        """Call `function` on rank 0 alone; every process gets its result, or raises its SatoriError."""
        if self.size == 1:
            return function()
        failure: SatoriError | None = None
        value: Any = None
        if self.rank == 0:
            try:
                value = function()
            except SatoriError as error:
                failure = error
        value, words = self.broadcast((value, messages.encode_error(failure) if failure else None))
        if words is not None:
            raise shared(failure or messages.decode_error(words))
        result: Value = value
        return result

    def broadcast(self, value: Value) -> Value:
        """Give every process the value of rank 0."""
        if self.size == 1:
            return value
        message = messages.encode(value) if self.rank == 0 else b""
        size = int.from_bytes(self._broadcast(len(message).to_bytes(8, "little")), "little")
        received = self._broadcast(message.ljust(size))  # padded to one size, as buffers of MPI and gloo must be
        if self.rank == 0:
            return value
        found: Value = messages.decode(received)
        return found

    def all_gather(self, value: Value) -> list[Value]:
        """Give every process the values of all, by rank."""
        if self.size == 1:
            return [value]
        message = messages.encode(value)
        sizes = [int.from_bytes(size, "little") for size in self._all_gather(len(message).to_bytes(8, "little"))]
        received = self._all_gather(message.ljust(max(sizes)))
        return [messages.decode(each[:size]) for each, size in zip(received, sizes, strict=True)]

    def barrier(self) -> None:
        """Wait until every process is here."""

    def my_items(self, items: Sequence[Value], *, schedule: str) -> Iterator[Value]:
        """Yield the items of this rank (scatter); every process must iterate to the end.

        Args:
            items: the same on every process.
            schedule: "static": every size-th; "dynamic": the next that no rank has taken, for work of uneven cost.
        """
        yield from items[self.rank :: self.size]

    def all_reduce_sum(self, values: "torch.Tensor") -> None:
        """Replace a tensor by its sum over all processes, in place; all of them get the same bits."""

    def progress(self) -> None:
        """Let the message layer make progress; called in long computations, on which other ranks would wait."""

    def set_status(self, what: str) -> None:
        """Set the current work, for the message if this process fails: "scoring, foreground partition 3"; "" = none."""
        self.status = what

    # Overridden by worlds of several processes; `signals.together` calls the last four.

    def _broadcast(self, message: bytes) -> bytes:
        """Give every process the bytes of rank 0; all pass as many."""
        return message

    def _all_gather(self, message: bytes) -> list[bytes]:
        """Give every process the bytes of all, by rank; all pass as many."""
        return [message]

    def _find_neighbours(self) -> None:
        """Set local_rank and ranks_per_cpuset from where the processes run."""
        mine = (node(), sorted(os.sched_getaffinity(0)))
        here = [(rank, cores) for rank, (name, cores) in enumerate(self.all_gather(mine)) if name == mine[0]]
        self.local_rank = sum(rank < self.rank for rank, _ in here)
        self.ranks_per_cpuset = sum(not set(mine[1]).isdisjoint(cores) for _, cores in here)

    def close(self) -> None:
        """Wait for all processes at the end of the work (barrier), and leave."""

    def leave(self) -> None:
        """Clean up once no process waits for another."""

    def abort(self, status: int) -> None:
        """End all processes of the job now; may return when the library cannot."""

    def explains(self, error: BaseException) -> bool:
        """Return whether this error only follows from the end of another process, which has reported the cause."""
        return False


def node() -> str:
    """Identify this machine, or the container on it that has a network of its own."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.stat('/proc/self/ns/net').st_ino}"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Resources of a command; none changes a result beyond rounding.

    Attributes:
        device: "auto", "cpu" or "cuda".
        threads: CPU threads of this process; 0 = all that it may run on, divided among the processes that share
            them, and at most OMP_NUM_THREADS where that is set.
        batch_size: sequences per forward pass outside training.
        micro_batch: sequences per forward pass in training; 0 = as many as suit the device.
        memory: bytes that this process may use; 0 = as much as scoring and preparing need, most of the memory of the
            job for reducing.
        schedule: "static" or "dynamic": how ranks share the partitions of a store.
        cluster: "threads" or "local": where Dask runs; unless there is a scheduler file.
        scheduler_file: of a Dask cluster that is running.
    """

    device: str = "auto"
    threads: int = 0
    batch_size: int = 256
    micro_batch: int = 0
    memory: int = 0
    schedule: str = "static"
    cluster: str = "threads"
    scheduler_file: Path | None = None
    world: World = field(default_factory=World)

    def torch_device(self) -> "torch.device":
        """Return the device to compute on: of several GPUs of a node, the one of this local rank.

        Raises:
            SatoriError: CUDA was requested and is not available (no silent fallback to the CPU).
        """
        import torch  # here: commands that do not compute start two seconds sooner without it

        if self.device == "cuda" and not torch.cuda.is_available():
            raise SatoriError(
                "--device cuda: torch sees no CUDA device here; see satori-hpc doctor, or use --device cpu"
            )
        if self.device == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.world.local_rank % torch.cuda.device_count())

    def device_name(self) -> str:
        """Return the name of `torch_device`; a command that stays on the CPU does not load torch for that."""
        return "cpu" if self.device == "cpu" else str(self.torch_device())

    def cpu_threads(self) -> int:
        """Return the number of threads: the processors this process may run on, not those of the machine."""
        if self.threads:
            return self.threads
        usable = max(1, len(os.sched_getaffinity(0)) // self.world.ranks_per_cpuset)
        first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": of nested levels
        return min(usable, int(first)) if first.isdecimal() and int(first) else usable

    def apply(self) -> None:
        """Set torch's number of threads, if the command has loaded it, and have malloc keep memory.

        numba and Dask get theirs where they are started.
        """
        memory.keep_freed()
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(self.cpu_threads())
