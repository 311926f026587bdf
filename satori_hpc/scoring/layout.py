"""Plan a score store, once, and write the markers of its finished partitions."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from satori_hpc.data import zarr_arrays
from satori_hpc.data.dataset import BLOCK
from satori_hpc.run import files, sealed
from satori_hpc.run.layout import markers_of
from satori_hpc.scoring import shard
from satori_hpc.scoring.site_scores import entries

FORMAT_VERSION = 7
ARTEFACT = "satori_hpc scores"
GROUPS = ("foreground", "background")
# The arrays of every method and group, each with its type and the shape of an entry; further ones between places are
# like `value`, those over single places like `place` in number and float32.
ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "counts": ("int32", (2,)),
    "site": ("int16", (4,)),
    "strength": ("float32", ()),
    "place": ("int16", ()),
    "value": ("float32", ()),
}
CHUNK = 2**14  # entries of an inner chunk
SHARD_BYTES = 384 * 2**20  # of a partition in memory, at most, if every example has all that it can have
PARTITIONS = 32  # of a group, if that does not make shards of fewer than SHARD_EXAMPLES
SHARD_EXAMPLES = (64, 4096)


def example_bytes(most: tuple[int, int], *, directed: bool = False, extras: int = 0, effects: int = 0) -> int:
    """Return the memory of an example with so many sites and places; numbers of further arrays."""
    sites, places = most
    return 8 + 12 * sites + (2 + 4 * effects) * places + 4 * (1 + extras) * int(entries(places, directed=directed))


def shard_examples_for(examples: int, each: int) -> int:
    """Return examples per shard: a power of two in 64 .. 4,096.

    The largest with at most 384 MiB in memory, of `each` bytes; but a smaller one for a small set, so that there
    is work for many ranks and a killed one loses little.
    """
    most = min(SHARD_BYTES // each, examples // PARTITIONS)
    low, high = SHARD_EXAMPLES
    return max(low, min(high, 1 << max(0, most.bit_length() - 1)))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that shapes the store's bytes, save the scores.

    Attributes:
        method: name of the scoring method.
        known: names of the known motifs that sites are of; learned filters, which have numbers, come after them.
        widths: int16 (motifs,), bp of the sites of each motif; with learned filters all are the filter's.
        foreground, background: int64, rows of the examples in their dataset, in the order of the store.
        background_source: "dataset" or "background": whose rows `background` are.
        dataset_examples: length of `selected`.
        shard_examples: examples per partition; 0 = `shard_examples_for`.
        pool: bp that a place spans: a site may start at any of them; 1 = positions are exact.
        most: sites and places that an example can have.
        directed, choose, extras, effects: as of the method's scorer (scoring.base.SiteScorer).
        settings: everything else that the scores of this method depend on, as plain values.
        composition: share of A, C, G and T in the training examples, for random bases.
        selection: the settings that chose the examples, as plain values.
        true_positive: uint8 (foreground example, target), 1 = a label that is predicted and true; None when binary.
        targets: names of the labels.
        digests: of everything that the scores depend on; a store with other digests is rebuilt.
    """

    method: str
    known: Sequence[str] = ()
    widths: np.ndarray
    foreground: np.ndarray
    background: np.ndarray
    background_source: str
    dataset_examples: int
    shard_examples: int
    pool: int = 1
    most: tuple[int, int]
    directed: bool = False
    choose: str = "largest"
    extras: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    composition: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    selection: dict[str, Any] = field(default_factory=dict)
    true_positive: np.ndarray | None = None
    targets: Sequence[str] = ()
    digests: dict[str, str]

    @property
    def partition_examples(self) -> int:
        """Examples per partition, the automatic choice made."""
        each = example_bytes(self.most, directed=self.directed, extras=len(self.extras), effects=len(self.effects))
        return self.shard_examples or shard_examples_for(max(len(self.rows(group)) for group in GROUPS), each)

    def rows(self, group: str) -> np.ndarray:
        rows: np.ndarray = getattr(self, group)
        return rows

    def partitions(self, group: str) -> list[tuple[int, int]]:
        """Return [first, last) rows of each partition."""
        total = len(self.rows(group))
        step = self.partition_examples
        return [(first, min(first + step, total)) for first in range(0, total, step)]

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the store, with their digest."""
        content = {
            "artefact": ARTEFACT,
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "motifs": len(self.widths),
            "pool": self.pool,
            "most": list(self.most),
            "directed": self.directed,
            "choose": self.choose,
            "extras": list(self.extras),
            "effects": list(self.effects),
            "settings": self.settings,
            "composition": list(self.composition),
            "background_source": self.background_source,
            "shard_examples": self.partition_examples,
            "plan": {group: [list(rows) for rows in self.partitions(group)] for group in GROUPS},
            "selection": self.selection,
            "digests": self.digests,
        }
        return content | {sealed.KEY: digest(content)}


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Record of a finished partition.

    Attributes:
        plan: digest of the attributes of its store: a marker of another plan marks nothing.
        group, partition: which it is.
        rows: [first, last) examples of the group.
        files: {array: {"bytes", "sha256"}}.
        entries: {array: how many entries there are}.
        effects: {array over single places: [how many there are, sum of their sizes]}.
    """

    plan: str
    group: str
    partition: int
    rows: list[int]
    files: dict[str, dict[str, Any]]
    entries: dict[str, int]
    effects: dict[str, list[float]]

    def text(self) -> str:
        """Return JSON text with its digest."""
        return sealed.text(asdict(self), sort_keys=True)

    @staticmethod
    def parse(text: str) -> "Marker":
        """Return the marker that a text holds.

        Raises:
            ValueError, TypeError: it is not a marker, or not as it was written.
        """
        return Marker(**sealed.parse(text))


def digest(attributes: dict[str, Any]) -> str:
    """Return SHA-256 of the attributes of a store, their own digest aside."""
    told = {name: value for name, value in attributes.items() if name != sealed.KEY}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def closing_text(estimate: dict[str, float]) -> str:
    """Return the content of complete.json, which closes the store and holds the error estimate."""
    return sealed.text({"format_version": FORMAT_VERSION, "estimate": estimate}, sort_keys=True)


def closing_estimate(text: str) -> dict[str, float]:
    """Return the estimate in the text of a complete.json.

    Raises:
        ValueError, TypeError, KeyError: it is not one, or not as it was written.
    """
    return {str(name): float(value) for name, value in sealed.parse(text)["estimate"].items()}


# The geometry of a score store from its attributes, without reading an array.


class Geometry:
    """The shape of a score store.

    Args:
        path: of the store.
        attributes: of its root group.
    """

    def __init__(self, path: Path, attributes: dict[str, Any]) -> None:
        self.path = path
        self.marker_folder = markers_of(path)
        self.attributes = attributes

    @property
    def method(self) -> str:
        return str(self.attributes["method"])

    @property
    def motifs(self) -> int:
        """How many motifs (learned filters, or known motifs) sites are of."""
        return int(self.attributes["motifs"])

    @property
    def directed(self) -> bool:
        return bool(self.attributes["directed"])

    @property
    def choose(self) -> str:
        """Which site pair represents two motifs: scoring.base.LARGEST, LARGEST_SIZE or FIRST."""
        return str(self.attributes["choose"])

    @property
    def pool(self) -> int:
        """Width of a place, bp."""
        return int(self.attributes["pool"])

    @property
    def arrays(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The arrays of every group that partitions are written of, each with its type and the shape of an entry."""
        more = (*self.attributes["extras"], *self.attributes["effects"])
        return ARRAYS | dict.fromkeys(more, ("float32", ()))

    @property
    def composition(self) -> np.ndarray:
        """float64 (4,): share of A, C, G and T in the training examples."""
        return np.array(self.attributes["composition"], dtype=np.float64)

    @property
    def example_bytes(self) -> int:
        """Memory of an example with the maximal number of sites and places, bytes."""
        told = self.attributes
        return example_bytes(
            tuple(told["most"]), directed=self.directed, extras=len(told["extras"]), effects=len(told["effects"])
        )

    def shard_rows(self, group: str) -> int:
        """Return the examples of every shard of a group, the last one padded."""
        total = self.partitions(group)[-1][1]
        return min(int(self.attributes["shard_examples"]), total)  # a short group is not filled up to a whole shard

    def chunking(self, group: str, array: str) -> tuple[int, int]:
        """Return entries per inner chunk of a shard, and the maximal number of inner chunks."""
        rows = self.shard_rows(group)
        sites, places = self.attributes["most"]
        if array == "counts":
            return rows, 1
        most = {"site": sites, "place": places, "value": int(entries(places, directed=self.directed))}
        return CHUNK, max(1, -(-rows * most[self.entries_of(array)] // CHUNK))

    def entries_of(self, array: str) -> str:
        """Which array has the same number of entries: "site", "place" or "value"."""
        if array in ("site", "strength"):
            return "site"
        return "place" if array == "place" or array in self.attributes["effects"] else "value"

    def partitions(self, group: str) -> list[tuple[int, int]]:
        """Return [first, last) rows of each partition of a group."""
        return [(first, last) for first, last in self.attributes["plan"][group]]

    def items(self) -> list[tuple[str, int]]:
        """Return (group, partition) of all partitions, in the order in which they are numbered."""
        return [(group, partition) for group in GROUPS for partition in range(len(self.partitions(group)))]

    def shard_path(self, group: str, array: str, partition: int) -> Path:
        _, shape = self.arrays[array]
        behind = 0 if array == "counts" else 1  # axes of an array besides that of partitions and of an entry
        return (self.path / group / array / "c" / str(partition)).joinpath(*["0"] * (behind + len(shape)))


# The empty score store: groups, arrays and coordinates, made once before any scores are written.

SHUFFLES: dict[str, Literal["noshuffle", "bitshuffle"]] = {
    "float32": "noshuffle",
    "int16": "bitshuffle",
    "int32": "bitshuffle",
}


def create(path: Path, plan: Plan) -> None:
    """Create the empty store of a plan, atomically, replacing what is at `path`."""
    limit_concurrency()
    attributes = plan.attributes()
    shape = Geometry(path, attributes)
    files.remove_folder(shape.marker_folder)
    with files.atomic_folder(path) as partial:
        root = zarr.create_group(partial, zarr_format=3, attributes=attributes)
        selected = np.zeros(plan.dataset_examples, dtype=np.uint8)
        selected[plan.foreground] = 1
        if plan.background_source == "dataset":
            selected[plan.background] = 2
        names = [*plan.known, *(f"filter{number}" for number in range(len(plan.known), len(plan.widths)))]
        zarr_arrays.write_strings(root, "motif", names, count=len(names), dimension="motif")
        _write_whole(root, "width", np.asarray(plan.widths, dtype=np.int16), ("motif",))
        _write_whole(root, "selected", selected, ("dataset_example",))
        for name in GROUPS:
            group = root.create_group(name)
            rows = plan.rows(name)
            _write_whole(group, "example", rows.astype(np.int64, copy=False), ("example",))
            for array in shape.arrays:
                _create_ragged(group, array, shape)
            if name == "foreground" and plan.true_positive is not None:
                right = plan.true_positive.astype(np.uint8, copy=False)
                _write_whole(group, "true_positive", right, ("example", "target"))
                zarr_arrays.write_strings(group, "target", plan.targets, count=len(plan.targets), dimension="target")
        zarr_arrays.consolidate(partial)


def _create_ragged(group: zarr.Group, name: str, shape: Geometry) -> None:
    """Write the metadata with which any Zarr v3 reader can open the arrays of scoring.shard.

    A shard is one row, (partition, entry), of the maximal length; the rest is fill.
    """
    where = group.name.strip("/")
    dtype, entry = shape.arrays[name]
    chunk, chunks = shape.chunking(where, name)
    size: tuple[int, ...]
    one: tuple[int, ...]
    dimensions: tuple[str, ...]
    if name == "counts":
        size, one, dimensions = (shape.partitions(where)[-1][1],), (), ("example",)
    else:
        along = f"{shape.entries_of(name)}_entry"
        size, one, dimensions = (len(shape.partitions(where)), chunk * chunks), (1,), ("partition", along)
    zarr_arrays.create(
        group,
        name,
        shape=(*size, *entry),
        dtype=dtype,
        chunks=(*one, chunk, *entry),
        compressor=BloscCodec(typesize=np.dtype(dtype).itemsize, cname="lz4", clevel=9, shuffle=SHUFFLES[dtype]),
        shards=(*one, chunk * chunks, *entry),
        fill_value=shard.FILL[dtype],
        dimensions=(*dimensions, *(f"{name}_column" for _ in entry)),
    )


def _write_whole(group: zarr.Group, name: str, values: np.ndarray, dimensions: tuple[str, ...]) -> None:
    """Write an array as one chunk or, if it has two dimensions, in several small ones."""
    sizes = (min(len(values), BLOCK), *values.shape[1:]) if values.ndim > 1 else values.shape
    array = zarr_arrays.create(
        group,
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(max(size, 1) for size in sizes),
        compressor=ZstdCodec(level=1),
        dimensions=dimensions,
    )
    array[...] = values


def limit_concurrency() -> None:
    """Keep Zarr from starting more threads than this process has processors; many processes may share a node."""
    threads = min(8, len(os.sched_getaffinity(0)))
    zarr.config.set({"async.concurrency": threads, "threading.max_workers": threads})
