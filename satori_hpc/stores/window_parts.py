"""dataset.parts/: the sequences of a genome's windows as far as they have been read, a Parquet file per block of rows.

`windows.npz` holds the plan: which windows, in which order. Parts carry its digest (stores.parts), so several processes
may make them, and one that was killed is no loss.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from satori_hpc.core.windows import Regions
from satori_hpc.errors import ArtefactError
from satori_hpc.stores import atomic

BLOCK = 2**14
DIGEST = 16  # bytes that stand for a sequence


@dataclasses.dataclass(frozen=True)
class Part:
    """A block of windows.

    Attributes:
        tokens: uint8 (rows, L).
        unknown: int32 (rows,), letters other than ACGT.
        digest: (rows, 16) bytes; equal ones stand for equal sequences.
    """

    tokens: np.ndarray
    unknown: np.ndarray
    digest: np.ndarray


class Parts:
    """The folder of the parts of a plan.

    Args:
        folder: it.
        regions: the windows, all of one length.
        key: what else shapes their sequences: a digest of the genome.
    """

    def __init__(self, folder: Path, regions: Regions, *, key: str) -> None:
        self.folder = folder
        self.regions = regions
        self.length = int(regions.end[0] - regions.start[0])
        content = hashlib.sha256(key.encode())
        for values in vars(regions).values():
            content.update(np.ascontiguousarray(values).tobytes())
        self.key = content.hexdigest()

    @property
    def blocks(self) -> list[slice]:
        """Rows of every part."""
        count = len(self.regions)
        return [slice(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]

    def take(self, block: int) -> Regions:
        """Its windows."""
        rows = self.blocks[block]
        return Regions(**{name: values[rows] for name, values in vars(self.regions).items()})

    def begin(self) -> list[int]:
        """Make the folder, or keep what is in it if it is of this plan; the blocks that are to be done."""
        head = {"plan": self.key, "length": self.length}
        if self._head() != head:
            with atomic.atomic_folder(self.folder) as partial:
                np.savez(partial / "windows.npz", **vars(self.regions))
                atomic.write_text(partial / "parts.json", json.dumps(head) + "\n")
        atomic.sweep_partials(self.folder)
        return [block for block, rows in enumerate(self.blocks) if not self._whole(block, rows.stop - rows.start)]

    def write(self, block: int, part: Part) -> None:
        """Write a part, atomically."""
        columns = {
            "tokens": _bytes(part.tokens),
            "unknown": pa.array(part.unknown.astype(np.int32)),
            "digest": _bytes(part.digest),
        }
        table = pa.table(columns).replace_schema_metadata({"plan": self.key})
        with atomic.atomic_file(self._path(block)) as partial:
            pq.write_table(table, partial, compression="zstd", use_dictionary=False)

    def read(self, block: int, *, tokens: bool = True) -> Part:
        """A part, with or without its tokens.

        Raises:
            ArtefactError: it is missing or damaged.
        """
        rows = self.blocks[block]
        count = rows.stop - rows.start
        try:
            table = pq.read_table(
                self._path(block), columns=["unknown", "digest"] + ["tokens"] * tokens, partitioning=None
            )
        except (OSError, pa.ArrowException) as error:
            raise ArtefactError(f"{self._path(block)}: damaged ({error}); remove {self.folder}") from None
        return Part(
            tokens=_matrix(table, "tokens", self.length) if tokens else np.zeros((count, 0), dtype=np.uint8),
            unknown=table.column("unknown").to_numpy(),
            digest=_matrix(table, "digest", DIGEST),
        )

    def _whole(self, block: int, rows: int) -> bool:
        try:
            found = pq.read_metadata(self._path(block))
        except (OSError, pa.ArrowException):
            return False
        return bool(found.num_rows == rows and (found.metadata or {}).get(b"plan") == self.key.encode())

    def _head(self) -> object:
        try:
            return json.loads((self.folder / "parts.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _path(self, block: int) -> Path:
        return self.folder / f"block-{block:05d}.parquet"


def read_regions(folder: Path) -> Regions:
    """The plan that another process has written."""
    with np.load(folder / "windows.npz", allow_pickle=False) as found:
        return Regions(**{name: found[name] for name in found.files})


class Tokens:
    """Rows of all parts, in order, read as they are asked for; `keep` tells which, bool (windows,)."""

    def __init__(self, parts: Parts, keep: np.ndarray) -> None:
        self._parts = parts
        self._rows = np.flatnonzero(keep)
        self.shape = (len(self._rows), parts.length)
        self.ndim = 2

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """uint8 (rows, L)."""
        chosen = self._rows[rows]
        found = np.empty((len(chosen), self.shape[1]), dtype=np.uint8)
        for block in np.unique(chosen // BLOCK).tolist():
            here = chosen // BLOCK == block
            found[here] = self._parts.read(block).tokens[chosen[here] - block * BLOCK]
        return found


def _bytes(rows: np.ndarray) -> pa.Array:
    """(rows, n) bytes as a column of byte strings of one length."""
    rows = np.ascontiguousarray(rows, dtype=np.uint8)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(rows)])


def _matrix(table: pa.Table, name: str, width: int) -> np.ndarray:
    column = table.column(name).combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    raw = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    start = column.offset * width
    return raw[start : start + len(column) * width].reshape(len(column), width)
