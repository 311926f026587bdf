"""Rows that may be more than memory holds: appended to a file, and read some at a time, in their order.

A file of this kind is of a running command: the same machine writes and reads it, and it has neither head nor version.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.stores import atomic


class Spill:
    """Rows of one dtype, structured or (type, shape of a row), in a file that appears with the first of them."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        return self.path.stat().st_size // self.dtype.itemsize if self.path.exists() else 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.dtype.shape)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Rows that stand together."""
        first, last, _ = rows.indices(len(self))
        if last <= first:
            return np.zeros(0, dtype=self.dtype)
        return np.fromfile(self.path, dtype=self.dtype, count=last - first, offset=first * self.dtype.itemsize)

    def append(self, rows: np.ndarray) -> None:
        """Write rows behind those that are there.

        Raises:
            SatoriError: the disk is full.
        """
        if not len(rows):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.room(self.path), open(self.path, "ab") as handle:
            handle.write(np.ascontiguousarray(rows).view(np.uint8).data)

    def add(self, **columns: Any) -> None:
        """Write rows by their columns, arrays or one value for all; at least one is an array."""
        count = max(len(values) for values in columns.values() if isinstance(values, np.ndarray))
        rows = np.empty(count, dtype=self.dtype)
        for name in rows.dtype.names or ():
            rows[name] = columns[name]
        self.append(rows)

    def pieces(self, rows: int) -> Iterator[np.ndarray]:
        """All rows in order, at most so many at a time."""
        for first in range(0, len(self), rows):
            yield self[first : first + rows]

    def remove(self) -> None:
        """Make it empty."""
        self.path.unlink(missing_ok=True)
