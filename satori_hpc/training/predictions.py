"""Write the predictions of the best network for all examples, and its metrics by label, at the end of training."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from satori_hpc.data import zarr_arrays
from satori_hpc.data.dataset import BLOCK, Dataset, Rows, blocks
from satori_hpc.data.splits import known
from satori_hpc.data.zarr_arrays import StoredRows
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.log import logger, progress
from satori_hpc.models import losses
from satori_hpc.models import predict as models_predict
from satori_hpc.models.base import TrainableModel
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.training import metrics

MOST_NAMED = 5  # labels in a warning
RANKED_AT_ONCE = 2**24  # predictions in memory at once while metrics are computed


def digest(weights: dict[str, torch.Tensor], digests: dict[str, str]) -> str:
    """Return the digest of weights, and of the configuration and data set that they belong to."""
    total = hashlib.sha256(json.dumps(digests, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        total.update(name.encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def predict(run: Run, runtime: Runtime, model: TrainableModel, data: Dataset, *, key: str) -> None:
    """Predict all examples and write the predictions block by block; resumes after the last complete block.

    Args:
        run: to write to.
        runtime: what it may use.
        model: with the weights to predict with.
        data: the examples.
        key: digest of all that determines the predictions.
    """
    world = runtime.world
    shape = {"examples": len(data), "outputs": model.outputs}
    written = Writer(run.predictions, run.predictions_parts, key=key, **shape, targets=data.targets)
    done = world.run_on_root(written.begin)
    left = [rows for rows in blocks(len(data)) if rows.stop > done]
    if done:
        logger.info("predictions of %d examples are there already", done)
    for rows in progress(left, what="predictions", unit="block"):
        logits = predict_on_ranks(model, data.tokens, rows=rows, batch_size=runtime.batch_size, world=world)
        world.run_on_root(functools.partial(written.add, rows, logits.numpy(), model.score(logits).numpy()))
    world.run_on_root(written.publish)


def measure(run: Run, model: TrainableModel, data: Dataset) -> dict[str, Any]:
    """Compute and write the metrics of every label from the predictions of the run; return their means."""
    found: dict[str, Any] = {}
    rows = []
    for split in ("valid", "test"):
        chosen = data.rows(split)
        labels = data.labels[chosen]
        auroc, aupr = _by_label(run, model, labels, chosen)
        for name, values in (("auroc", auroc), ("aupr", aupr)):
            usable = values[~np.isnan(values)]
            # JSON has no NaN: a split whose labels are all of one class has no metric.
            found[f"{split}_{name}"] = float(usable.mean()) if len(usable) else None
        found[f"{split}_labels_skipped"] = int(np.isnan(auroc).sum())
        for column, target in enumerate(data.targets):
            counts = {
                "examples": int(known(labels[:, column]).sum()),
                "positives": int((labels[:, column] == 1).sum()),
            }
            rows.append({"split": split, "label": target, **counts, "auroc": auroc[column], "aupr": aupr[column]})
    metrics.write(run.label_metrics, rows)
    _warn_near_chance([row for row in rows if row["split"] == "valid" and not np.isnan(row["auroc"])])
    return found


def _warn_near_chance(rows: list[dict[str, Any]]) -> None:
    """Warn of labels predicted no better than chance; rows as of labels.tsv, of labels with both classes."""
    near = []
    for row in rows:
        positives, negatives = row["positives"], row["examples"] - row["positives"]
        bound = metrics.chance_bound(positives, negatives)
        if row["auroc"] < bound:
            name = f"{row['label']} " if len(rows) > 1 else ""
            near.append(f"{name}{row['auroc']:.3f} ({positives} positives, {negatives} negatives; bound {bound:.3f})")
    if near:
        logger.warning(
            "validation AUROC near 0.5%s: %s%s. Interactions of such a network mean little: train longer, with "
            "another learning_rate or architecture, or on more examples",
            f" for {len(near)} of {len(rows)} labels" if len(rows) > 1 else "",
            ", ".join(near[:MOST_NAMED]),
            f" and {len(near) - MOST_NAMED} more, see labels.tsv" if len(near) > MOST_NAMED else "",
        )


def _by_label(run: Run, model: TrainableModel, labels: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and AUPR of every label over some examples; predictions are read in blocks of labels.

    Args:
        labels: uint8 (rows, T).
        rows: int64, of the data set.
    """
    if model.two_logits:
        both = torch.from_numpy(read_logits(run.predictions, rows))
        return metrics.by_label(labels, model.margin(both).numpy())
    found = []
    step = max(1, RANKED_AT_ONCE // max(1, len(rows)))
    columns = range(0, labels.shape[1], step)
    for first in progress(columns, what="metrics of labels", unit="block"):
        some = slice(first, min(first + step, labels.shape[1]))
        logits = torch.from_numpy(read_logits(run.predictions, rows, some))
        threads = torch.get_num_threads()
        found.append(metrics.by_label(labels[:, some], model.margin(logits).numpy(), threads=threads))
    auroc, aupr = (np.concatenate(values) for values in zip(*found, strict=True))
    return auroc, aupr


# Data-parallel prediction of whole sets: the rows are partitioned over the processes.


def share(count: int, world: World) -> slice:
    """Return the contiguous block of `count` rows of this rank; sizes differ by at most one, and may be 0."""
    return slice(count * world.rank // world.size, count * (world.rank + 1) // world.size)


def predict_on_ranks(
    model: TrainableModel, tokens: Rows, *, batch_size: int, world: World, rows: slice | None = None
) -> torch.Tensor:
    """Predict some rows, or all, data-parallel over the processes; every process returns all logits (all-gather)."""
    first, last = (0, tokens.shape[0]) if rows is None else (rows.start, rows.stop)
    mine = share(last - first, world)
    found = models_predict.predict(model, tokens[first + mine.start : first + mine.stop], batch_size=batch_size)
    return torch.cat(world.all_gather(found))


@torch.inference_mode()
def column_mass(model: TrainableModel, tokens: np.ndarray, *, world: World) -> float:
    """Return the mean share of attention in the strongest column over these sequences; high = a collapsed head."""
    model.eval()
    mine = torch.from_numpy(tokens[share(len(tokens), world)]).to(next(model.parameters()).device)
    masses = losses.column_mass(model(mine, attention=True).attention) if len(mine) else torch.zeros(0)
    return float(torch.cat(world.all_gather(masses.cpu())).mean())


# predictions.zarr: logits and probabilities of every example by the best checkpoint.

FORMAT_VERSION = 3


class Writer:
    """Write predictions block by block, in order; the store appears when it is complete (atomic rename).

    Until then the blocks are in a folder beside it, where a new writer with the same key resumes.

    Args:
        path: the store.
        parts: that folder.
        key: digest of all that determines the predictions.
        examples: E, of the data set.
        outputs: C.
        targets: names of the labels, T.
    """

    def __init__(
        self, path: Path, parts: Path, *, key: str, examples: int, outputs: int, targets: Sequence[str]
    ) -> None:
        self._path, self._parts, self._key, self._targets = path, parts, key, targets
        self._shapes = {"logits": (examples, outputs), "probability": (examples, len(targets))}

    def begin(self) -> int:
        """Return the number of examples written already; blocks of another key are removed.

        Raises:
            SatoriError: the disk is full.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
            group = self._opened()
            done = int(str(group.attrs["done"]))
            shapes = {name: zarr_arrays.member(group, name).shape for name in self._shapes}
            same = list(zarr_arrays.read_strings(group, "target")) == list(self._targets)
            if dict(group.attrs) == self._progress(done) and shapes == self._shapes and same:
                for rows in blocks(done):
                    for name in shapes:
                        zarr_arrays.read(group, name, rows)  # damaged: start again
                for left in self._parts.rglob("*.partial"):
                    left.unlink()
                return done
        with files.room(self._path):
            files.remove_folder(self._parts)
            group = zarr.open_group(self._parts, mode="w", zarr_format=3)
            for (name, (examples, width)), dimension in zip(self._shapes.items(), ("output", "target"), strict=True):
                zarr_arrays.create(
                    group,
                    name,
                    shape=(examples, width),
                    dtype=np.float32,
                    chunks=(max(1, min(BLOCK, examples)), width),
                    dimensions=("example", dimension),
                )
            zarr_arrays.write_strings(group, "target", self._targets, count=len(self._targets), dimension="target")
            group.attrs.update(self._progress(0))
        return 0

    def add(self, rows: slice, logits: np.ndarray, probability: np.ndarray) -> None:
        """Append examples: (rows, C) and (rows, T) float32.

        Raises:
            SatoriError: the disk is full.
        """
        with files.room(self._path):
            group = self._opened()
            for name, values in (("logits", logits), ("probability", probability)):
                group[name][rows] = values  # type: ignore[index]
            group.attrs.update(self._progress(rows.stop))

    def publish(self) -> None:
        """Move the complete store to its place."""
        with files.room(self._path):
            self._opened().attrs.put({"artefact": "satori_hpc predictions", "format_version": FORMAT_VERSION})
            zarr_arrays.consolidate(self._parts)
            files.publish_folder(self._parts, self._path)

    def _progress(self, done: int) -> dict[str, Any]:
        """Return the content of the progress file, with a checksum, as a changed digit would go unnoticed otherwise."""
        digest = hashlib.sha256(f"{self._key} {done}".encode()).hexdigest()
        return {"key": self._key, "done": done, "sha256": digest}

    def _opened(self) -> zarr.Group:
        return zarr.open_group(self._parts, mode="r+", zarr_format=3)


def write(path: Path, logits: np.ndarray, probability: np.ndarray, *, targets: Sequence[str]) -> None:
    """Write predictions that are in memory: (E, C) and (E, T) float32, and the names of the labels."""
    outputs = logits.shape[1]
    written = Writer(path, files.sibling(path), key="", examples=len(logits), outputs=outputs, targets=targets)
    written.begin()
    written.add(slice(0, len(logits)), logits, probability)
    written.publish()


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (logits (E, C), probability (E, T)), float32.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    with _opened(path) as group:
        return zarr_arrays.read(group, "logits"), zarr_arrays.read(group, "probability")


def read_logits(path: Path, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    """Read the logits of some examples, float32 (rows, columns), in the order of `rows`. Raises: as `read`."""
    with _opened(path) as group:
        return zarr_arrays.take(group, "logits", rows, columns)


def probability(path: Path) -> StoredRows:
    """Open the probabilities, float32 (E, T), read on demand: with many labels they are larger than all else.

    Raises: as `read`; also at reading.
    """
    return StoredRows(functools.partial(_opened, path), "probability")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zarr.Group]:
    """Open the group of logits and probability; errors in the block name the file and the cure."""
    mend = f"make it again: satori-hpc train {quoted(path.parent)} --force"
    if not path.exists():
        raise ArtefactError(f"{path}: no predictions; make them: satori-hpc train {quoted(path.parent)}")
    with zarr_arrays.opened(path, mend=mend) as group:
        version = group.attrs.get("format_version")
        if group.attrs.get("artefact") != "satori_hpc predictions" or version != FORMAT_VERSION:
            raise ArtefactError(
                f"{path}: expected predictions of format version {FORMAT_VERSION}, found {version}; {mend}"
            )
        shapes = [zarr_arrays.member(group, name).shape for name in ("logits", "probability")]
        if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
            raise ArtefactError(f"{path}: logits {shapes[0]} and probability {shapes[1]} do not match; {mend}")
        yield group
