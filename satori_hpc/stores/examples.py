"""Examples to be written, some rows of which are asked for at a time, so that they need not be in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

BLOCK = 2**14  # examples that are looked at together


class Rows(Protocol):
    """An array, or anything of a shape that gives rows for a slice."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


class Texts(Protocol):
    """Strings in order; they may be made as they are asked for, and are asked for more than once."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[str]: ...


@dataclass(frozen=True)
class Coded:
    """Strings of which few differ: `names`, and the place in it of each, int (examples,)."""

    names: list[str]
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return (self.names[code] for code in self.codes)

    @staticmethod
    def of(strings: np.ndarray) -> "Coded":
        names, codes = np.unique(strings, return_inverse=True)
        return Coded([str(name) for name in names], codes)


@dataclass(frozen=True)
class Made:
    """Strings made of others' rows, some at a time: `block` gives those of a slice."""

    count: int
    block: Callable[[slice], list[str]]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        for rows in blocks(self.count):
            yield from self.block(rows)


@dataclass(frozen=True)
class Examples:
    """Sequences with labels, split and coordinates; attributes as in `dataset.Dataset` and `dataset.Coordinates`."""

    tokens: Rows
    labels: Rows
    split: np.ndarray
    names: Texts
    chrom: Coded
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    targets: list[str]
    task: str

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        return self.tokens.shape[1]


def blocks(count: int) -> Iterator[slice]:
    """Slices of some rows each, together all."""
    return (slice(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK))
