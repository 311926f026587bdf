"""The arrays of dataset.zarr, written some rows at a time; `dataset` tells what they are."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import zarr
from numcodecs import Zstd

from satori_hpc.log import progress
from satori_hpc.stores import zarr_arrays
from satori_hpc.stores.examples import Rows, Texts

CHUNK_EXAMPLES = 1024
SHARD_EXAMPLES = 2**17
CHUNK_ITEMS = 2**20
ABSENT = 2**64 - 1  # what Zarr has for place and bytes of a chunk behind the last row


def write_rows(folder: Path, group: zarr.Group, name: str, rows: Rows, check: Callable[[np.ndarray], None]) -> None:
    """An (example, ...) array in shards, so that two million examples make tens of files.

    Zarr would hold a whole shard, with its code. Here its inner chunks are encoded and written one after the other; the
    bytes are Zarr's.

    Args:
        folder: of the group.
        group: of the array.
        name: of the array.
        rows: what it is to hold; asked for a block at a time, in order.
        check: raises ValueError where a block holds what it must not.
    """
    count, width = rows.shape
    chunk = max(1, min(CHUNK_EXAMPLES, count))
    chunks = max(1, min(SHARD_EXAMPLES // chunk, -(-count // chunk)))
    zarr_arrays.create(
        group, name, shape=rows.shape, dtype=np.uint8, chunks=(chunk, width), shards=(chunk * chunks, width)
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
    array = zarr_arrays.create(group, name, shape=values.shape, dtype=values.dtype, chunks=chunks)
    array[...] = values


def write_strings(group: zarr.Group, name: str, strings: Texts) -> None:
    """Strings, made twice: how long all are together must be known before the first is written."""
    lengths = np.fromiter((len(text.encode("utf-8")) for text in strings), dtype=np.int64, count=len(strings))
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    chunk = max(1, min(CHUNK_ITEMS, total))
    array = zarr_arrays.create(group, name, shape=(total,), dtype=np.uint8, chunks=(chunk,))
    waiting, done = bytearray(), 0
    for text in strings:
        waiting += text.encode("utf-8")
        while len(waiting) >= chunk:
            array[done : done + chunk] = np.frombuffer(bytes(waiting[:chunk]), dtype=np.uint8)
            done += chunk
            del waiting[:chunk]
    if waiting:
        array[done:total] = np.frombuffer(bytes(waiting), dtype=np.uint8)
    write_vector(group, f"{name}_ends", ends)
