"""What the attributes of a score store say of its shape: no array is read for it."""

from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.core import pairs
from satori_hpc.stores import score_plan
from satori_hpc.stores.score_plan import GROUPS


class Geometry:
    """The shape of a score store.

    Args:
        path: of the store.
        attributes: of its root group.
    """

    def __init__(self, path: Path, attributes: dict[str, Any]) -> None:
        self.path = path
        self.attributes = attributes

    @property
    def method(self) -> str:
        return str(self.attributes["method"])

    @property
    def filters(self) -> int:
        return int(self.attributes["filters"])

    @property
    def pairs(self) -> int:
        return pairs.count(self.filters)

    @property
    def arrays(self) -> dict[str, str]:
        """The arrays of every group that hold a value per example and pair, each with its type."""
        return dict(self.attributes["arrays"])

    @property
    def pair_bytes(self) -> int:
        """Bytes of a pair in an example, over all arrays."""
        return score_plan.pair_bytes(self.arrays)

    @property
    def composition(self) -> np.ndarray:
        """float64 (4,): share of A, C, G and T in the training examples."""
        return np.array(self.attributes["composition"], dtype=np.float64)

    @property
    def chunk_pairs(self) -> int:
        """Pairs per inner chunk."""
        return min(int(self.attributes["chunk_pairs"]), self.pairs)

    @property
    def chunks(self) -> int:
        """Inner chunks per shard."""
        return -(-self.pairs // self.chunk_pairs)

    def shard_rows(self, group: str) -> int:
        """Rows of every shard of a group; those of the last one that have no example are filled up."""
        total = self.partitions(group)[-1][1]
        return min(int(self.attributes["shard_examples"]), total)  # a short group is not filled up to a whole shard

    def partitions(self, group: str) -> list[tuple[int, int]]:
        """[first, last) rows of each partition of a group."""
        return [(first, last) for first, last in self.attributes["plan"][group]]

    def items(self) -> list[tuple[str, int]]:
        """(group, partition) of all partitions, in the order in which they are numbered."""
        return [(group, partition) for group in GROUPS for partition in range(len(self.partitions(group)))]

    def shard_path(self, group: str, array: str, partition: int) -> Path:
        return self.path / group / array / "c" / str(partition) / "0"
