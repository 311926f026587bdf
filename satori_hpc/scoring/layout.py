"""The plan of a score store, made once, and the markers of what is done of it."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from satori_hpc import pairs
from satori_hpc.data import zarr_arrays
from satori_hpc.data.dataset import BLOCK
from satori_hpc.run import files, sealed
from satori_hpc.scoring import shard

FORMAT_VERSION = 4
ARTEFACT = "satori_hpc scores"
GROUPS = ("foreground", "background")
ARRAYS = {"score": "float32", "distance": "int16", "position": "int16"}  # of every method, each with its type
EXTRA = "float32"  # type of what a method keeps besides
MISSING = -(2**15)  # distance and position of a pair that was not observed

SHARD_BYTES = 384 * 2**20  # of a partition in memory, at most
PARTITIONS = 32  # of a group, if that does not make shards of fewer than SHARD_EXAMPLES
SHARD_EXAMPLES = (64, 4096)


def pair_bytes(arrays: dict[str, str]) -> int:
    """Bytes of a pair in an example, over all arrays; `arrays`: the type of each."""
    return sum(np.dtype(dtype).itemsize for dtype in arrays.values())


def shard_examples_for(filters: int, examples: int, *, arrays: dict[str, str] = ARRAYS) -> int:
    """Examples per shard: a power of two in 64 .. 4,096.

    The largest whose arrays hold at most 384 MiB in memory; but a smaller one for a small set, so that there is work
    for many ranks and a killed one loses little.
    """
    most = min(SHARD_BYTES // (pair_bytes(arrays) * pairs.count(filters)), examples // PARTITIONS)
    low, high = SHARD_EXAMPLES
    return max(low, min(high, 1 << max(0, most.bit_length() - 1)))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that shapes the store's bytes, save the scores.

    Attributes:
        method: name of the scoring method.
        filters: F; there are F (F - 1) / 2 pairs.
        foreground, background: int64, rows of the examples in their dataset, in the order of the store.
        background_source: "dataset" or "background": whose rows `background` are.
        dataset_examples: length of `selected`.
        shard_examples: examples per partition; 0 = `shard_examples_for`.
        chunk_pairs: pairs per inner chunk.
        pool, padding, width: bp: a cell and its position say with them which letters they stand for; pool = 1 where
            positions are exact.
        extras: names of the float32 arrays that the method keeps besides ARRAYS.
        settings: what the scores of this method follow from besides model and examples, as plain values.
        composition: share of A, C, G and T in the training examples; random letters of methods that need some.
        selection: the settings that chose the examples, as plain values.
        true_positive: uint8 (foreground example, target), 1 = a label that is predicted and true; None when binary.
        digests: of all that the scores follow from; a store with other digests is made anew.
    """

    method: str
    filters: int
    foreground: np.ndarray
    background: np.ndarray
    background_source: str
    dataset_examples: int
    shard_examples: int
    chunk_pairs: int
    pool: int = 1
    padding: int = 0
    width: int = 1
    extras: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    composition: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    selection: dict[str, Any] = field(default_factory=dict)
    true_positive: np.ndarray | None = None
    digests: dict[str, str]

    @property
    def pairs(self) -> int:
        return pairs.count(self.filters)

    @property
    def arrays(self) -> dict[str, str]:
        """The arrays of every group that hold a value per example and pair, each with its type."""
        return ARRAYS | dict.fromkeys(self.extras, EXTRA)

    @property
    def partition_examples(self) -> int:
        """Examples per partition, the automatic choice made."""
        most = max(len(self.rows(group)) for group in GROUPS)
        return self.shard_examples or shard_examples_for(self.filters, most, arrays=self.arrays)

    def rows(self, group: str) -> np.ndarray:
        rows: np.ndarray = getattr(self, group)
        return rows

    def partitions(self, group: str) -> list[tuple[int, int]]:
        """[first, last) rows of each partition."""
        total = len(self.rows(group))
        step = self.partition_examples
        return [(first, min(first + step, total)) for first in range(0, total, step)]

    def attributes(self) -> dict[str, Any]:
        """What the store says of itself, with a digest of that."""
        content = {
            "artefact": ARTEFACT,
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "filters": self.filters,
            "pool": self.pool,
            "padding": self.padding,
            "width": self.width,
            "arrays": self.arrays,
            "settings": self.settings,
            "composition": self.composition,
            "background_source": self.background_source,
            "shard_examples": self.partition_examples,
            "chunk_pairs": self.chunk_pairs,
            "plan": {group: [list(rows) for rows in self.partitions(group)] for group in GROUPS},
            "selection": self.selection,
            "digests": self.digests,
        }
        return content | {sealed.KEY: digest(content)}


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What is known of a finished partition: its rows, its files by array, and sums over the observed scores."""

    group: str
    partition: int
    rows: list[int]
    files: dict[str, dict[str, Any]]
    observed: int
    total: float
    sites: int

    def text(self) -> str:
        """As JSON, with a digest of itself."""
        return sealed.text(asdict(self), sort_keys=True)

    @staticmethod
    def parse(text: str) -> "Marker":
        """The marker that a text holds.

        Raises:
            ValueError, TypeError: it is not a marker, or not as it was written.
        """
        return Marker(**sealed.parse(text))


def digest(attributes: dict[str, Any]) -> str:
    """SHA-256 of the attributes of a store, their own digest aside."""
    told = {name: value for name, value in attributes.items() if name != sealed.KEY}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def closing_text(estimate: dict[str, float]) -> str:
    """What complete.json says: that the store is closed, and how far its scores may be off."""
    return sealed.text({"format_version": FORMAT_VERSION, "estimate": estimate}, sort_keys=True)


def closing_estimate(text: str) -> dict[str, float]:
    """The estimate in the text of a complete.json.

    Raises:
        ValueError, TypeError, KeyError: it is not one, or not as it was written.
    """
    return {str(name): float(value) for name, value in sealed.parse(text)["estimate"].items()}


# What the attributes of a score store say of its shape: no array is read for it.


class Geometry:
    """The shape of a score store.

    Args:
        path: of the store.
        attributes: of its root group.
    """

    def __init__(self, path: Path, attributes: dict[str, Any]) -> None:
        self.path = path
        self.attributes = attributes

    @property
    def method(self) -> str:
        return str(self.attributes["method"])

    @property
    def filters(self) -> int:
        return int(self.attributes["filters"])

    @property
    def pairs(self) -> int:
        return pairs.count(self.filters)

    @property
    def arrays(self) -> dict[str, str]:
        """The arrays of every group that hold a value per example and pair, each with its type."""
        return dict(self.attributes["arrays"])

    @property
    def pair_bytes(self) -> int:
        """Bytes of a pair in an example, over all arrays."""
        return pair_bytes(self.arrays)

    @property
    def composition(self) -> np.ndarray:
        """float64 (4,): share of A, C, G and T in the training examples."""
        return np.array(self.attributes["composition"], dtype=np.float64)

    @property
    def chunk_pairs(self) -> int:
        """Pairs per inner chunk."""
        return min(int(self.attributes["chunk_pairs"]), self.pairs)

    @property
    def chunks(self) -> int:
        """Inner chunks per shard."""
        return -(-self.pairs // self.chunk_pairs)

    def shard_rows(self, group: str) -> int:
        """Rows of every shard of a group; those of the last one that have no example are filled up."""
        total = self.partitions(group)[-1][1]
        return min(int(self.attributes["shard_examples"]), total)  # a short group is not filled up to a whole shard

    def partitions(self, group: str) -> list[tuple[int, int]]:
        """[first, last) rows of each partition of a group."""
        return [(first, last) for first, last in self.attributes["plan"][group]]

    def items(self) -> list[tuple[str, int]]:
        """(group, partition) of all partitions, in the order in which they are numbered."""
        return [(group, partition) for group in GROUPS for partition in range(len(self.partitions(group)))]

    def shard_path(self, group: str, array: str, partition: int) -> Path:
        return self.path / group / array / "c" / str(partition) / "0"


# The empty score store: groups, arrays and coordinates, made once before anybody writes scores.

SHUFFLES: dict[str, Literal["noshuffle", "bitshuffle"]] = {"float32": "noshuffle", "int16": "bitshuffle"}


def create(path: Path, plan: Plan) -> None:
    """Make the empty store of a plan, in place of what is at `path`; it appears whole or not at all."""
    limit_concurrency()
    with files.atomic_folder(path) as partial:
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
    """The metadata that makes what scoring.shard writes an array that any reader of Zarr v3 opens."""
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
        fill_value=shard.FILL[dtype],
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
