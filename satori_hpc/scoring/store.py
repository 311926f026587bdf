"""Read and write scores/<method>.zarr: motif sites of every example and the values between their places.

The store makes no assumption about pairs of motifs: the reduction assigns sites to motifs, filters pairs of sites,
and chooses the one that represents two motifs.

One Zarr v3 group, with a group for `foreground` and one for `background`, each holding, ragged,

    counts    int32   (example, counts_column)    how many sites and how many places an example has
    site      int16   (partition, entry, site_column)  motif, start (bp), strand, place (number within the example)
    strength  float32 (partition, entry)          of the site, 1 = the threshold of its motif
    place     int16   (partition, entry)          start of a place, bp
    value     float32 (partition, entry)          between places i < j of an example, row by row; of methods with a
                                                  direction (attribute `directed`) from i to j, all of them; NaN = no
                                                  pair
    <extra>   float32 (partition, entry)          likewise, further arrays of the method (attribute `extras`)
    <effect>  float32 (partition, entry)          like `place`, effects of places (attribute `effects`)
    example        int64   (example,)         row of the example in its dataset
    true_positive  uint8   (example, target)  foreground of sets with several labels: 1 = predicted and true
    target         string  (target,)          likewise, names of the labels

and at the root motif, string, and width int16 (motif,), bp, and selected uint8 (dataset_example,): 0 no, 1 foreground,
2 background. A partition is a block of examples: one shard of each array, written at once by one process, the entries
of its examples one behind the other. The plan of partitions is in the attributes; the bytes do not depend on the number
of writers. Beside the store, `<method>.markers/<group>-<k>.json`, renamed into place after the shards, holds their
digests and numbers of entries, and alone marks a partition as finished. `complete.json` there closes the store and
holds the method's error estimate.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.data import zarr_arrays
from satori_hpc.data.dataset import blocks
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.run import files as run_files
from satori_hpc.run import provenance, sealed
from satori_hpc.scoring import layout as score_layout
from satori_hpc.scoring import shard as scoring_shard
from satori_hpc.scoring.layout import ARTEFACT, FORMAT_VERSION, GROUPS, Geometry, Marker, Plan
from satori_hpc.scoring.site_scores import SiteScores, entries


class ScoreStore(Geometry):
    """An open store; made by `create_or_resume` (to write) or `open_complete` (to read)."""

    def __init__(self, path: Path) -> None:
        score_layout.limit_concurrency()
        try:
            self._root = zarr_arrays.open_group(path)
            super().__init__(path, dict(self._root.attrs))
        except Exception as error:
            raise ArtefactError(f"{path}: not a score store ({error}); {_mend(path)}") from None
        found = (self.attributes.get("artefact"), self.attributes.get("format_version"))
        if found != (ARTEFACT, FORMAT_VERSION):
            raise ArtefactError(
                f"{path}: expected {ARTEFACT} of format version {FORMAT_VERSION}, found {found[0]} of version "
                f"{found[1]}; {_mend(path)} --force"
            )
        if self.attributes.get(sealed.KEY) != score_layout.digest(self.attributes):
            raise ArtefactError(f"{path}: damaged (its plan is not as it was written); {_mend(path)} --force")

    def examples(self, group: str) -> np.ndarray:
        """Return int64: rows of the group's examples in their dataset."""
        return self._vector(f"{group}/example")

    def selected(self) -> np.ndarray:
        """Return uint8 (dataset example,): 0 no, 1 foreground, 2 background."""
        return self._vector("selected")

    def true_positive(self, places: np.ndarray | None = None) -> np.ndarray | None:
        """Return uint8 (foreground example, target), 1 = predicted and true; None of sets with one label.

        Args:
            places: int64, of the examples in the foreground; default: all.
        """
        name = "foreground/true_positive"
        return self._vector(name, places) if name in self._root else None

    def write_partition(self, group: str, partition: int, scores: SiteScores) -> None:
        """Write a whole partition, then its marker; arguments as of `stage_partition`."""
        self.stage_partition(group, partition, scores)()

    def stage_partition(
        self, group: str, partition: int, scores: SiteScores, *, threads: int = 1
    ) -> Callable[[], None]:
        """Write a whole partition to temporary names.

        Args:
            group: "foreground" or "background".
            partition: its number.
            scores: of its examples.
            threads: that encode; the bytes do not depend on it.

        Returns:
            a function that finishes it: waits for the disk, renames the shards, writes the marker.

        Raises:
            SatoriError: the disk is full.
        """
        first, last = self.partitions(group)[partition]
        arrays = scores.arrays()
        if arrays.keys() != self.arrays.keys():
            raise ValueError(f"{', '.join(arrays)} are not the arrays of {self.method}: {', '.join(self.arrays)}")
        for name, (dtype, shape) in self.arrays.items():
            if arrays[name].dtype != dtype or arrays[name].shape[1:] != shape:
                raise ValueError(f"{name} {arrays[name].dtype} {arrays[name].shape} is not that of {self.method}")
        if len(scores) != last - first or self._sizes(scores.counts) != {k: len(v) for k, v in arrays.items()}:
            raise ValueError(f"these are not the scores of partition {partition} of {group}, rows {first}-{last}")
        self._marker_path(group, partition).unlink(missing_ok=True)
        written: dict[str, scoring_shard.Written] = {}
        try:
            for name, values in arrays.items():
                chunk, chunks = self.chunking(group, name)
                path = self.shard_path(group, name, partition)
                written[name] = scoring_shard.write(path, values, chunk=chunk, chunks=chunks, threads=threads)
        except BaseException:
            for shard in written.values():
                shard.partial.unlink(missing_ok=True)
            raise
        marker = Marker(
            plan=self.attributes[sealed.KEY],
            group=group,
            partition=partition,
            rows=[first, last],
            files={name: {"bytes": shard.bytes, "sha256": shard.sha256} for name, shard in written.items()},
            entries={name: len(values) for name, values in arrays.items()},
            effects={name: _size(values) for name, values in scores.effects.items()},
        )

        def finish() -> None:
            try:
                for shard in written.values():
                    shard.publish()
                run_files.write_text(self._marker_path(group, partition), marker.text())
            finally:
                for shard in written.values():
                    shard.partial.unlink(missing_ok=True)

        return finish

    def pending(self, items: Iterable[tuple[str, int]] | None = None, *, verify: bool = True) -> list[tuple[str, int]]:
        """Return (group, partition) of unfinished partitions: without a marker, or with shards that do not match it.

        Args:
            items: partitions to look at; default: all.
            verify: read the shards and compare digests; else compare sizes only.
        """
        return [item for item in (self.items() if items is None else items) if self.complaint(*item, verify=verify)]

    def complaint(self, group: str, partition: int, *, verify: bool = True) -> str:
        """Describe the damage of a partition, if any; `verify` as in `pending`."""
        path = self._marker_path(group, partition)
        if not path.exists():
            return "not written"
        marker = self._marker(group, partition)
        if marker is None:
            return f"{path.relative_to(self.path.parent)} is damaged, or of another plan"
        for name in self.arrays:
            shard, entry = self.shard_path(group, name, partition), marker.files[name]
            if not shard.exists():
                return f"{shard.relative_to(self.path)} is missing"
            size = shard.stat().st_size
            if size != entry["bytes"]:
                return f"{shard.relative_to(self.path)} has {size} bytes, expected {entry['bytes']}"
            if verify and provenance.file_digest(shard) != entry["sha256"]:
                return f"{shard.relative_to(self.path)} has other content than was written"
        return ""

    def markers_there(self) -> int:
        """Count the partitions with a marker, without reading them."""
        return sum(1 for _ in self.marker_folder.glob("*ground-*.json"))

    def discard(self, items: Iterable[tuple[str, int]]) -> None:
        """Remove the markers of partitions that are not done after all."""
        for group, partition in items:
            self._marker_path(group, partition).unlink(missing_ok=True)

    def expected_files(self) -> int:
        """Return files of the finished store."""
        places = {self.path / group / array / "c" for group in GROUPS for array in self.arrays}
        fixed = 0
        for folder, below, files in os.walk(self.path):
            below[:] = [name for name in below if Path(folder) / name not in places]
            fixed += len(files)
        return fixed + 1 + (len(self.arrays) + 1) * len(self.items())  # with complete.json, shards and markers

    def sweep(self) -> None:
        """Remove files left by killed writers; no other process may be writing."""
        for leftover in (*self.path.rglob("*.partial"), *self.marker_folder.glob("*.partial")):
            leftover.unlink(missing_ok=True)

    def finalise(self, *, estimate: dict[str, float] | None = None) -> None:
        """Close the store: refuse if anything is missing, remove files of killed writers, record the completion.

        Args:
            estimate: error estimate of the scores, by name, if the method has one.

        Raises:
            ArtefactError: listing the partitions that are missing.
        """
        self.require_all()
        self.sweep()
        run_files.write_text(self._complete_path, score_layout.closing_text(estimate or {}))

    def markers(self, group: str) -> list[Marker]:
        """Return the existing markers of a group, in the order of its partitions."""
        found = [self._marker(group, partition) for partition in range(len(self.partitions(group)))]
        return [marker for marker in found if marker is not None]

    def digest(self) -> str:
        """Return one digest over the attributes and all markers, and so over the whole finished store."""
        total = hashlib.sha256(json.dumps(self.attributes, sort_keys=True).encode())
        for group in GROUPS:
            for marker in self.markers(group):
                total.update(marker.text().encode())
        return total.hexdigest()

    def files(self) -> dict[str, dict[str, Any]]:
        """Return {shard relative to the store: {"bytes", "sha256"}} from the markers, without reading the shards."""
        return {
            self.shard_path(group, name, marker.partition).relative_to(self.path).as_posix(): dict(entry)
            for group in GROUPS
            for marker in self.markers(group)
            for name, entry in marker.files.items()
        }

    def mean_size(self, effect: str, group: str = "foreground") -> float:
        """Return the mean magnitude of an effect of single places over a group, float64; NaN if there are none."""
        told = [marker.effects[effect] for marker in self.markers(group)]
        count = sum(number for number, _ in told)
        return sum(total for _, total in told) / count if count else float("nan")

    def read(self, group: str, partition: int) -> SiteScores:
        """Return the scores of a partition's examples.

        Raises:
            ArtefactError: a shard is missing, truncated or damaged.
        """
        first, last = self.partitions(group)[partition]
        counts = self._read(group, "counts", partition, last - first)
        arrays = {
            name: counts if name == "counts" else self._read(group, name, partition, size)
            for name, size in self._sizes(counts).items()
        }
        return SiteScores(
            **{name: arrays[name] for name in score_layout.ARRAYS},
            extras={name: arrays[name] for name in self.attributes["extras"]},
            effects={name: arrays[name] for name in self.attributes["effects"]},
        )

    def widths(self) -> np.ndarray:
        """Return int16 (motifs,): bp of the sites of each motif."""
        return self._vector("width")

    def _read(self, group: str, array: str, partition: int, count: int) -> np.ndarray:
        dtype, shape = self.arrays[array]
        chunk, chunks = self.chunking(group, array)
        return scoring_shard.read(
            self.shard_path(group, array, partition),
            count,
            chunk=chunk,
            chunks=chunks,
            dtype=dtype,
            shape=shape,
            mend=f"see which partition to score again, and how: satori-hpc verify {quoted(self.path.parent.parent)}",
        )

    def _sizes(self, counts: np.ndarray) -> dict[str, int]:
        """Return the number of entries of each array, from the counts of the examples."""
        sites, places = (int(total) for total in counts.sum(axis=0, dtype=np.int64))
        between = int(entries(counts[:, 1].astype(np.int64), directed=self.directed).sum())  # type: ignore[union-attr]
        own = {"counts": len(counts), "site": sites, "strength": sites, "place": places}
        effects = dict.fromkeys(self.attributes["effects"], places)
        return {name: own.get(name, effects.get(name, between)) for name in self.arrays}

    def _vector(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        with zarr_arrays.damage_told(self.path, mend=f"{_mend(self.path)} --force"):
            return zarr_arrays.read(self._root, name) if rows is None else zarr_arrays.take(self._root, name, rows)

    def require_all(self, *, verify: bool = False) -> None:
        """Refuse a store of which partitions are not done; `verify` as in `pending`.

        Raises:
            ArtefactError: listing them.
        """
        missing = []
        for group, partition in self.items():
            complaint = self.complaint(group, partition, verify=verify)
            if complaint:
                first, last = self.partitions(group)[partition]
                missing.append(f"  - {group} partition {partition} (examples {first} to {last}): {complaint}")
        if missing:
            shown = missing[:20] + ([f"  - ... and {len(missing) - 20} more"] if len(missing) > 20 else [])
            heading = f"{self.path}: {len(missing)} partitions are not done; {_mend(self.path)}"
            raise ArtefactError(heading + "\n" + "\n".join(shown))

    def _marker(self, group: str, partition: int) -> Marker | None:
        """Return the marker of a partition; None if it is missing or invalid."""
        try:
            marker = Marker.parse(self._marker_path(group, partition).read_text(encoding="utf-8"))
            rows = list(self.partitions(group)[partition])
            told = (marker.plan, marker.group, marker.partition, marker.rows)
            same = told == (self.attributes[sealed.KEY], group, partition, rows)
            whole = all({"bytes", "sha256"} == marker.files[name].keys() for name in self.arrays)
            whole = whole and marker.entries.keys() == self.arrays.keys()
            whole = whole and marker.effects.keys() == set(self.attributes["effects"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # a damaged marker marks nothing
        return marker if same and whole else None

    def _marker_path(self, group: str, partition: int) -> Path:
        return self.marker_folder / f"{group}-{partition}.json"

    @property
    def _complete_path(self) -> Path:
        return self.marker_folder / "complete.json"

    @property
    def complete(self) -> bool:
        return self._complete_path.exists()

    @property
    def estimate(self) -> dict[str, float]:
        """Error estimate of the scores of a closed store, by name; may be empty.

        Raises:
            ArtefactError: the store is not closed, or complete.json is damaged.
        """
        try:
            return score_layout.closing_estimate(self._complete_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise ArtefactError(f"{self._complete_path}: missing or damaged; {_mend(self.path)}") from None


def open_same(path: Path, plan: Plan) -> ScoreStore | None:
    """Return the store at `path` if it is one of this plan and these digests, else None."""
    if not path.exists():
        return None
    try:
        store = ScoreStore(path)
        return store if _same(store, plan) else None
    except ArtefactError:
        return None


def create_or_resume(path: Path, plan: Plan) -> ScoreStore:
    """Open the store of `plan`: the one at `path` if it has the same plan and digests, else a new, empty one."""
    store = open_same(path, plan)
    if store is not None:
        return store
    score_layout.create(path, plan)
    return ScoreStore(path)


def open_complete(path: Path, *, verify: bool = False) -> ScoreStore:
    """Open a finished store for reading.

    Args:
        path: the store.
        verify: read every shard and compare its digest; else sizes only.

    Raises:
        ArtefactError: missing, modified, of another format version or unfinished; lists missing partitions.
    """
    if not path.exists():
        raise ArtefactError(f"{path}: no scores; {_mend(path)}")
    store = ScoreStore(path)
    store.require_all(verify=verify)
    if not store.complete:
        raise ArtefactError(f"{path}: all partitions are written, but the store was not closed; {_mend(path)}")
    return store


def _same(store: ScoreStore, plan: Plan) -> bool:
    if store.attributes != json.loads(json.dumps(plan.attributes())):
        return False
    if not all(np.array_equal(store.examples(group), plan.rows(group)) for group in GROUPS):
        return False
    wanted = plan.true_positive
    for rows in blocks(len(plan.foreground)):
        found = store.true_positive(np.arange(rows.start, rows.stop))
        if (found is None) != (wanted is None):
            return False
        if found is not None and wanted is not None and not np.array_equal(found, wanted[rows]):
            return False
    return True


def _mend(path: Path) -> str:
    return f"make it: satori-hpc score {quoted(path.parent.parent)}"


def _size(values: np.ndarray) -> list[float]:
    """Return the number of values, and the sum of their magnitudes in float64."""
    there = np.abs(values[~np.isnan(values)])
    return [float(len(there)), float(there.sum(dtype=np.float64))]
