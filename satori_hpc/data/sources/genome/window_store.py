"""dataset.parts/: the sequences of a genome's windows as far as they have been read, a Parquet file per block of rows.

`plan/windows` holds which windows there are, in which order, and is made anew by every command. Parts carry its digest,
so several processes may make them, and one that was killed is no loss; and a digest of their own content, so what is
damaged is made anew.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from satori_hpc.data.source import RowFile
from satori_hpc.data.sources.genome.windows import Regions, matrix
from satori_hpc.data.splits import DIGEST
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.run import files, parquet, sealed

FORMAT_VERSION = 1
HEAD, WINDOWS = "parts.json", Path("plan", "windows")
BLOCK = 2**14  # windows in a part, unless they are long:
BLOCK_LETTERS = 2**24


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


def row(words: int) -> list[Any]:
    """Dtype of a window in the plan, with a bit per label in so many words."""
    return [("chrom", np.int32), ("start", np.int64), ("strand", np.int8), ("labels", np.uint64, (words,))]


def begin(folder: Path, windows: RowFile, *, length: int, key: str) -> list[int]:
    """Tell all processes the plan; the blocks that are to be done.

    Args:
        folder: of the parts.
        windows: the plan, in `folder`.
        length: bp of a window.
        key: what else shapes their sequences: a digest of the genome.
    """
    content = hashlib.sha256(f"{key} {length}".encode())
    for piece in windows.pieces(BLOCK):
        content.update(piece.tobytes())
    head = {
        "format_version": FORMAT_VERSION,
        "plan": content.hexdigest(),
        "length": length,
        "words": windows.dtype["labels"].shape[0],
    }
    sealed.write_json(folder / HEAD, head)
    files.sweep_partials(folder)
    return Parts(folder).missing()


class Parts:
    """The folder of the parts of a plan that has begun.

    Attributes:
        folder: it.
        windows: the plan.
        length: bp of a window.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        head = sealed.read_json(folder / HEAD, version=FORMAT_VERSION, mend=self._mend)
        self._key, self.length = head["plan"], head["length"]
        self.windows = RowFile(folder / WINDOWS, row(head["words"]))
        self._rows = max(1, min(BLOCK, BLOCK_LETTERS // self.length))

    @property
    def blocks(self) -> list[slice]:
        """Rows of every part."""
        count = len(self.windows)
        return [slice(first, min(first + self._rows, count)) for first in range(0, count, self._rows)]

    def take(self, rows: slice) -> Regions:
        """Some windows."""
        found = self.windows[rows]
        start = found["start"].copy()
        labels = np.ascontiguousarray(found["labels"])
        return Regions(found["chrom"].astype(np.int64), start, start + self.length, found["strand"].copy(), labels)

    def missing(self) -> list[int]:
        """The blocks that are to be done."""
        return [block for block, rows in enumerate(self.blocks) if not self._whole(block, rows.stop - rows.start)]

    def write(self, block: int, part: Part) -> None:
        """Write a part, atomically."""
        columns = {
            "tokens": _bytes(part.tokens),
            "unknown": pa.array(part.unknown.astype(np.int32)),
            "digest": _bytes(part.digest),
        }
        table = pa.table(columns).replace_schema_metadata({"plan": self._key})
        parquet.write_table(self._path(block), table, use_dictionary=False)

    def read(self, block: int, *, tokens: bool = True) -> Part:
        """A part, with or without its tokens.

        Raises:
            ArtefactError: it is missing or damaged.
        """
        rows = self.blocks[block]
        count = rows.stop - rows.start
        try:
            table = parquet.read_table(self._path(block), columns=["unknown", "digest"] + ["tokens"] * tokens)
        except FileNotFoundError:
            raise ArtefactError(f"{self._path(block)}: missing; {self._mend}") from None
        return Part(
            tokens=_matrix(table, "tokens", self.length) if tokens else np.zeros((count, 0), dtype=np.uint8),
            unknown=table.column("unknown").to_numpy(),
            digest=_matrix(table, "digest", DIGEST),
        )

    def tokens(self, chosen: np.ndarray) -> np.ndarray:
        """Read the sequences of some windows by their ascending numbers, uint8 (windows, L)."""
        found = np.empty((len(chosen), self.length), dtype=np.uint8)
        for block, edges in enumerate(self.blocks):
            first, last = np.searchsorted(chosen, [edges.start, edges.stop])
            if first < last:
                found[first:last] = self.read(block).tokens[chosen[first:last] - edges.start]
        return found

    def labels(self, chosen: np.ndarray, count: int) -> np.ndarray:
        """Read the labels of some windows by their ascending numbers, uint8 (windows, count), 0 or 1."""
        first, last = (int(chosen[0]), int(chosen[-1]) + 1) if len(chosen) else (0, 0)
        return matrix(self.take(slice(first, last)).labels[chosen - first], count)

    @property
    def _mend(self) -> str:
        return f"run the same command again: satori-hpc prepare {quoted(self.folder.parent)}"

    def _whole(self, block: int, rows: int) -> bool:
        try:
            found = parquet.read_table(self._path(block), columns=["unknown"])
        except (FileNotFoundError, ArtefactError):
            return False
        return bool(found.num_rows == rows and (found.schema.metadata or {}).get(b"plan") == self._key.encode())

    def _path(self, block: int) -> Path:
        return self.folder / f"block-{block:05d}.part"


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
