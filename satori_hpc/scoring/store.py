"""scores/<method>.zarr: what the scoring processes write by rows and the reduction reads by columns.

One Zarr v3 group, with a group for `foreground` and one for `background`, each holding

    score          float32 (example, pair)    NaN = the pair was not observed in that example
    distance       int16   (example, pair)    bp from filter_a's cell to filter_b's, of the entry that gave the score;
                                              negative = filter_b's lies before; -32,768 = not observed
    position       int16   (example, pair)    start of filter_a's cell, bp; -32,768 = not observed
    <extra>        float32 (example, pair)    what the method keeps besides (attribute `arrays`); NaN like the score
    example        int64   (example,)         row of the example in its dataset
    true_positive  uint8   (example, target)  foreground of sets with several labels: 1 = predicted and true

and at the root filter_a, filter_b int32 (pair,) and selected uint8 (dataset example,): 0 no, 1 foreground,
2 background.
A partition is a block of examples x all pairs: one shard, so one file of each array, written at once by one process.
Its inner chunks, the block x a few hundred pairs, are what the reduction reads. The plan of partitions lies in the
attributes; the number of writers never shapes the bytes. `markers/<group>-<k>.json`, renamed into place after the
shards, holds their digests and sums: only it makes a partition done. `complete.json` closes the store and holds the
method's estimate of how far its scores are off.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from satori_hpc import pairs
from satori_hpc.data import zarr_arrays
from satori_hpc.data.dataset import blocks
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.run import files as run_files
from satori_hpc.run import provenance, sealed
from satori_hpc.scoring import layout as score_layout
from satori_hpc.scoring import shard as scoring_shard
from satori_hpc.scoring.layout import ARTEFACT, FORMAT_VERSION, GROUPS, Geometry, Marker, Plan

SAMPLE_BLOCKS = 12  # blocks of pairs from which a sample of scores is drawn
SAMPLE_SCORES = 200_000
SAMPLE_READ = 4_000_000  # scores read of a block; fewer pairs of it where there are more examples


class ScoreStore(Geometry):
    """An open store; made by `create_or_resume` (to write) or `open_complete` (to read)."""

    def __init__(self, path: Path) -> None:
        score_layout.limit_concurrency()
        try:
            self._root = zarr.open_group(path, mode="r", zarr_format=3)
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
        """int64: rows of the group's examples in their dataset."""
        return self._vector(f"{group}/example")

    def selected(self) -> np.ndarray:
        """uint8 (dataset example,): 0 no, 1 foreground, 2 background."""
        return self._vector("selected")

    def true_positive(self, places: np.ndarray | None = None) -> np.ndarray | None:
        """uint8 (foreground example, target), 1 = predicted and true; None of sets with one label.

        Args:
            places: int64, of the examples in the foreground; default: all.
        """
        name = "foreground/true_positive"
        return self._vector(name, places) if name in self._root else None

    def write_partition(self, group: str, partition: int, **content: Any) -> None:
        """Write a whole partition, then its marker; arguments as of `stage_partition`."""
        self.stage_partition(group, partition, **content)()

    def stage_partition(
        self, group: str, partition: int, *, sites: int, threads: int = 1, **arrays: np.ndarray
    ) -> Callable[[], None]:
        """Write a whole partition beside its place; the arrays are free then.

        Args:
            group: "foreground" or "background".
            partition: its number.
            sites: active (filter, cell) entries of these examples, for the summary.
            threads: that encode; the bytes do not depend on it.
            arrays: each of `arrays`, (rows of the partition, P); where a pair was not observed, NaN or -32,768.

        Returns:
            what finishes it: waits for the disk, puts the shards in their places, writes the marker.

        Raises:
            SatoriError: the disk is full.
        """
        first, last = self.partitions(group)[partition]
        if arrays.keys() != self.arrays.keys():
            raise ValueError(f"{', '.join(arrays)} are not the arrays of {self.method}: {', '.join(self.arrays)}")
        for name, dtype in self.arrays.items():
            values = arrays[name]
            if values.shape != (last - first, self.pairs) or values.dtype != dtype:
                raise ValueError(
                    f"{name} {values.dtype} {values.shape} is not partition {partition} of {group}, rows {first}-{last}"
                )
        self._marker_path(group, partition).unlink(missing_ok=True)
        observed, total = pairs.observed(arrays["score"])
        written: dict[str, scoring_shard.Written] = {}
        try:
            for name, values in arrays.items():
                path, rows = self.shard_path(group, name, partition), self.shard_rows(group)
                written[name] = scoring_shard.write(
                    path, values, chunk_pairs=self.chunk_pairs, rows=rows, threads=threads
                )
        except BaseException:
            for shard in written.values():
                shard.partial.unlink(missing_ok=True)
            raise
        marker = Marker(
            group=group,
            partition=partition,
            rows=[first, last],
            files={name: {"bytes": shard.bytes, "sha256": shard.sha256} for name, shard in written.items()},
            observed=observed,
            total=total,
            sites=sites,
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
        """(group, partition) of everything that is not done: no marker, or shards that are not those of the marker.

        Args:
            items: partitions to look at; default: all.
            verify: read the shards and compare digests; else compare sizes only.
        """
        return [item for item in (self.items() if items is None else items) if self.complaint(*item, verify=verify)]

    def complaint(self, group: str, partition: int, *, verify: bool = True) -> str:
        """What is wrong with a partition, or nothing; `verify` as in `pending`."""
        path = self._marker_path(group, partition)
        if not path.exists():
            return "not written"
        marker = self._marker(group, partition)
        if marker is None:
            return f"{path.relative_to(self.path)} is damaged"
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
        """How many partitions have a marker; none is read."""
        return sum(1 for entry in os.scandir(self.path / "markers") if "ground-" in entry.name[:11])

    def discard(self, items: Iterable[tuple[str, int]]) -> None:
        """Remove the markers of partitions that are not done after all."""
        for group, partition in items:
            self._marker_path(group, partition).unlink(missing_ok=True)

    def expected_files(self) -> int:
        """Files of the finished store."""
        places = {self.path / group / array / "c" for group in GROUPS for array in self.arrays}
        written = {self.path / "markers"} | places
        fixed = 0
        for folder, below, files in os.walk(self.path):
            below[:] = [name for name in below if Path(folder) / name not in written]
            fixed += len(files)
        return fixed + 1 + (len(self.arrays) + 1) * len(self.items())  # with complete.json, shards and markers

    def sweep(self) -> None:
        """Remove what killed writers left; nobody else may be writing."""
        for leftover in sorted(self.path.rglob("*.partial")):
            leftover.unlink(missing_ok=True)

    def finalise(self, *, estimate: dict[str, float] | None = None) -> None:
        """Close the store: refuse if anything is missing, sweep what killed writers left, note the completion.

        Args:
            estimate: how far the scores are off, by name, where the method tells.

        Raises:
            ArtefactError: listing the partitions that are missing.
        """
        self.require_all()
        self.sweep()
        run_files.write_text(self._complete_path, score_layout.closing_text(estimate or {}))

    def markers(self, group: str) -> list[Marker]:
        """The markers of a group, in the order of its partitions; those that are not there are left out."""
        found = [self._marker(group, partition) for partition in range(len(self.partitions(group)))]
        return [marker for marker in found if marker is not None]

    def digest(self) -> str:
        """One digest over the attributes and all markers, so over all that a finished store holds."""
        total = hashlib.sha256(json.dumps(self.attributes, sort_keys=True).encode())
        for group in GROUPS:
            for marker in self.markers(group):
                total.update(marker.text().encode())
        return total.hexdigest()

    def files(self) -> dict[str, dict[str, Any]]:
        """{shard relative to the store: {"bytes", "sha256"}} as the markers say; nobody need read them again."""
        return {
            self.shard_path(group, name, marker.partition).relative_to(self.path).as_posix(): dict(entry)
            for group in GROUPS
            for marker in self.markers(group)
            for name, entry in marker.files.items()
        }

    def mean_score(self, group: str = "foreground") -> float:
        """Mean of all observed scores of a group, float64; NaN when there are none."""
        markers = self.markers(group)
        observed = sum(marker.observed for marker in markers)
        return sum(marker.total for marker in markers) / observed if observed else float("nan")

    def shard(self, group: str, array: str, partition: int) -> scoring_shard.Shard:
        """A shard, open to read its inner chunks, each (`shard_rows`, `chunk_pairs`); close it after use.

        Raises:
            ArtefactError: it is missing, truncated or damaged.
        """
        run = quoted(self.path.parent.parent)
        return scoring_shard.Shard(
            self.shard_path(group, array, partition),
            chunks=self.chunks,
            dtype=self.arrays[array],
            mend=f"see which partition to score again, and how: satori-hpc verify {run}",
        )

    def read_pair_block(self, group: str, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and distances int16 (signed) of pairs [first, last), (examples, last - first)."""
        return self.read_scores(group, first, last), self._read("distance", group, first, last)

    def read_scores(self, group: str, first: int, last: int) -> np.ndarray:
        """Scores float32 of pairs [first, last), (examples, last - first)."""
        return self._read("score", group, first, last)

    def sample(self, group: str) -> np.ndarray:
        """Observed scores of pairs at some evenly spaced places, thinned evenly: the same ones every time."""
        starts = np.arange(0, self.pairs, self.chunk_pairs)
        chosen = starts[np.unique(np.linspace(0, len(starts) - 1, SAMPLE_BLOCKS).round().astype(int))]
        width = int(np.clip(SAMPLE_READ // len(self.examples(group)), 1, self.chunk_pairs))
        found = []
        for start in chosen.tolist():
            block = self.read_scores(group, start, min(start + width, self.pairs))
            values = block[~np.isnan(block)]
            found.append(values[:: max(1, len(values) * len(chosen) // SAMPLE_SCORES)])
        return np.concatenate(found)

    def _read(self, name: str, group: str, first: int, last: int) -> np.ndarray:
        width = self.chunk_pairs
        out = np.empty((self.partitions(group)[-1][1], last - first), dtype=self.arrays[name])
        chunk = np.empty((self.shard_rows(group), width), dtype=out.dtype)
        for partition, (begin, end) in enumerate(self.partitions(group)):
            with self.shard(group, name, partition) as shard:
                for number in range(first // width, -(-last // width)):
                    shard.read(number, chunk)
                    left, right = max(first, number * width), min(last, (number + 1) * width)
                    out[begin:end, left - first : right - first] = chunk[
                        : end - begin, left - number * width : right - number * width
                    ]
        return out

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
        """The marker of a partition; None when there is none, or none that can be right."""
        try:
            marker = Marker.parse(self._marker_path(group, partition).read_text(encoding="utf-8"))
            same = (marker.group, marker.partition, marker.rows) == (
                group,
                partition,
                list(self.partitions(group)[partition]),
            )
            whole = all({"bytes", "sha256"} == marker.files[name].keys() for name in self.arrays)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # a damaged marker marks nothing
        return marker if same and whole else None

    def _marker_path(self, group: str, partition: int) -> Path:
        return self.path / "markers" / f"{group}-{partition}.json"

    @property
    def _complete_path(self) -> Path:
        return self.path / "markers" / "complete.json"

    @property
    def complete(self) -> bool:
        return self._complete_path.exists()

    @property
    def estimate(self) -> dict[str, float]:
        """How far the scores of a closed store are off, by name; empty where the method tells nothing.

        Raises:
            ArtefactError: the store is not closed, or complete.json is damaged.
        """
        try:
            return score_layout.closing_estimate(self._complete_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise ArtefactError(f"{self._complete_path}: missing or damaged; {_mend(self.path)}") from None


def open_same(path: Path, plan: Plan) -> ScoreStore | None:
    """The store at `path` if it is one of this plan and these digests, else None."""
    if not path.exists():
        return None
    try:
        store = ScoreStore(path)
        return store if _same(store, plan) else None
    except ArtefactError:
        return None


def create_or_resume(path: Path, plan: Plan) -> ScoreStore:
    """The store of `plan`: the one at `path` if it has the same plan and digests, else a new and empty one."""
    store = open_same(path, plan)
    if store is not None:
        return store
    score_layout.create(path, plan)
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
