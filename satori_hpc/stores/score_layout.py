"""The empty score store: groups, arrays and coordinates, made once before anybody writes scores."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from satori_hpc.core import pairs
from satori_hpc.stores import atomic, shards, zarr_arrays
from satori_hpc.stores.examples import BLOCK
from satori_hpc.stores.score_plan import GROUPS, Plan

SHUFFLES: dict[str, Literal["noshuffle", "bitshuffle"]] = {"float32": "noshuffle", "int16": "bitshuffle"}


def create(path: Path, plan: Plan) -> None:
    """Make the empty store of a plan, in place of what is at `path`; it appears whole or not at all."""
    limit_concurrency()
    with atomic.atomic_folder(path) as partial:
        root = zarr.create_group(partial, zarr_format=3, attributes=plan.attributes())
        first, second = pairs.filters_of(plan.filters)
        selected = np.zeros(plan.dataset_examples, dtype=np.uint8)
        selected[plan.foreground] = 1
        if plan.background_source == "dataset":
            selected[plan.background] = 2
        for name, values, dimension in (
            ("filter_a", first, "pair"),
            ("filter_b", second, "pair"),
            ("selected", selected, "dataset_example"),
        ):
            _write_whole(root, name, values, (dimension,))
        for name in GROUPS:
            group = root.create_group(name)
            rows = plan.rows(name)
            _write_whole(group, "example", rows.astype(np.int64, copy=False), ("example",))
            for array, dtype in plan.arrays.items():
                _create_matrix(group, array, dtype, (len(rows), plan.pairs), plan)
            if name == "foreground" and plan.true_positive is not None:
                right = plan.true_positive.astype(np.uint8, copy=False)
                _write_whole(group, "true_positive", right, ("example", "target"))
        (partial / "markers").mkdir()


def _create_matrix(group: zarr.Group, name: str, dtype: str, shape: tuple[int, int], plan: Plan) -> None:
    """The metadata that makes what stores.shards writes an array that any reader of Zarr v3 opens."""
    examples = min(plan.partition_examples, shape[0])
    chunk = min(plan.chunk_pairs, shape[1])
    zarr_arrays.create(
        group,
        name,
        shape=shape,
        dtype=dtype,
        chunks=(examples, chunk),
        compressor=BloscCodec(typesize=np.dtype(dtype).itemsize, cname="lz4", clevel=9, shuffle=SHUFFLES[dtype]),
        shards=(examples, -(-shape[1] // chunk) * chunk),
        fill_value=shards.FILL[dtype],
        dimension_names=("example", "pair"),
    )


def _write_whole(group: zarr.Group, name: str, values: np.ndarray, dimensions: tuple[str, ...]) -> None:
    """An array in one chunk, or, of two dimensions, in several that are small beside it."""
    sizes = (min(len(values), BLOCK), *values.shape[1:]) if values.ndim > 1 else values.shape
    array = zarr_arrays.create(
        group,
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(max(size, 1) for size in sizes),
        compressor=ZstdCodec(level=1),
        dimension_names=dimensions,
    )
    array[...] = values


def limit_concurrency() -> None:
    """Keep Zarr from starting more threads than this process has processors; many processes may share a node."""
    threads = min(8, len(os.sched_getaffinity(0)))
    zarr.config.set({"async.concurrency": threads, "threading.max_workers": threads})
