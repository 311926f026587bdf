"""Which of how many processes this one is. Nothing here starts or imports a launcher."""

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """One process among `size`; `local_rank` counts the processes of one machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0
