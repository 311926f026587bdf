"""Define the interface between sources of sequences and `prepare`."""

import contextlib
import gzip
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil

from satori_hpc.data.dataset import CHUNK_EXAMPLES, Examples
from satori_hpc.data.zarr_arrays import BLOCK_BYTES
from satori_hpc.errors import InputError, Problems, SatoriError
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files, provenance, tsv
from satori_hpc.run.layout import Run

# Memory of a process that is available for rows, and the resulting number of rows.

DEFAULT = 2 * 2**30
LEAST = 2**24  # bytes for rows: with less, file and call overhead would dominate
USABLE = 0.6  # of the free memory; the rest is for fragmentation and library buffers
EXAMPLE = 128  # bytes on the root per example: position, digest, group, part, and their sorting
BLOCK_COPIES = 6  # of a block of sequences while it is made or written


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes that arrays may take.

    Attributes:
        limit: of the process; 0 = none was given; then only work that can be split is limited.
        program: the process without them.
    """

    limit: int
    program: int

    @staticmethod
    def of(runtime: Runtime) -> "MemoryBudget":
        """Return the memory that --memory leaves besides the program itself."""
        return MemoryBudget(runtime.memory, int(psutil.Process().memory_info().rss))

    def max_rows(self, each: int) -> int:
        """Return how many rows of `each` bytes, including temporaries, fit into memory; at least one."""
        limit = self.limit or min(DEFAULT, memory.limit_bytes() // 2)
        return max(1, int(max(USABLE * (limit - self.program), LEAST)) // each)

    def check_file(self, taken: int) -> None:
        """Refuse a file that is held in memory and takes so many bytes, even if no limit was given.

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
        """Refuse indivisible memory needs, by purpose, that exceed a given limit.

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
    """Return bytes for `count` sequences of `length` bp: `each` of every one, and a block being written."""
    block = BLOCK_COPIES * max(BLOCK_BYTES, min(count, CHUNK_EXAMPLES) * length)
    return {f"what is kept of {count} sequences": each * count, f"a block of sequences of {length} bp": block}


# Rows that may exceed memory: appended to a file, and read in blocks, in their order.
#
# A file of this kind is of a running command: the same machine writes and reads it, and it has neither head nor
# version.


class RowFile:
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
        """Return contiguous rows."""
        first, last, _ = rows.indices(len(self))
        if last <= first:
            return np.zeros(0, dtype=self.dtype)
        return np.fromfile(self.path, dtype=self.dtype, count=last - first, offset=first * self.dtype.itemsize)

    def append(self, rows: np.ndarray) -> None:
        """Append rows.

        Raises:
            SatoriError: the disk is full.
        """
        if not len(rows):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with files.room(self.path), open(self.path, "ab") as handle:
            handle.write(np.ascontiguousarray(rows).view(np.uint8).data)

    def add(self, **columns: Any) -> None:
        """Write rows by their columns, arrays or one value for all; at least one is an array."""
        count = max(len(values) for values in columns.values() if isinstance(values, np.ndarray))
        rows = np.empty(count, dtype=self.dtype)
        for name in rows.dtype.names or ():
            rows[name] = columns[name]
        self.append(rows)

    def pieces(self, rows: int) -> Iterator[np.ndarray]:
        """Yield all rows in order, in blocks of limited size."""
        for first in range(0, len(self), rows):
            yield self[first : first + rows]

    def remove(self) -> None:
        """Make it empty."""
        self.path.unlink(missing_ok=True)


# excluded_records.tsv.gz: every row of the user's files that was dropped or changed, and why.

COLUMNS: dict[str, str] = {
    "file": "file of the row; empty: a window made of several rows",
    "line": "its line, from 1, of a FASTA record that of its header; empty for windows",
    "chrom": "as the file has it; the name of a row whose file tells no place",
    "start": "0-based",
    "end": "half-open",
    "done": "dropped or changed",
    "reason": "why",
}
DROPPED, CHANGED = "dropped", "changed"


class ExcludedRecords:
    """Collect excluded and changed records; `counts` holds the number per reason.

    Rows are added as they are read, a block of a file at a time. In the table they are sorted by `place`, so that it
    does not depend on the blocks.

    Args:
        folder: for rows that may exceed memory; None: they are held in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._texts: dict[tuple[int, ...], io.StringIO] = {}
        self._counts: dict[tuple[int, ...], tuple[str, int]] = {}

    def add(
        self,
        chrom: np.ndarray,
        start: np.ndarray,
        end: np.ndarray,
        *,
        place: tuple[int, ...] = (),
        reason: str,
        file: str = "",
        line: np.ndarray | None = None,
        done: str = DROPPED,
    ) -> None:
        """Add rows that share a reason, str and int64 (n,); those of one interval share all but the three columns."""
        if not len(start):
            return
        lines = [""] * len(start) if line is None else line.tolist()
        name = tsv.escape(file)
        with self._opened(place, "a") as out:
            for row in zip(lines, chrom.tolist(), start.tolist(), end.tolist(), strict=True):
                out.write(f"{name}\t{row[0]}\t{tsv.escape(str(row[1]))}\t{row[2]}\t{row[3]}\t{done}\t{reason}\n")
        before = self._counts.get(place, ("", 0))[1]
        self._counts[place] = (f"{done}, {reason}", before + len(start))

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, (key, count) in sorted(self._counts.items()):
            found[key] = found.get(key, 0) + count
        return found

    def write(self, path: Path) -> None:
        """Write the table atomically, as gzip without a timestamp, so that the same rows give the same bytes."""
        with files.atomic_file(path) as partial, open(partial, "wb") as raw:
            zipped = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0)
            with zipped, io.TextIOWrapper(zipped, encoding="utf-8", newline="\n") as text:
                text.write("#" + "\t".join(COLUMNS) + "\n")
                for place in sorted(self._counts):
                    with self._opened(place, "r") as lines:
                        text.writelines(lines)

    @contextlib.contextmanager
    def _opened(self, place: tuple[int, ...], mode: str) -> Iterator[IO[str]]:
        """Open the rows of a group, for reading or appending."""
        if self.folder is None:
            text = self._texts.setdefault(place, io.StringIO(newline="\n"))
            text.seek(0, io.SEEK_END if mode == "a" else io.SEEK_SET)
            yield text
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "-".join(map(str, place)), mode, encoding="utf-8", newline="\n") as file:
            yield file


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Source:
    """Examples, and numbers about them for people.

    Attributes:
        whole: the examples; in their parts when [prepare] split = "given", else all in the training part.
        summary: the numbers.
        groups: int64 (examples,), the same number for identical sequences; None: to be computed from the tokens.
        finish: called after the split, before they are written: the truth of simulated sets.
        excluded_records: rows of the user's files that were dropped or changed; None: there are none, or
            the source has listed them itself.
        names_checked: the names of labels and examples were checked before the sequences were read.
    """

    whole: Examples
    summary: dict[str, Any]
    groups: np.ndarray | None = None
    finish: Callable[[], None] | None = None
    excluded_records: ExcludedRecords | None = None
    names_checked: bool = False


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return SHA-256 of the user's files, for the record of the stage."""
    return {str(path): provenance.file_digest(path) for path in paths}


def check_there(files: Mapping[str, Iterable[Path]]) -> None:
    """Report all missing files before the first is read; `files`: by the key of run.toml that names them.

    Raises:
        InputError: some are.
    """
    problems = Problems("files that are named for this run are not there:")
    for key, paths in files.items():
        section, _, name = key.rpartition(".")
        for path in paths:
            try:
                os.stat(path)
            except (OSError, ValueError) as error:  # ValueError: NUL in a name
                told = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
                problems.add(f"{path}: {told}; correct [{section}] {name} in run.toml")
    problems.raise_any()


def check_names(run: Run, **found: Iterable[str]) -> None:
    """Refuse names with control characters, which would break tables or terminals; `found`: names by kind.

    Raises:
        InputError: some contain control characters.
    """
    problems = Problems(f"{run.config_file}: names hold line ends, tabs or other control characters; change them:")
    for what, names in found.items():
        for name in filter(CONTROL.search, names):
            problems.add(f"{what} {name[:60]!r}")
    problems.raise_any()


def check_length(run: Run, length: int, *, path: Path) -> None:
    """Refuse sequences, of the file `path`, that are shorter than a filter or a bin of the network.

    Raises:
        InputError: they are.
    """
    needed = max(run.config.model.kernel_size, run.config.model.pool)
    if length < needed:
        raise InputError(
            f"{path}: the sequences are {length} bp long; expected at least {needed} bp, the larger of "
            f"[model] kernel_size = {run.config.model.kernel_size} and pool = {run.config.model.pool} in "
            f"{run.config_file}; "
            "use longer sequences or lower these"
        )
