"""How much of the memory that a process may use is there for rows, and how many rows that is."""

from dataclasses import dataclass

import psutil

from satori_hpc import memory
from satori_hpc.errors import SatoriError
from satori_hpc.stores.dataset_arrays import CHUNK_EXAMPLES
from satori_hpc.stores.zarr_arrays import BLOCK_BYTES
from satori_hpc.world import Runtime

DEFAULT = 2 * 2**30
LEAST = 2**24  # bytes for rows: with less, files and calls would take all the time
USABLE = 0.6  # of what is free; the rest goes to holes between arrays and to the buffers of libraries
EXAMPLE = 128  # bytes that the leader keeps of every example: place, digest, group, part, and their sorting
BLOCK_COPIES = 6  # of a block of sequences while it is made or written


@dataclass(frozen=True)
class Room:
    """Bytes that arrays may take.

    Attributes:
        limit: of the process; 0 = none was given, and only what can be cut is.
        program: the process without them.
    """

    limit: int
    program: int

    @staticmethod
    def of(runtime: Runtime) -> "Room":
        """What --memory leaves beside the program as it is now."""
        return Room(runtime.memory, int(psutil.Process().memory_info().rss))

    def rows(self, each: int) -> int:
        """How many rows may be held at a time that take `each` bytes with all that is made of them; at least one."""
        limit = self.limit or min(DEFAULT, memory.limit_bytes() // 2)
        return max(1, int(max(USABLE * (limit - self.program), LEAST)) // each)

    def check_file(self, taken: int) -> None:
        """Refuse a file that is held as a whole and takes so many bytes, also where no limit was given.

        Raises:
            SatoriError: it does not fit into memory.
        """
        limit = self.limit or memory.limit_bytes()
        if self.program + taken > limit:
            what = "--memory" if self.limit else "the memory of this job,"
            raise SatoriError(
                f"{what} {memory.show(limit)} is too little: a file of sequences or labels is held as a whole, and "
                f"takes more than {memory.show(taken)} beside {memory.show(self.program)} of the program; give more "
                "memory, or fewer sequences"
            )

    def check(self, needed: dict[str, int]) -> None:
        """Refuse bytes, by what they are for, that cannot be cut and do not fit into a limit that was given.

        Raises:
            SatoriError: they do not.
        """
        total = self.program + sum(needed.values())
        if self.limit and total > self.limit:
            parts = ", ".join(f"{what} {memory.show(size)}" for what, size in needed.items())
            raise SatoriError(
                f"--memory {memory.show(self.limit)} is too little: at least {memory.show(total)} are needed (program "
                f"{memory.show(self.program)}, {parts}); give more memory"
            )


def of_examples(count: int, *, length: int, each: int = EXAMPLE) -> dict[str, int]:
    """Bytes for `count` sequences of `length` bp: `each` of every one, and a block of them on its way to disk."""
    block = BLOCK_COPIES * max(BLOCK_BYTES, min(count, CHUNK_EXAMPLES) * length)
    return {f"what is kept of {count} sequences": each * count, f"a block of sequences of {length} bp": block}
