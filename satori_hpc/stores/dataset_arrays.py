"""The arrays of dataset.zarr, written some rows at a time; `dataset` tells what they are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from satori_hpc.log import progress
from satori_hpc.stores.examples import Rows, Texts

CHUNK_EXAMPLES = 1024
SHARD_EXAMPLES = 2**17
CHUNK_ITEMS = 2**20
ZSTD_LEVEL = 3


def write_rows(group: zarr.Group, name: str, rows: Rows, check: Callable[[np.ndarray], None]) -> None:
    """An (example, ...) array in shards, so that two million examples make tens of files."""
    count, width = rows.shape
    chunk = max(1, min(CHUNK_EXAMPLES, count))
    shard = chunk * max(1, min(SHARD_EXAMPLES // chunk, -(-count // chunk)))
    array = _create(group, name, rows.shape, np.uint8, (chunk, width), (shard, width))
    for first in progress(range(0, count, shard), what=name, unit="shard"):
        block = np.asarray(rows[first : min(first + shard, count)], dtype=np.uint8)
        check(block)
        array[first : first + shard] = block


def write_vector(group: zarr.Group, name: str, values: np.ndarray) -> None:
    array = _create(group, name, values.shape, values.dtype, (max(1, min(CHUNK_ITEMS, len(values))),), None)
    array[...] = values


def write_strings(group: zarr.Group, name: str, strings: Texts) -> None:
    """Strings, made twice: how long all are together must be known before the first is written."""
    lengths = np.fromiter((len(text.encode("utf-8")) for text in strings), dtype=np.int64, count=len(strings))
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    chunk = max(1, min(CHUNK_ITEMS, total))
    array = _create(group, name, (total,), np.uint8, (chunk,), None)
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


def _create(group: zarr.Group, name: str, shape: Any, dtype: Any, chunks: Any, shards: Any) -> zarr.Array:
    return group.create_array(
        name=name, shape=shape, dtype=dtype, chunks=chunks, shards=shards, compressors=[ZstdCodec(level=ZSTD_LEVEL)]
    )
