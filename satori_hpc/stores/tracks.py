"""tracks/: files that genome browsers load. Intervals are 0-based and half-open; every header that can says so.

Sites are BED6 with further columns, interactions UCSC's `interact` (BED5 with thirteen further ones); both also as
bigBed, which track hubs ask for. Rows are sorted by chromosome and start.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from satori_hpc.stores import atomic, big, tsv

COORDINATES = "# intervals are 0-based and half-open: start is the first letter, end is one past the last\n"

# column -> (type in autoSql, meaning)
SITES: dict[str, tuple[str, str]] = {
    "chrom": ("string", "chromosome; the example's name where its interval is not as long as its sequence"),
    "start": ("uint", "first letter under the filter"),
    "end": ("uint", "one past the last letter under the filter"),
    "name": ("string", "the TF that the filter is named after, or filter<f>"),
    "score": ("uint", "activation as a share of the filter's largest, 0 to 1000"),
    "strand": ("char[1]", "strand on which the motif of `name` reads forward; . = the example's is not told"),
    "filter": ("int", "number of the filter"),
    "filter_strand": ("char[1]", "strand that the filter read; of unnamed filters the same as strand"),
    "activation": ("float", "activation of the filter there"),
    "examples": ("int", "examples that hold this site; overlapping ones hold the same"),
    "example": ("lstring", "one of them, the first where it is strongest"),
}
INTERACT: dict[str, tuple[str, str]] = {
    "chrom": ("string", "chromosome; the example's name where its interval is not as long as its sequence"),
    "start": ("uint", "start of the left site"),
    "end": ("uint", "end of the right site"),
    "name": ("string", "the interaction: TF|TF, or filter<a>|filter<b> where no two TFs are named"),
    "score": ("uint", "score of the instance as a share of the largest, 0 to 1000"),
    "value": ("double", "score of the instance"),
    "exp": ("string", "scoring method"),
    "color": ("string", "red,green,blue: the strongest interactions have their own, all others are grey"),
    "sourceChrom": ("string", "chromosome of site 1"),
    "sourceStart": ("uint", "start of site 1"),
    "sourceEnd": ("uint", "end of site 1"),
    "sourceName": ("string", "TF of site 1, or its filter"),
    "sourceStrand": ("string", "strand of the example: + or -, . = not told"),
    "targetChrom": ("string", "chromosome of site 2"),
    "targetStart": ("uint", "start of site 2"),
    "targetEnd": ("uint", "end of site 2"),
    "targetName": ("string", "TF of site 2, or its filter"),
    "targetStrand": ("string", "strand of the example"),
}
ATTRIBUTED: dict[str, str] = {
    "chrom": "chromosome; the example's name where its interval is not as long as its sequence",
    "start": "first letter of the example",
    "end": "one past its last letter",
    "name": "its name",
    "score": "probability that the network gives it, 0 to 1000; of several labels the largest of those explained",
    "strand": "strand of the example: + or -, . = not told",
    "row": "its row in dataset.zarr",
}


class Rows:
    """A BED-like file that is written as its rows come.

    Args:
        handle: open for writing.
        names: its columns.
    """

    def __init__(self, handle: IO[str], names: list[str]) -> None:
        handle.write(COORDINATES + "#" + "\t".join(names) + "\n")
        self._handle, self._names = handle, names
        self.count = 0

    def add(self, columns: Mapping[str, Any]) -> None:
        """Append rows; strings are escaped."""
        table = pd.DataFrame({name: columns[name] for name in self._names})
        for name in table.columns:
            if not pd.api.types.is_numeric_dtype(table[name]):
                table[name] = [tsv.escape(str(value)) for value in table[name]]
        for row in table.itertuples(index=False, name=None):
            self._handle.write(
                "\t".join(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in row) + "\n"
            )
        self.count += len(table)


def lines(path: Path) -> Iterator[str]:
    """The rows of such a file, without its header."""
    with open(path, encoding="utf-8", newline="\n") as handle:
        header = 2
        for number, line in enumerate(handle):
            if number >= header:
                yield line


def write_big(path: Path, source: Path, sizes: Mapping[str, int], columns: Mapping[str, tuple[str, str]]) -> None:
    """Write a file of `Rows` as bigBed.

    Args:
        path: of the bigBed.
        source: of the rows; at least one.
        sizes: length of every chromosome, bp.
        columns: SITES or INTERACT.
    """
    names = {"start": "chromStart", "end": "chromEnd"}
    fields = "\n".join(f'    {kind} {names.get(name, name)}; "{what}"' for name, (kind, what) in columns.items())
    table = "sites" if columns is SITES else "interact"
    big.write_bed(path, sizes, lines(source), f'table {table}\n"0-based, half-open"\n(\n{fields}\n)\n')


def write_arrays(path: Path, array: np.ndarray) -> None:
    """An array as the only one, arr_0, of a compressed .npz, in memory that does not grow with it when it is mapped."""
    with atomic.atomic_file(path) as partial, open(partial, "wb") as handle:
        np.savez_compressed(handle, array)


def mapped(path: Path, shape: tuple[int, ...], dtype: Any = np.float32, *, goes_on: bool = False) -> np.memmap:
    """An array in a file, mapped into memory: it may be larger than that.

    Args:
        path: of the file.
        shape: of the array.
        dtype: of the array.
        goes_on: take what is in the file; else all are zeros.
    """
    return np.lib.format.open_memmap(path, mode="r+" if goes_on else "w+", dtype=dtype, shape=shape)
