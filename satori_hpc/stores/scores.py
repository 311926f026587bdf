"""scores/<method>.zarr: what the scoring processes write by rows and the reduction reads by columns.

One Zarr v3 group, with a group for `foreground` and one for `background`, each holding

    score       float32 (example, pair)   NaN = the pair was not observed in that example
    distance    int16   (example, pair)   bp between the two cells that gave the score, -1 = not observed
    example     int64   (example,)        row of the example in its dataset

and at the root filter_a, filter_b int32 (pair,) and selected uint8 (dataset example,): 0 no, 1 foreground,
2 background.
A partition is a block of examples x all pairs: one shard, so one file of each array, written in one assignment by one
process. Its inner chunks, the block x a few hundred pairs, are what the reduction reads. The plan of partitions lies in
the attributes; the number of writers never shapes the bytes. `markers/<group>-<k>.json`, renamed into place after
the shards, holds their digests and sums: only it makes a partition done. `complete.json` closes the store.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from satori_hpc import provenance
from satori_hpc.core import pairs
from satori_hpc.errors import ArtefactError
from satori_hpc.stores import atomic
from satori_hpc.stores.score_plan import ARRAYS, ARTEFACT, FORMAT_VERSION, GROUPS, Marker, Plan

SUM_ROWS = 256


class ScoreStore:
    """An open store; made by `create_or_resume` (to write) or `open_complete` (to read)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        limit_concurrency()
        try:
            self._root = zarr.open_group(path, mode="r+" if os.access(path, os.W_OK) else "r", zarr_format=3)
            self.attributes: dict[str, Any] = dict(self._root.attrs)
        except Exception as error:
            raise ArtefactError(f"{path}: not a score store ({error}); {_mend(path)}") from None
        found = (self.attributes.get("artefact"), self.attributes.get("format_version"))
        if found != (ARTEFACT, FORMAT_VERSION):
            raise ArtefactError(
                f"{path}: expected {ARTEFACT} of format version {FORMAT_VERSION}, found {found[0]} of version "
                f"{found[1]}; {_mend(path)} --force"
            )
        self._arrays: dict[tuple[str, str], Any] = {
            (group, name): self._root[f"{group}/{name}"] for group in GROUPS for name in ARRAYS
        }

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
    def chunk_pairs(self) -> int:
        return int(self.attributes["chunk_pairs"])

    def partitions(self, group: str) -> list[tuple[int, int]]:
        """[first, last) rows of each partition of a group."""
        return [(first, last) for first, last in self.attributes["plan"][group]]

    def examples(self, group: str) -> np.ndarray:
        """int64: rows of the group's examples in their dataset."""
        return np.asarray(self._root[f"{group}/example"][:])  # type: ignore[index]

    def selected(self) -> np.ndarray:
        """uint8 (dataset example,): 0 no, 1 foreground, 2 background."""
        return np.asarray(self._root["selected"][:])  # type: ignore[index]

    def write_partition(
        self, group: str, partition: int, *, score: np.ndarray, distance: np.ndarray, sites: int
    ) -> None:
        """Write a whole partition, then its marker.

        Args:
            group: "foreground" or "background".
            partition: its number.
            score: float32 (rows of the partition, P), NaN = not observed.
            distance: int16, likewise, -1 = not observed.
            sites: active (filter, cell) entries of these examples, for the summary.
        """
        first, last = self.partitions(group)[partition]
        self._marker_path(group, partition).unlink(missing_ok=True)
        for name, values in (("score", score), ("distance", distance)):
            if values.shape != (last - first, self.pairs):
                raise ValueError(f"{name} {values.shape} is not partition {partition} of {group}, rows {first}-{last}")
            self._arrays[group, name][first:last, :] = values
        observed, total = _sums(score)
        files = {name: self._sealed(group, name, partition, empty=not observed) for name in ARRAYS}
        marker = Marker(
            group=group,
            partition=partition,
            rows=[first, last],
            files=files,
            observed=observed,
            total=total,
            sites=sites,
        )
        atomic.write_text(self._marker_path(group, partition), json.dumps(asdict(marker), sort_keys=True) + "\n")

    def pending(self, *, verify: bool = True) -> list[tuple[str, int]]:
        """(group, partition) of everything that is not done: no marker, or shards that are not those of the marker.

        Args:
            verify: read the shards and compare digests; else compare sizes only.
        """
        return [
            (group, partition)
            for group in GROUPS
            for partition in range(len(self.partitions(group)))
            if self._complaint(group, partition, verify=verify)
        ]

    def finalise(self) -> None:
        """Close the store: refuse if anything is missing, sweep what killed writers left, note the completion.

        Raises:
            ArtefactError: listing the partitions that are missing.
        """
        self._require_all(verify=False)
        for leftover in sorted(self.path.rglob("*.partial")):
            leftover.unlink(missing_ok=True)
        atomic.write_text(self._complete_path, json.dumps({"format_version": FORMAT_VERSION}) + "\n")

    def markers(self, group: str) -> list[Marker]:
        """The markers of a finished group, in the order of its partitions."""
        found = [self._marker(group, partition) for partition in range(len(self.partitions(group)))]
        return [marker for marker in found if marker is not None]

    def mean_score(self, group: str = "foreground") -> float:
        """Mean of all observed scores of a group, float64; NaN when there are none."""
        markers = self.markers(group)
        observed = sum(marker.observed for marker in markers)
        return sum(marker.total for marker in markers) / observed if observed else float("nan")

    def read_pair_block(self, group: str, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and distances int16 of pairs [first, last), (examples, last - first)."""
        return self.read_scores(group, first, last), np.asarray(self._arrays[group, "distance"][:, first:last])

    def read_scores(self, group: str, first: int, last: int) -> np.ndarray:
        """Scores float32 of pairs [first, last), (examples, last - first)."""
        return np.asarray(self._arrays[group, "score"][:, first:last])

    def _sealed(self, group: str, name: str, partition: int, *, empty: bool) -> dict[str, Any]:
        """Make a shard durable, because its marker must not outlive it; {"bytes", "sha256"}.

        Zarr writes no file for a shard in which nothing was observed; it then stands as 0 bytes.
        """
        shard = self._shard(group, name, partition)
        if empty and not shard.exists():
            return {"bytes": 0, "sha256": ""}
        with open(shard, "rb+") as handle:
            os.fsync(handle.fileno())
        atomic.sync_folder(shard.parent)
        return {"bytes": shard.stat().st_size, "sha256": provenance.file_digest(shard)}

    def _require_all(self, *, verify: bool) -> None:
        missing = []
        for group in GROUPS:
            for partition, (first, last) in enumerate(self.partitions(group)):
                complaint = self._complaint(group, partition, verify=verify)
                if complaint:
                    missing.append(f"  - {group} partition {partition} (examples {first} to {last}): {complaint}")
        if missing:
            shown = missing[:20] + ([f"  - ... and {len(missing) - 20} more"] if len(missing) > 20 else [])
            heading = f"{self.path}: {len(missing)} partitions are not done; {_mend(self.path)}"
            raise ArtefactError(heading + "\n" + "\n".join(shown))

    def _complaint(self, group: str, partition: int, *, verify: bool) -> str:
        """What is wrong with a partition, or nothing."""
        marker = self._marker(group, partition)
        if marker is None:
            return "not written"
        for name, entry in marker.files.items():
            shard = self._shard(group, name, partition)
            size = shard.stat().st_size if shard.exists() else 0
            if not size and entry["bytes"]:
                return f"{shard.relative_to(self.path)} is missing"
            if size != entry["bytes"]:
                return f"{shard.relative_to(self.path)} has {size} bytes, expected {entry['bytes']}"
            if verify and size and provenance.file_digest(shard) != entry["sha256"]:
                return f"{shard.relative_to(self.path)} has other content than was written"
        return ""

    def _marker(self, group: str, partition: int) -> Marker | None:
        try:
            marker = Marker(**json.loads(self._marker_path(group, partition).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None  # a damaged marker marks nothing
        return marker if marker.rows == list(self.partitions(group)[partition]) else None

    def _marker_path(self, group: str, partition: int) -> Path:
        return self.path / "markers" / f"{group}-{partition}.json"

    def _shard(self, group: str, name: str, partition: int) -> Path:
        return self.path / group / name / "c" / str(partition) / "0"

    @property
    def _complete_path(self) -> Path:
        return self.path / "markers" / "complete.json"

    @property
    def complete(self) -> bool:
        return self._complete_path.exists()


def create_or_resume(path: Path, plan: Plan) -> ScoreStore:
    """The store of `plan`: the one at `path` if it has the same plan and digests, else a new and empty one."""
    if path.exists():
        try:
            store = ScoreStore(path)
        except ArtefactError:
            store = None
        if store is not None and _same(store, plan):
            return store
    _create(path, plan)
    return ScoreStore(path)


def open_complete(path: Path, *, verify: bool = False) -> ScoreStore:
    """A finished store, to read.

    Args:
        path: the store.
        verify: read every shard and compare its digest; else sizes only.

    Raises:
        ArtefactError: missing, foreign, of another format version or unfinished; lists what is missing.
    """
    if not path.exists():
        raise ArtefactError(f"{path}: no scores; {_mend(path)}")
    store = ScoreStore(path)
    store._require_all(verify=verify)
    if not store.complete:
        raise ArtefactError(f"{path}: all partitions are written, but the store was not closed; {_mend(path)}")
    return store


def limit_concurrency() -> None:
    """Keep Zarr from starting more threads than this process has processors; many processes may share a node."""
    threads = min(8, len(os.sched_getaffinity(0)))
    zarr.config.set({"async.concurrency": threads, "threading.max_workers": threads})


def _same(store: ScoreStore, plan: Plan) -> bool:
    return store.attributes == json.loads(json.dumps(plan.attributes())) and all(
        np.array_equal(store.examples(group), plan.rows(group)) for group in GROUPS
    )


def _create(path: Path, plan: Plan) -> None:
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
            _write_vector(root, name, values, dimension)
        for name in GROUPS:
            group = root.create_group(name)
            rows = plan.rows(name)
            _write_vector(group, "example", rows.astype(np.int64), "example")
            for array, dtype, fill in (("score", "float32", np.nan), ("distance", "int16", -1)):
                _create_matrix(group, array, (len(rows), plan.pairs), plan, dtype=dtype, fill=fill)
        (partial / "markers").mkdir()


def _create_matrix(
    group: zarr.Group, name: str, shape: tuple[int, int], plan: Plan, *, dtype: str, fill: float
) -> None:
    examples = min(plan.shard_examples, shape[0])  # a short group is not padded to a whole shard
    chunk = min(plan.chunk_pairs, shape[1])
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(examples, chunk),
        shards=(examples, -(-shape[1] // chunk) * chunk),
        fill_value=fill,
        dimension_names=("example", "pair"),
        # Plain zstd beat blosc's shuffles on scores, in size and time; the checksum makes damage an error on reading.
        compressors=[ZstdCodec(level=1, checksum=True)],
        config={"write_empty_chunks": True},
    )


def _write_vector(group: zarr.Group, name: str, values: np.ndarray, dimension: str) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(max(len(values), 1),),
        compressors=[ZstdCodec(level=1, checksum=True)],
        dimension_names=(dimension,),
    )
    array[:] = values


def _sums(score: np.ndarray) -> tuple[int, float]:
    """(number, sum in float64) of the observed scores, by blocks of rows to bound memory."""
    observed, total = 0, 0.0
    for first in range(0, len(score), SUM_ROWS):
        block = score[first : first + SUM_ROWS]
        present = block[~np.isnan(block)]
        observed += len(present)
        total += float(present.sum(dtype=np.float64))
    return observed, total


def _mend(path: Path) -> str:
    return f"make it: satori-hpc score {path.parent.parent}"
