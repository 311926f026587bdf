"""Which of how many processes this one is, and what of the machine it may use. Nothing here starts a launcher."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from satori_hpc.errors import SatoriError
from satori_hpc.parallel import memory, messages

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")


class World:
    """The processes that work together on a command; this class is the world of one, parallel.mpi that of many.

    Attributes:
        rank, size: this process among all; rank 0 is the leader.
        local_rank: this process among those on its node.
        sharers: processes, itself included, that may run on the same processors.
    """

    rank = 0
    size = 1
    local_rank = 0
    sharers = 1

    def lead(self, function: Callable[[], Value]) -> Value:
        """Let the leader alone call `function`; every process gets its result, or raises its SatoriError.

        Between processes go plain values, as `messages.encode` takes them: no objects of ours, and nothing pickled.
        """
        return function()

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, by rank, to every process; plain ones, as of `lead`."""
        return [value]

    def barrier(self) -> None:
        """Wait until every process is here."""

    def shares(self, items: Sequence[Value], *, schedule: str) -> Iterator[Value]:
        """The items that fall to this process; every process must iterate to the end.

        Args:
            items: the same on every process.
            schedule: "static": every size-th; "dynamic": the next that nobody has taken, for work of uneven cost.
        """
        yield from items

    def add_up(self, values: "torch.Tensor") -> None:
        """Replace a tensor by its sum over all processes, in place; all of them get the same bits."""

    def poke(self) -> None:
        """Give the message layer a moment; called now and then in long computations, so that others need not wait."""

    def doing(self, what: str) -> None:
        """Note what this process works on, to be told if it dies: "scoring, foreground partition 3"; "" = nothing."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What a command may use; nothing in here changes a result beyond rounding.

    Attributes:
        device: "auto", "cpu" or "cuda".
        threads: CPU threads of this process; 0 = all that it may run on, divided among those who share them, and at
            most OMP_NUM_THREADS where that is set.
        batch_size: sequences per forward pass outside training.
        micro_batch: sequences per forward pass in training; 0 = as many as suit the device.
        memory: bytes that this process may use; 0 = what scoring and preparing take, most of what the job has for
            reducing.
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
        """The device to compute on: of several GPUs of a node, the one that falls to this process.

        Raises:
            SatoriError: CUDA was asked for and is not there (never a silent fall back to the CPU).
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
        """What `torch_device` is called; a command that stays on the CPU does not load torch for that."""
        return "cpu" if self.device == "cpu" else str(self.torch_device())

    def cpu_threads(self) -> int:
        """Threads to use: the processors this process may run on, not those of the machine."""
        if self.threads:
            return self.threads
        usable = max(1, len(os.sched_getaffinity(0)) // self.world.sharers)
        first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": of nested levels
        return min(usable, int(first)) if first.isdecimal() and int(first) else usable

    def apply(self) -> None:
        """Hand threads to torch, where the command has loaded it, and have malloc keep memory.

        numba and Dask take theirs where they are started.
        """
        memory.keep_freed()
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(self.cpu_threads())


# What every world of several processes has, whatever carries its messages.


class Joined(World):
    """A process among several.

    Attributes:
        current: what this process works on, in words.
    """

    current = ""
    _tell: Callable[[str], None] | None = None

    def lead(self, function: Callable[[], Value]) -> Value:
        failure: SatoriError | None = None
        value: Any = None
        message = b""
        if self.rank == 0:
            try:
                value = function()
            except SatoriError as error:
                failure = error
            message = messages.encode((value, failure and messages.encode_error(failure)))
        received = self._broadcast(message)
        if self.rank != 0:
            value, words = messages.decode(received)
            failure = words and messages.decode_error(words)
        if failure is not None:
            failure.shared = True
            raise failure
        result: Value = value
        return result

    def gather(self, value: Value) -> list[Value]:
        return [messages.decode(message) for message in self._all_gather(messages.encode(value))]

    def _all_gather(self, message: bytes) -> list[bytes]:
        """The messages of all processes, by rank, on every process."""
        raise NotImplementedError

    def _broadcast(self, payload: bytes) -> bytes:
        """The leader's bytes, on every process."""
        raise NotImplementedError

    def doing(self, what: str) -> None:
        self.current = what
        if self._tell is not None:
            self._tell(what)

    def listen(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with what this process works on, from now on."""
        self._tell = tell

    def close(self) -> None:
        """Wait for the others at the end of the common work, and leave."""
        raise NotImplementedError

    def abort(self, status: int) -> None:
        """End all processes of the job now; may return when the library cannot."""
        raise NotImplementedError

    def explains(self, error: BaseException) -> bool:
        """Whether this error only tells that another process has ended, which has said why by itself."""
        return False
