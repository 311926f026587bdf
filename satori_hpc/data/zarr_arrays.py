"""Write and read Zarr arrays: every chunk is written, with a CRC-32C, so that damage is an error."""

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import Crc32cCodec, ZstdCodec

from satori_hpc.errors import ArtefactError, SatoriError

BLOCK_BYTES = 2**24  # of rows that are read together, unless one chunk has more
STRINGS = 2**16  # strings of a chunk
STRING_BYTES = 128  # of a string in memory while its chunk is decoded, as a rule
ZSTD = ZstdCodec(level=3)

# Zarr reads a missing chunk as fill values; here every chunk is written, so that a missing one is an error.
zarr.config.set({"array.write_empty_chunks": True})


def create(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: Any,
    chunks: tuple[int, ...],
    dimensions: tuple[str, ...],
    compressor: BytesBytesCodec = ZSTD,
    **more: Any,
) -> zarr.Array:
    """Create an array with a name for each of its dimensions; `more`: as of zarr.Group.create_array."""
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        compressors=[compressor, Crc32cCodec()],
        dimension_names=dimensions,
        **more,
    )


def write_strings(group: zarr.Group, name: str, strings: Iterable[str], *, count: int, dimension: str) -> None:
    """Write so many strings, some at a time, as an array of strings of any length.

    Raises:
        ValueError: there are fewer.
    """
    chunk = max(1, min(STRINGS, count))
    array = create(group, name, shape=(count,), dtype="string", chunks=(chunk,), dimensions=(dimension,))
    waiting = iter(strings)
    for first in range(0, count, chunk):
        size = min(chunk, count - first)
        array[first : first + size] = np.fromiter(itertools.islice(waiting, size), dtype=object, count=size)


def read_strings(group: zarr.Group, name: str, rows: np.ndarray | None = None) -> Iterator[str]:
    """Read the strings of some rows, in their order, or all; they are decoded some at a time.

    Raises: as `take`.
    """
    count = member(group, name).shape[0] if rows is None else len(rows)
    for first in range(0, count, STRINGS):
        some = slice(first, min(first + STRINGS, count))
        yield from map(str, read(group, name, some) if rows is None else take(group, name, rows[some]))


def consolidate(path: Path) -> None:
    """Note the metadata of all arrays below a group in it, too, where xarray looks first and else warns.

    The Zarr specification allows this and does not say how it is done: here nothing is read from there.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(path, zarr_format=3)


def open_group(path: Path) -> zarr.Group:
    """Open a group to read, with the metadata that each array has itself."""
    return zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)


@contextlib.contextmanager
def opened(path: Path, *, mend: str) -> Iterator[zarr.Group]:
    """Open a group to read; errors in the block become an ArtefactError that names `path`, array and cure."""
    with damage_told(path, mend=mend):
        yield open_group(path)


@contextlib.contextmanager
def damage_told(path: Path, *, mend: str) -> Iterator[None]:
    """Turn any error while a store is read into an ArtefactError.

    Raises:
        ArtefactError: with the command that makes the store anew.
    """
    try:
        yield
    except (SatoriError, MemoryError):
        raise
    except Exception as error:  # of Zarr, its codecs and JSON: a dozen types, none of which says more to a user
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtefactError(f"{path}: damaged ({what}); {mend}") from None


def member(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a group; nothing of it is read."""
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} is not an array")
    return array


def read(group: zarr.Group, name: str, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
    """Read an array, or some rows of it, and some columns of those.

    Raises:
        ValueError: a chunk is missing, truncated or damaged.
    """
    array: Any = member(group, name)
    try:
        _require_chunks(array, rows)
        return np.asarray(array[rows, columns] if array.ndim > 1 else array[rows])
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{name}: {error}") from None


def _require_chunks(array: Any, rows: slice) -> None:
    first, last, _ = rows.indices(array.shape[0])
    size = (array.shards or array.chunks)[0]
    folder = Path(array.store.root) / array.path / "c"
    for number in range(first // size, -(-last // size)):
        path = folder.joinpath(str(number), *["0"] * (array.ndim - 1))
        if not path.is_file() or not path.stat().st_size:  # Zarr takes an empty shard, too, for one that is not there
            raise ValueError(f"chunk {number} is missing or empty")


def take(group: zarr.Group, name: str, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    """Read some rows of an array, in the order of `rows`, int64; of the others some megabytes at a time.

    Every chunk that has one of them is decoded once. Zarr's own selection by numbers takes eight bytes per value.

    Raises:
        IndexError: there is no such row.
        ValueError: as `read`.
    """
    array = member(group, name)
    width = () if array.ndim == 1 else (len(range(*columns.indices(array.shape[1]))),)
    found = np.empty((len(rows), *width), dtype=array.dtype)
    if not len(rows):
        return found
    order = None if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
    rising = rows if order is None else rows[order]
    if rising[0] < 0 or rising[-1] >= array.shape[0]:
        raise IndexError(f"rows {rising[0]} to {rising[-1]} of an array of {array.shape[0]}")
    chunk = rising // array.chunks[0]
    each = STRING_BYTES if array.dtype.kind == "T" else array.dtype.itemsize * math.prod(array.shape[1:])
    together = max(1, BLOCK_BYTES // max(1, array.chunks[0] * each))
    cuts = np.flatnonzero((np.diff(chunk) > 1) | (np.diff(chunk // together) > 0)) + 1
    for begin, end in itertools.pairwise([0, *cuts.tolist(), len(rows)]):
        first, last = int(rising[begin]), int(rising[end - 1])
        values = read(group, name, slice(first, last + 1), columns)[rising[begin:end] - first]
        found[slice(begin, end) if order is None else order[begin:end]] = values
    return found


class StoredRows:
    """Rows of an (example, ...) array of a store, read on demand: a slice, or rows in any order.

    Args:
        opened: opens the group, and reports errors while it is read.
        name: of the array.
        check: raises ValueError where rows hold what they must not.
    """

    def __init__(
        self,
        opened: Callable[[], contextlib.AbstractContextManager[zarr.Group]],
        name: str,
        check: Callable[[np.ndarray], None] = lambda rows: None,
    ) -> None:
        self._opened, self._name, self._check = opened, name, check
        with opened() as group:
            self.shape: tuple[int, ...] = member(group, name).shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        with self._opened() as group:
            found = read(group, self._name, rows) if isinstance(rows, slice) else take(group, self._name, rows)
            self._check(found)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)
