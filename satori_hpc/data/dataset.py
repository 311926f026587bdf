"""dataset.zarr: what every stage after `prepare` reads of sequences, labels and split.

One Zarr v3 group. Its attributes: `format_version`, `complete` (true), `task` ("binary" or "multilabel"). Its arrays,
with named dimensions, examples in the order of the input, compressed with zstd, a CRC-32C behind each chunk:

    tokens          uint8  (example, position)  A, C, G, T, N = 0 .. 4; inner chunks of 1,024 examples, shards of 2^17
    labels          uint8  (example, target)    0 or 1; of several 255, too: not known; chunked likewise
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
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import google_crc32c
import numpy as np
import zarr
from numcodecs import Zstd

from satori_hpc.data import splits, zarr_arrays
from satori_hpc.data.splits import known
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.log import progress
from satori_hpc.run import files

# Examples to be written, some rows of which are asked for at a time, so that they need not be in memory.

BLOCK = 2**14  # examples that are looked at together


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
    """Sequences with labels, split and coordinates; attributes as in `Dataset` and `Coordinates`."""

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


FORMAT_VERSION = 4
TRAIN, VALID, TEST = splits.TRAIN, splits.VALID, splits.TEST
SPLITS = ("train", "valid", "test")
TASKS = ("binary", "multilabel")


@dataclass(frozen=True)
class Coordinates:
    """Where the examples lie in a genome; those without a place there lie on a chromosome of their own.

    Attributes:
        chrom: str (examples,).
        start, end: int64 (examples,), 0-based, half-open.
        strand: int8 (examples,), 1, -1, or 0 = not told.
    """

    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray

    @staticmethod
    def of_names(names: Sequence[str], length: int) -> "Coordinates":
        """Of sequences without a place in a genome: each lies on a chromosome of its own name."""
        return Coordinates(
            chrom=np.array(names, dtype=np.str_),
            start=np.zeros(len(names), dtype=np.int64),
            end=np.full(len(names), length, dtype=np.int64),
            strand=np.ones(len(names), dtype=np.int8),
        )


@dataclass(frozen=True)
class Dataset:
    """Sequences with labels and split, in memory.

    Attributes:
        tokens: uint8 (examples, length).
        labels: uint8 (examples, targets), 0 or 1; of several labels also UNKNOWN.
        split: uint8 (examples,), TRAIN, VALID or TEST.
        names: one per example, unique.
        coordinates: of the examples.
        targets: names of the labels; one when binary.
        task: "binary" or "multilabel".
    """

    tokens: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    names: list[str]
    coordinates: Coordinates
    targets: list[str]
    task: str

    @property
    def examples(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        return int(self.tokens.shape[1])

    def rows(self, split_name: str) -> np.ndarray:
        """Row numbers, int64 ascending, of "train", "valid", "test" or "all"."""
        return _rows(self.split, split_name)

    def stream(self) -> Examples:
        """The same, to be written."""
        at = self.coordinates
        return Examples(
            tokens=self.tokens,
            labels=self.labels,
            split=self.split,
            names=self.names,
            chrom=Coded.of(at.chrom),
            start=at.start,
            end=at.end,
            strand=at.strand,
            targets=self.targets,
            task=self.task,
        )

    def take(self, rows: np.ndarray, *, tokens: np.ndarray) -> "Dataset":
        """Some examples, in the order of `rows`, with other sequences, uint8 (rows, length)."""
        return Dataset(
            tokens=tokens,
            labels=self.labels[rows],
            split=self.split[rows],
            names=[self.names[row] for row in rows.tolist()],
            coordinates=Coordinates(**{name: values[rows] for name, values in vars(self.coordinates).items()}),
            targets=self.targets,
            task=self.task,
        )


@dataclass(frozen=True)
class Labels:
    """What a data set says of its examples, without sequences, names and coordinates, which may be far larger.

    Attributes:
        labels, split, targets, task: as in Dataset.
        length: of the sequences.
    """

    labels: np.ndarray
    split: np.ndarray
    targets: list[str]
    task: str
    length: int

    @property
    def examples(self) -> int:
        return len(self.labels)

    def rows(self, split_name: str) -> np.ndarray:
        """Row numbers, int64 ascending, of "train", "valid", "test" or "all"."""
        return _rows(self.split, split_name)


class Tokens:
    """Sequences, uint8 (examples, length), read as they are asked for: of slices or of rows in any order.

    Raises:
        ArtefactError: as `read`; also when they are asked for.
    """

    def __init__(self, path: Path, *, background: bool = False) -> None:
        self._path, self._background = path, background
        with _opened(path, background=background) as group:
            count, length = zarr_arrays.member(group, "tokens").shape
        self.shape: tuple[int, ...] = (count, length)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if not isinstance(rows, slice):
            return read_tokens(self._path, rows, background=self._background)
        with _opened(self._path, background=self._background) as group:
            tokens = zarr_arrays.read(group, "tokens", rows)
            _check_tokens(tokens)
        return tokens


def write(path: Path, dataset: Dataset | Examples) -> None:
    """Write `dataset` to `path`, a folder that appears whole or not at all; examples are asked for a block at a time.

    Raises:
        ValueError: its arrays do not fit together.
    """
    examples = dataset.stream() if isinstance(dataset, Dataset) else dataset
    _check_shapes(examples, (examples.chrom, examples.start, examples.end, examples.strand))
    with files.atomic_folder(path) as partial:
        group = zarr.create_group(store=partial, zarr_format=3)
        write_rows(partial, group, "tokens", examples.tokens, _check_tokens, dimension="position")
        check_labels = functools.partial(_check_labels, examples.task)
        write_rows(partial, group, "labels", examples.labels, check_labels, dimension="target")
        write_vector(group, "split", examples.split.astype(np.uint8, copy=False))
        write_vector(group, "start", examples.start.astype(np.int64, copy=False))
        write_vector(group, "end", examples.end.astype(np.int64, copy=False))
        write_vector(group, "strand", examples.strand.astype(np.int8, copy=False))
        zarr_arrays.write_strings(group, "name", examples.names, count=len(examples), dimension="example")
        zarr_arrays.write_strings(group, "chrom", examples.chrom, count=len(examples), dimension="example")
        targets = examples.targets
        zarr_arrays.write_strings(group, "target", targets, count=len(targets), dimension="target")
        group.attrs.update({"format_version": FORMAT_VERSION, "task": examples.task, "complete": True})
        zarr_arrays.consolidate(partial)


def task(path: Path) -> str | None:
    """The task of the data set at `path`, from its attributes alone; None when there is none that could be read."""
    try:
        attributes = zarr_arrays.open_group(path).attrs
        usable = attributes["complete"] is True and attributes["format_version"] == FORMAT_VERSION
        return str(attributes["task"]) if usable else None
    except Exception:  # whoever reads the data tells what is wrong with them
        return None


def read(path: Path, *, background: bool = False) -> Dataset:
    """Read the whole data set into memory.

    Args:
        path: dataset.zarr or background.zarr.
        background: it is the latter; for the message.

    Raises:
        ArtefactError: it is missing, unfinished, damaged or of another format version; the message says what to run.
    """
    with _opened(path, background=background) as group:
        dataset = Dataset(
            tokens=zarr_arrays.read(group, "tokens"),
            labels=zarr_arrays.read(group, "labels"),
            split=zarr_arrays.read(group, "split"),
            names=list(zarr_arrays.read_strings(group, "name")),
            coordinates=Coordinates(
                chrom=np.array(list(zarr_arrays.read_strings(group, "chrom")), dtype=np.str_),
                start=zarr_arrays.read(group, "start"),
                end=zarr_arrays.read(group, "end"),
                strand=zarr_arrays.read(group, "strand"),
            ),
            targets=list(zarr_arrays.read_strings(group, "target")),
            task=str(group.attrs["task"]),
        )
        _check_shapes(dataset, vars(dataset.coordinates).values())
        _check_labels(dataset.task, dataset.labels)
        _check_tokens(dataset.tokens)
    return dataset


def read_labels(path: Path, *, background: bool = False) -> Labels:
    """As `read`, but of the labels and the split alone."""
    with _opened(path, background=background) as group:
        shape = zarr_arrays.member(group, "tokens").shape
        found = Labels(
            labels=zarr_arrays.read(group, "labels"),
            split=zarr_arrays.read(group, "split"),
            targets=list(zarr_arrays.read_strings(group, "target")),
            task=str(group.attrs["task"]),
            length=int(shape[1]),
        )
        if found.labels.ndim != 2 or not len(found.labels) == len(found.split) == shape[0]:
            raise ValueError("the arrays hold different numbers of examples")
        _check_task(found.task, targets=found.targets, columns=found.labels.shape[1], split=found.split)
        _check_labels(found.task, found.labels)
    return found


def read_length(path: Path, *, background: bool = False) -> int:
    """Length of the sequences, bp; no array is read. Raises: as `read`."""
    with _opened(path, background=background) as group:
        return int(zarr_arrays.member(group, "tokens").shape[1])


def read_tokens(path: Path, rows: np.ndarray, *, background: bool = False) -> np.ndarray:
    """Sequences of some examples, uint8 (rows, length), in the order of `rows`; the others are not held in memory.

    Raises: as `read`; also when there is no such row.
    """
    with _opened(path, background=background) as group:
        tokens = zarr_arrays.take(group, "tokens", rows)
        _check_tokens(tokens)
    return tokens


def read_names(path: Path, rows: np.ndarray | None = None, *, background: bool = False) -> Iterator[str]:
    """Names of some examples, in the order of `rows`, or of all; they are made one after the other.

    Raises: as `read`; also when there is no such row.
    """
    with _opened(path, background=background) as group:
        yield from zarr_arrays.read_strings(group, "name", rows)


def read_coordinates(path: Path, rows: np.ndarray, *, background: bool = False) -> Coordinates:
    """Coordinates of some examples, in the order of `rows`.

    Raises: as `read`; also when there is no such row.
    """
    with _opened(path, background=background) as group:
        return Coordinates(
            chrom=np.array(list(zarr_arrays.read_strings(group, "chrom", rows)), dtype=np.str_),
            start=zarr_arrays.read(group, "start")[rows],
            end=zarr_arrays.read(group, "end")[rows],
            strand=zarr_arrays.read(group, "strand")[rows],
        )


@contextlib.contextmanager
def _opened(path: Path, *, background: bool) -> Iterator[zarr.Group]:
    """The group of a finished data set; what goes wrong while it is read is an ArtefactError that says what to run."""
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


def _check_shapes(examples: Dataset | Examples, columns: Iterable[Sized]) -> None:
    """Raise ValueError unless all parts, `columns` among them, have the same examples, and fit to the task."""
    tokens, labels = examples.tokens.shape, examples.labels.shape
    if len(tokens) != 2 or len(labels) != 2:
        raise ValueError("tokens and labels must have two dimensions")
    if {labels[0], len(examples.split), len(examples.names), *map(len, columns)} != {tokens[0]}:
        raise ValueError("the arrays hold different numbers of examples")
    _check_task(examples.task, targets=examples.targets, columns=labels[1], split=examples.split)


def _check_task(task: str, *, targets: list[str], columns: int, split: np.ndarray) -> None:
    if columns != len(targets):
        raise ValueError(f"{columns} columns of labels for {len(targets)} targets")
    if task not in TASKS or (task == "binary" and len(targets) != 1):
        raise ValueError(f"task {task!r} with {len(targets)} targets")
    if len(split) and split.max() > 2:
        raise ValueError("a split above 2")


def _check_labels(task: str, labels: np.ndarray) -> None:
    if labels.size and labels.max() > 1 and (task == "binary" or (labels[known(labels)] > 1).any()):
        raise ValueError("a label that is not 0 or 1")


def _check_tokens(tokens: np.ndarray) -> None:
    if tokens.size and tokens.max() > 4:
        raise ValueError("a token above 4")


# The arrays of dataset.zarr, written some rows at a time; `dataset` tells what they are.

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
