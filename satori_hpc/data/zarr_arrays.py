"""Zarr arrays as we write and read them: each chunk is written and carries a CRC-32C, so that damage is an error."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import Crc32cCodec, ZstdCodec

from satori_hpc.errors import ArtefactError, SatoriError

BLOCK_BYTES = 2**24  # of rows that are read together, unless one chunk has more
ZSTD = ZstdCodec(level=3)

# Zarr reads a chunk that is not there as fill values; here none is left out, so that it is known to be lost.
zarr.config.set({"array.write_empty_chunks": True})


def create(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: Any,
    chunks: tuple[int, ...],
    compressor: BytesBytesCodec = ZSTD,
    **more: Any,
) -> zarr.Array:
    """Create an array; `more`: as of zarr.Group.create_array."""
    return group.create_array(
        name, shape=shape, dtype=dtype, chunks=chunks, compressors=[compressor, Crc32cCodec()], **more
    )


@contextlib.contextmanager
def opened(path: Path, *, mend: str) -> Iterator[zarr.Group]:
    """Open a group to read; what goes wrong in the block is an ArtefactError that names `path`, array and `mend`."""
    with damage_told(path, mend=mend):
        yield zarr.open_group(path, mode="r", zarr_format=3)


@contextlib.contextmanager
def damage_told(path: Path, *, mend: str) -> Iterator[None]:
    """Turn what goes wrong while a store is read into one error.

    Raises:
        ArtefactError: with the command that makes the store anew.
    """
    try:
        yield
    except (SatoriError, MemoryError):
        raise
    except Exception as error:  # of Zarr, its codecs and JSON: a dozen kinds, none of which tells a user more
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
    """Read some rows of an (example, ...) array, in the order of `rows`, int64; of the others some megabytes at a time.

    Every chunk that has one of them is decoded once. Zarr's own selection by numbers takes eight bytes per value.

    Raises:
        IndexError: there is no such row.
        ValueError: as `read`.
    """
    array = member(group, name)
    found = np.empty((len(rows), len(range(*columns.indices(array.shape[1])))), dtype=array.dtype)
    if not len(rows):
        return found
    order = None if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
    rising = rows if order is None else rows[order]
    if rising[0] < 0 or rising[-1] >= array.shape[0]:
        raise IndexError(f"rows {rising[0]} to {rising[-1]} of an array of {array.shape[0]}")
    chunk = rising // array.chunks[0]
    together = max(1, BLOCK_BYTES // (array.chunks[0] * array.shape[1] * array.dtype.itemsize))
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
