"""The plan of a score store, made once, and the markers of what is done of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from satori_hpc.core import pairs

FORMAT_VERSION = 1
ARTEFACT = "satori_hpc scores"
GROUPS = ("foreground", "background")
ARRAYS = ("score", "distance")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that shapes the store's bytes, save the scores.

    Attributes:
        method: name of the scoring method.
        filters: F; there are F (F - 1) / 2 pairs.
        foreground, background: int64, rows of the examples in their dataset, in the order of the store.
        background_source: "dataset" or "background": whose rows `background` are.
        dataset_examples: length of `selected`.
        shard_examples: examples per partition.
        chunk_pairs: pairs per inner chunk.
        digests: of all that the scores follow from; a store with other digests is made anew.
    """

    method: str
    filters: int
    foreground: np.ndarray
    background: np.ndarray
    background_source: str
    dataset_examples: int
    shard_examples: int
    chunk_pairs: int
    digests: dict[str, str]

    @property
    def pairs(self) -> int:
        return pairs.count(self.filters)

    def rows(self, group: str) -> np.ndarray:
        rows: np.ndarray = getattr(self, group)
        return rows

    def partitions(self, group: str) -> list[tuple[int, int]]:
        """[first, last) rows of each partition."""
        total = len(self.rows(group))
        step = self.shard_examples
        return [(first, min(first + step, total)) for first in range(0, total, step)]

    def attributes(self) -> dict[str, Any]:
        return {
            "artefact": ARTEFACT,
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "filters": self.filters,
            "background_source": self.background_source,
            "shard_examples": self.shard_examples,
            "chunk_pairs": self.chunk_pairs,
            "plan": {group: [list(rows) for rows in self.partitions(group)] for group in GROUPS},
            "digests": self.digests,
        }


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What is known of a finished partition: its rows, its files by array, and sums over the observed scores."""

    group: str
    partition: int
    rows: list[int]
    files: dict[str, dict[str, Any]]
    observed: int
    total: float
    sites: int
