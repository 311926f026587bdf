"""Which of how many processes this one is, and what of the machine it may use. Nothing here starts a launcher."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from satori_hpc.errors import SatoriError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class World:
    """One process among `size`."""

    rank: int = 0
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What a command may use; nothing in here changes a result beyond rounding.

    Attributes:
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; 0 = all that this process may run on.
        batch_size: sequences per forward pass outside training.
    """

    device: str = "auto"
    threads: int = 0
    batch_size: int = 256
    world: World = field(default_factory=World)

    def torch_device(self) -> "torch.device":
        """The device to compute on.

        Raises:
            SatoriError: CUDA was asked for and is not there (never a silent fall back to the CPU).
        """
        import torch  # here: commands that do not compute start two seconds sooner without it

        if self.device == "cuda" and not torch.cuda.is_available():
            raise SatoriError(
                "--device cuda: torch sees no CUDA device here; see satori-hpc doctor, or use --device cpu"
            )
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def cpu_threads(self) -> int:
        """Threads to use: the processors this process may run on, not those of the machine."""
        return self.threads or len(os.sched_getaffinity(0))

    def apply(self) -> None:
        """Hand the thread count to torch; numba and Dask take theirs where they are started."""
        import torch

        torch.set_num_threads(self.cpu_threads())
