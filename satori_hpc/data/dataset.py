"""Read and write dataset.zarr: sequences, labels and split, for every stage after `prepare`.

One Zarr v3 group. Its attributes: `format_version`, `complete` (true), `task` ("binary" or "multilabel"). Its arrays,
with named dimensions, examples in the order of the input, compressed with zstd, a CRC-32C behind each chunk:

    tokens          uint8  (example, position)  A, C, G, T, N = 0 .. 4; inner chunks of 1,024 examples, shards of 2^17
    labels          uint8  (example, target)    0 or 1; multi-label also 255 = unknown; chunked likewise
    split           uint8  (example,)           0 train, 1 valid, 2 test
    start, end      int64  (example,)           0-based, half-open, as the header says
    strand          int8   (example,)           1, -1, or 0 = not told
    name, chrom     string (example,)           as the header says
    target          string (target,)            names of the labels

There are no timestamps: the same input gives the same bytes.
"""

import contextlib
import functools
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import google_crc32c
import numpy as np
import zarr
from numcodecs import Zstd

from satori_hpc.data import splits, zarr_arrays
from satori_hpc.data.splits import known
from satori_hpc.data.zarr_arrays import StoredRows
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.log import progress
from satori_hpc.run import files

# Examples to be written, some rows of which are asked for at a time, so that they need not be in memory.

BLOCK = 2**14  # examples checked at once


class Rows(Protocol):
    """An array, or anything of a shape that gives rows for a slice."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


class Texts(Protocol):
    """Strings in order; they may be made as they are asked for."""

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

    def __getitem__(self, rows: Any) -> Any:
        return np.array(self.names, dtype=object)[self.codes[rows]]

    @staticmethod
    def of(strings: np.ndarray) -> "Coded":
        names, codes = np.unique(strings, return_inverse=True)
        return Coded([str(name) for name in names], codes)


@dataclass(frozen=True)
class Made:
    """Rows computed on demand: `block` returns those of a slice, as an array or a list."""

    shape: tuple[int, ...]
    block: Callable[[slice], Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Any:
        return self.block(rows)

    def __iter__(self) -> Iterator[Any]:
        for rows in blocks(len(self)):
            yield from self.block(rows)


@dataclass(frozen=True)
class Coordinates:
    """Genomic coordinates of examples; those without any lie on a chromosome of their own.

    Attributes:
        chrom: str (examples,).
        start, end: int64 (examples,), 0-based, half-open.
        strand: int8 (examples,), 1, -1, or 0 = not told.
    """

    chrom: Coded
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray

    @staticmethod
    def of_names(names: Texts, length: int) -> "Coordinates":
        """Return coordinates for sequences without any: each lies on a chromosome of its own name."""
        return Coordinates(
            chrom=Coded.of(np.array(list(names), dtype=np.str_)),
            start=np.zeros(len(names), dtype=np.int64),
            end=np.full(len(names), length, dtype=np.int64),
            strand=np.ones(len(names), dtype=np.int8),
        )


@dataclass(frozen=True)
class Examples:
    """Labelled sequences to write: arrays, or rows computed on demand.

    Attributes:
        tokens: uint8 (examples, length).
        labels: uint8 (examples, targets), 0 or 1; of several labels also UNKNOWN.
        names: one per example, unique.
        targets: names of the labels; one when binary.
        split: uint8 (examples,), TRAIN, VALID or TEST; default: all TRAIN.
        coordinates: default: each example lies on a chromosome of its own name.
        task: "binary" or "multilabel"; default: by the number of targets.
    """

    tokens: Rows
    labels: Rows
    names: Texts
    targets: list[str]
    split: np.ndarray = None  # type: ignore[assignment]  # never None once made; likewise below
    coordinates: Coordinates = None  # type: ignore[assignment]
    task: str = ""

    def __post_init__(self) -> None:
        if self.split is None:
            object.__setattr__(self, "split", np.zeros(len(self), dtype=np.uint8))
        if self.coordinates is None:
            object.__setattr__(self, "coordinates", Coordinates.of_names(self.names, self.length))
        if not self.task:
            object.__setattr__(self, "task", "binary" if len(self.targets) == 1 else "multilabel")

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def rows(self, split_name: str) -> np.ndarray:
        """Return row numbers, int64 ascending, of "train", "valid", "test" or "all"."""
        return _rows(self.split, split_name)


def blocks(count: int) -> Iterator[slice]:
    """Slices of some rows each, together all."""
    return (slice(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK))


FORMAT_VERSION = 4
TRAIN, VALID, TEST = splits.TRAIN, splits.VALID, splits.TEST
SPLITS = ("train", "valid", "test")
TASKS = ("binary", "multilabel")
ARRAYS = ("tokens", "labels", "split", "start", "end", "strand")  # all but those of strings


class Dataset:
    """A data set on disk, read on demand; checksums are verified at every read.

    Args:
        path: dataset.zarr or background.zarr.
        background: it is the latter; for messages.

    Attributes:
        tokens: the sequences, uint8 (examples, length); `tokens[rows]` reads a slice, or rows in any order.
        targets: names of the labels; one when binary.
        task: "binary" or "multilabel".

    Raises:
        ArtefactError: it is missing, unfinished, damaged or of another format version, at opening or at reading; the
            message says what to run.
    """

    def __init__(self, path: Path, *, background: bool = False) -> None:
        self.path = path
        self._opened = functools.partial(_opened, path, background=background)
        with self._opened() as group:
            self.targets, self.task = list(zarr_arrays.read_strings(group, "target")), str(group.attrs["task"])
            tokens, labels, *columns = (zarr_arrays.member(group, name).shape for name in ARRAYS)
            _check_shapes(tokens, labels, columns)
            _check_task(self.task, targets=self.targets, columns=labels[1])
        self.tokens = StoredRows(self._opened, "tokens", _check_tokens)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        """Length of the sequences, bp; no array is read."""
        return self.tokens.shape[1]

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Labels, uint8 (examples, targets), 0 or 1; of several also UNKNOWN; read once."""
        with self._opened() as group:
            labels = zarr_arrays.read(group, "labels")
            _check_labels(self.task, labels)
        return labels

    @functools.cached_property
    def split(self) -> np.ndarray:
        """Parts, uint8 (examples,), TRAIN, VALID or TEST; read once."""
        with self._opened() as group:
            split = zarr_arrays.read(group, "split")
            _check_split(split)
        return split

    def rows(self, split_name: str) -> np.ndarray:
        """Return row numbers, int64 ascending, of "train", "valid", "test" or "all"."""
        return _rows(self.split, split_name)

    def take(self, rows: np.ndarray) -> Examples:
        """Select examples, in the order of `rows`, to write them elsewhere; sequences are read on demand."""
        labels = self.labels
        return Examples(
            tokens=Made((len(rows), self.length), lambda some: self.tokens[rows[some]]),
            labels=Made((len(rows), len(self.targets)), lambda some: labels[rows[some]]),
            names=list(self.names(rows)),
            targets=self.targets,
            split=self.split[rows],
            coordinates=self.coordinates(rows),
            task=self.task,
        )

    def names(self, rows: np.ndarray | None = None) -> Iterator[str]:
        """Yield the names of some examples, in the order of `rows`, or of all."""
        with self._opened() as group:
            yield from zarr_arrays.read_strings(group, "name", rows)

    def coordinates(self, rows: np.ndarray | None = None) -> Coordinates:
        """Read the coordinates of some examples, in the order of `rows`, or of all."""
        chosen = slice(None) if rows is None else rows
        with self._opened() as group:
            return Coordinates(
                chrom=Coded.of(np.array(list(zarr_arrays.read_strings(group, "chrom", rows)), dtype=np.str_)),
                start=zarr_arrays.read(group, "start")[chosen],
                end=zarr_arrays.read(group, "end")[chosen],
                strand=zarr_arrays.read(group, "strand")[chosen],
            )


def write(path: Path, examples: Examples) -> None:
    """Write a data set to `path`, a folder that appears whole or not at all; rows are requested block by block.

    Raises:
        ValueError: its arrays do not fit together.
    """
    at = examples.coordinates
    columns = (examples.split, at.start, at.end, at.strand, at.chrom, examples.names)
    _check_shapes(examples.tokens.shape, examples.labels.shape, [(len(column),) for column in columns])
    _check_task(examples.task, targets=examples.targets, columns=examples.labels.shape[1])
    _check_split(examples.split)
    with files.atomic_folder(path) as partial:
        group = zarr.create_group(store=partial, zarr_format=3)
        write_rows(partial, group, "tokens", examples.tokens, _check_tokens, dimension="position")
        check_labels = functools.partial(_check_labels, examples.task)
        write_rows(partial, group, "labels", examples.labels, check_labels, dimension="target")
        write_vector(group, "split", examples.split.astype(np.uint8, copy=False))
        write_vector(group, "start", at.start.astype(np.int64, copy=False))
        write_vector(group, "end", at.end.astype(np.int64, copy=False))
        write_vector(group, "strand", at.strand.astype(np.int8, copy=False))
        count, targets = len(examples.names), examples.targets
        zarr_arrays.write_strings(group, "name", examples.names, count=count, dimension="example")
        zarr_arrays.write_strings(group, "chrom", at.chrom, count=count, dimension="example")
        zarr_arrays.write_strings(group, "target", targets, count=len(targets), dimension="target")
        group.attrs.update({"format_version": FORMAT_VERSION, "task": examples.task, "complete": True})
        zarr_arrays.consolidate(partial)


def task(path: Path) -> str | None:
    """Return the task of the data set at `path`, from its attributes alone; None without a readable data set."""
    try:
        attributes = zarr_arrays.open_group(path).attrs
        usable = attributes["complete"] is True and attributes["format_version"] == FORMAT_VERSION
        return str(attributes["task"]) if usable else None
    except Exception:  # the first read of the data reports what is wrong
        return None


@contextlib.contextmanager
def _opened(path: Path, *, background: bool) -> Iterator[zarr.Group]:
    """Open a complete data set; errors while it is read become an ArtefactError that says what to run."""
    run = path.resolve().parent if path.is_symlink() else path.parent  # runs inside a run link to its data
    mend = f"make it with: satori-hpc prepare {quoted(run)}" + (" --background" if background else "")
    if not path.is_dir():
        raise ArtefactError(f"{path}: there is no data set; {mend}")
    with zarr_arrays.opened(path, mend=f"{mend} --force") as group:
        version = group.attrs.get("format_version")
        if version is not None and version != FORMAT_VERSION:
            raise ArtefactError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; {mend}")
        if version is None or group.attrs.get("complete") is not True:
            raise ArtefactError(f"{path}: unfinished, or not a data set of this program; {mend}")
        yield group


def _rows(split: np.ndarray, split_name: str) -> np.ndarray:
    if split_name == "all":
        return np.arange(len(split), dtype=np.int64)
    return np.flatnonzero(split == SPLITS.index(split_name)).astype(np.int64)


def _check_shapes(tokens: tuple[int, ...], labels: tuple[int, ...], columns: Iterable[tuple[int, ...]]) -> None:
    """Raise ValueError unless all arrays, of these shapes, have the same examples."""
    if len(tokens) != 2 or len(labels) != 2:
        raise ValueError("tokens and labels must have two dimensions")
    if {labels[:1], *columns} != {tokens[:1]}:
        raise ValueError("the arrays hold different numbers of examples")


def _check_task(task: str, *, targets: list[str], columns: int) -> None:
    if columns != len(targets):
        raise ValueError(f"{columns} columns of labels for {len(targets)} targets")
    if task not in TASKS or (task == "binary" and len(targets) != 1):
        raise ValueError(f"task {task!r} with {len(targets)} targets")


def _check_split(split: np.ndarray) -> None:
    if len(split) and split.max() > 2:
        raise ValueError("a split above 2")


def _check_labels(task: str, labels: np.ndarray) -> None:
    if labels.size and labels.max() > 1 and (task == "binary" or (labels[known(labels)] > 1).any()):
        raise ValueError("a label that is not 0 or 1")


def _check_tokens(tokens: np.ndarray) -> None:
    if tokens.size and tokens.max() > 4:
        raise ValueError("a token above 4")


# Write the arrays of dataset.zarr in blocks of rows.

CHUNK_EXAMPLES = 1024
SHARD_EXAMPLES = 2**17
CHUNK_ITEMS = 2**20
ABSENT = 2**64 - 1  # what Zarr has for place and bytes of a chunk behind the last row


def write_rows(
    folder: Path, group: zarr.Group, name: str, rows: Rows, check: Callable[[np.ndarray], None], *, dimension: str
) -> None:
    """An (example, ...) array in shards, so that two million examples make tens of files.

    Zarr would hold a whole shard, with its code. Here its inner chunks are encoded and written one after the other; the
    bytes are Zarr's.

    Args:
        folder: of the group.
        group: of the array.
        name: of the array.
        rows: what it is to hold; asked for a block at a time, in order.
        check: raises ValueError where a block holds what it must not.
        dimension: name of the second one.
    """
    count, width = rows.shape
    chunk = max(1, min(CHUNK_EXAMPLES, count))
    chunks = max(1, min(SHARD_EXAMPLES // chunk, -(-count // chunk)))
    zarr_arrays.create(
        group,
        name,
        shape=rows.shape,
        dtype=np.uint8,
        chunks=(chunk, width),
        dimensions=("example", dimension),
        shards=(chunk * chunks, width),
    )
    step = chunk * max(1, zarr_arrays.BLOCK_BYTES // (chunk * max(1, width)))
    shard = _Shard(folder / name, 0, chunks)
    try:
        for first in progress(range(0, count, step), what=name, unit="block"):
            block = np.asarray(rows[first : min(first + step, count)], dtype=np.uint8)
            check(block)
            for start in range(0, len(block), chunk):
                number, place = divmod((first + start) // chunk, chunks)
                if number != shard.number:
                    shard.close()
                    shard = _Shard(folder / name, number, chunks)
                shard.add(place, block[start : start + chunk], rows=chunk)
    finally:
        shard.close()


class _Shard:
    """A shard that is being written: encoded chunks, one after the other, then where each begins and its bytes.

    Args:
        array: folder of the array.
        number: of the shard.
        chunks: inner chunks that it has room for.
    """

    def __init__(self, array: Path, number: int, chunks: int) -> None:
        self.number = number
        self._path = array / "c" / str(number) / "0"
        self._codec = Zstd(level=zarr_arrays.ZSTD.level)
        self._index = np.full((chunks, 2), ABSENT, dtype="<u8")
        self._handle: BinaryIO | None = None

    def add(self, place: int, values: np.ndarray, *, rows: int) -> None:
        """Append a chunk, filled up with zeros to `rows`."""
        if len(values) < rows:
            values = np.concatenate([values, np.zeros((rows - len(values), values.shape[1]), dtype=np.uint8)])
        if self._handle is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = open(self._path, "wb")  # noqa: SIM115  closed by `close`
        code = self._codec.encode(np.ascontiguousarray(values))
        code += struct.pack("<I", google_crc32c.value(code))
        self._index[place] = self._handle.tell(), len(code)
        self._handle.write(code)

    def close(self) -> None:
        if self._handle is not None:
            tail = self._index.tobytes()
            self._handle.write(tail + struct.pack("<I", google_crc32c.value(tail)))
            self._handle.close()


def write_vector(group: zarr.Group, name: str, values: np.ndarray) -> None:
    chunks = (max(1, min(CHUNK_ITEMS, len(values))),)
    array = zarr_arrays.create(
        group, name, shape=values.shape, dtype=values.dtype, chunks=chunks, dimensions=("example",)
    )
    array[...] = values
