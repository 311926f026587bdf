"""dataset.zarr: what every stage after `prepare` reads of sequences, labels and split.

One Zarr v3 group. Its attributes: `format_version`, `complete` (true), `task` ("binary" or "multilabel"), `targets`
(names of the labels). Its arrays, all over examples in the order of the input and compressed with zstd:

    tokens          uint8  (example, position)  A, C, G, T, N = 0 .. 4; inner chunks of 1,024 examples, shards of 2^17
    labels          uint8  (example, target)    0 or 1; chunked likewise
    split           uint8  (example,)           0 train, 1 valid, 2 test
    start, end      int64  (example,)           0-based, half-open, as the header says
    strand          int8   (example,)           1, -1, or 0 = not told
    name, chrom     uint8  (bytes,)             UTF-8, one string after the other ...
    name_ends, chrom_ends  int64 (example,)     ... and where each ends

There are no timestamps: the same input gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from satori_hpc.core import splits
from satori_hpc.errors import ArtefactError
from satori_hpc.stores import atomic

FORMAT_VERSION = 1
TRAIN, VALID, TEST = splits.TRAIN, splits.VALID, splits.TEST
SPLITS = ("train", "valid", "test")
TASKS = ("binary", "multilabel")

CHUNK_EXAMPLES = 1024
SHARD_EXAMPLES = 2**17
CHUNK_ITEMS = 2**20
ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Coordinates:
    """Where the examples lie in a genome; simulated ones lie on a chromosome of their own.

    Attributes:
        chrom: str (examples,).
        start, end: int64 (examples,), 0-based, half-open.
        strand: int8 (examples,), 1, -1, or 0 = not told.
    """

    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """Sequences with labels and split, in memory.

    Attributes:
        tokens: uint8 (examples, length).
        labels: uint8 (examples, targets), 0 or 1.
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
        if split_name == "all":
            return np.arange(self.examples, dtype=np.int64)
        return np.flatnonzero(self.split == SPLITS.index(split_name)).astype(np.int64)

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


def write(path: Path, dataset: Dataset) -> None:
    """Write `dataset` to `path`, a folder that appears whole or not at all.

    Raises:
        ValueError: its arrays do not fit together.
    """
    _check(dataset)
    coordinates = dataset.coordinates
    with atomic.atomic_folder(path) as partial:
        group = zarr.create_group(store=partial, zarr_format=3)
        _write_rows(group, "tokens", dataset.tokens.astype(np.uint8, copy=False))
        _write_rows(group, "labels", dataset.labels.astype(np.uint8, copy=False))
        _write_vector(group, "split", dataset.split.astype(np.uint8, copy=False))
        _write_vector(group, "start", coordinates.start.astype(np.int64, copy=False))
        _write_vector(group, "end", coordinates.end.astype(np.int64, copy=False))
        _write_vector(group, "strand", coordinates.strand.astype(np.int8, copy=False))
        _write_strings(group, "name", dataset.names)
        _write_strings(group, "chrom", coordinates.chrom.tolist())
        group.attrs.update(
            {
                "format_version": FORMAT_VERSION,
                "task": dataset.task,
                "targets": list(dataset.targets),
                "complete": True,
            }
        )


def task(path: Path) -> str | None:
    """The task of the data set at `path`, from its attributes alone; None when there is none that could be read."""
    try:
        attributes = zarr.open_group(store=path, mode="r", zarr_format=3).attrs
        usable = attributes["complete"] is True and attributes["format_version"] == FORMAT_VERSION
        return str(attributes["task"]) if usable else None
    except (OSError, ValueError, KeyError):
        return None


def read(path: Path, *, background: bool = False) -> Dataset:
    """Read the whole data set into memory.

    Args:
        path: dataset.zarr or background.zarr.
        background: it is the latter; for the message.

    Raises:
        ArtefactError: it is missing, unfinished, damaged or of another format version; the message says what to run.
    """
    mend = f"make it with: satori-hpc prepare {path.parent}" + (" --background" if background else "")
    if not path.is_dir():
        raise ArtefactError(f"{path}: there is no data set; {mend}")
    try:
        group = zarr.open_group(store=path, mode="r", zarr_format=3)
        attributes = dict(group.attrs)
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{path}: not a data set of this program ({_one_line(error)}); {mend}") from None
    version = attributes.get("format_version")
    if version is not None and version != FORMAT_VERSION:
        raise ArtefactError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; {mend}")
    if version is None or attributes.get("complete") is not True:
        raise ArtefactError(f"{path}: unfinished, or not a data set of this program; {mend}")
    try:
        dataset = Dataset(
            tokens=_array(group, "tokens"),
            labels=_array(group, "labels"),
            split=_array(group, "split"),
            names=_read_strings(group, "name"),
            coordinates=Coordinates(
                chrom=np.array(_read_strings(group, "chrom"), dtype=np.str_),
                start=_array(group, "start"),
                end=_array(group, "end"),
                strand=_array(group, "strand"),
            ),
            targets=[str(target) for target in attributes["targets"]],  # type: ignore[union-attr]
            task=str(attributes["task"]),
        )
        _check(dataset)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ArtefactError(f"{path}: damaged ({_one_line(error)}); {mend}") from None
    return dataset


def _check(dataset: Dataset) -> None:
    """Raise ValueError unless all parts have the same examples and plausible values."""
    if dataset.tokens.ndim != 2 or dataset.labels.ndim != 2:
        raise ValueError("tokens and labels must have two dimensions")
    coordinates = dataset.coordinates
    columns = (dataset.labels, dataset.split, dataset.names, *vars(coordinates).values())
    if any(len(column) != dataset.examples for column in columns):
        raise ValueError("the arrays hold different numbers of examples")
    if dataset.labels.shape[1] != len(dataset.targets):
        raise ValueError(f"{dataset.labels.shape[1]} columns of labels for {len(dataset.targets)} targets")
    if dataset.task not in TASKS or (dataset.task == "binary" and len(dataset.targets) != 1):
        raise ValueError(f"task {dataset.task!r} with {len(dataset.targets)} targets")
    if dataset.examples and (dataset.tokens.max() > 4 or dataset.labels.max() > 1 or dataset.split.max() > 2):
        raise ValueError("a token above 4, a label above 1 or a split above 2")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _array(group: zarr.Group, name: str) -> np.ndarray:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} is not an array")
    return np.asarray(array[...])


def _write_rows(group: zarr.Group, name: str, rows: np.ndarray) -> None:
    """An (example, ...) array in shards, so that two million examples make tens of files."""
    chunk = max(1, min(CHUNK_EXAMPLES, len(rows)))
    shard = chunk * max(1, min(SHARD_EXAMPLES // chunk, -(-len(rows) // chunk)))
    _write(group, name, rows, (chunk, rows.shape[1]), (shard, rows.shape[1]))


def _write_vector(group: zarr.Group, name: str, values: np.ndarray) -> None:
    _write(group, name, values, (max(1, min(CHUNK_ITEMS, len(values))),), None)


def _write_strings(group: zarr.Group, name: str, strings: Sequence[str]) -> None:
    encoded = [text.encode("utf-8") for text in strings]
    _write_vector(group, name, np.frombuffer(b"".join(encoded), dtype=np.uint8))
    _write_vector(group, f"{name}_ends", np.cumsum([len(text) for text in encoded], dtype=np.int64))


def _read_strings(group: zarr.Group, name: str) -> list[str]:
    raw = _array(group, name).tobytes()
    ends = _array(group, f"{name}_ends").tolist()
    return [raw[start:end].decode("utf-8") for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []


def _write(group: zarr.Group, name: str, values: np.ndarray, chunks: Any, shards: Any) -> None:
    array = group.create_array(
        name=name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        compressors=[ZstdCodec(level=ZSTD_LEVEL)],
    )
    array[...] = values
