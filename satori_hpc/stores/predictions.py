"""predictions.zarr: logits and probabilities of every example by the best checkpoint."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.stores import atomic, zarr_arrays
from satori_hpc.stores.examples import BLOCK, blocks

FORMAT_VERSION = 2


class Writer:
    """Predictions, written some examples at a time, in order; they appear when they are whole.

    Until then they are in a folder beside it. Killed, whoever comes next with the same key goes on there.

    Args:
        path: the store.
        parts: the folder beside it.
        key: digest of what the predictions follow from.
        examples: E, of the data set.
        outputs, targets: C and T.
    """

    def __init__(self, path: Path, parts: Path, *, key: str, examples: int, outputs: int, targets: int) -> None:
        self._path, self._parts, self._key = path, parts, key
        self._shapes = {"logits": (examples, outputs), "probability": (examples, targets)}

    def begin(self) -> int:
        """How many examples are there already; what is there of another key goes.

        Raises:
            SatoriError: the disk is full.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
            group = self._opened()
            done, shapes = int(str(group.attrs["done"])), {name: array.shape for name, array in group.arrays()}
            if dict(group.attrs) == self._progress(done) and shapes == self._shapes:
                for rows in blocks(done):
                    for name in shapes:
                        zarr_arrays.read(group, name, rows)  # what is damaged is made anew
                for left in self._parts.rglob("*.partial"):
                    left.unlink()
                return done
        with atomic.room(self._path):
            atomic.remove_folder(self._parts)
            group = zarr.open_group(self._parts, mode="w", zarr_format=3)
            for name, (examples, width) in self._shapes.items():
                chunks = (max(1, min(BLOCK, examples)), width)
                zarr_arrays.create(group, name, shape=(examples, width), dtype=np.float32, chunks=chunks)
            group.attrs.update(self._progress(0))
        return 0

    def add(self, rows: slice, logits: np.ndarray, probability: np.ndarray) -> None:
        """Write the next examples: (rows, C) and (rows, T) float32.

        Raises:
            SatoriError: the disk is full.
        """
        with atomic.room(self._path):
            group = self._opened()
            for name, values in (("logits", logits), ("probability", probability)):
                group[name][rows] = values  # type: ignore[index]
            group.attrs.update(self._progress(rows.stop))

    def publish(self) -> None:
        """Put what is whole now in its place."""
        with atomic.room(self._path):
            self._opened().attrs.put({"artefact": "satori_hpc predictions", "format_version": FORMAT_VERSION})
            atomic.publish_folder(self._parts, self._path)

    def _progress(self, done: int) -> dict[str, Any]:
        """What the folder says of itself, with a digest, for nothing else would tell that a digit has changed."""
        digest = hashlib.sha256(f"{self._key} {done}".encode()).hexdigest()
        return {"key": self._key, "done": done, "sha256": digest}

    def _opened(self) -> zarr.Group:
        return zarr.open_group(self._parts, mode="r+", zarr_format=3)


def write(path: Path, logits: np.ndarray, probability: np.ndarray) -> None:
    """Write predictions that are in memory: (E, C) and (E, T) float32."""
    shape = {"examples": len(logits), "outputs": logits.shape[1], "targets": probability.shape[1]}
    written = Writer(path, atomic.sibling(path), key="", **shape)
    written.begin()
    written.add(slice(0, len(logits)), logits, probability)
    written.publish()


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(logits (E, C), probability (E, T)), float32.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    with _opened(path) as group:
        return zarr_arrays.read(group, "logits"), zarr_arrays.read(group, "probability")


def read_logits(path: Path, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    """Logits of some examples, float32 (rows, columns), in the order of `rows`. Raises: as `read`."""
    with _opened(path) as group:
        return zarr_arrays.take(group, "logits", rows, columns)


class Probability:
    """The probabilities, read as they are asked for: of many labels they are larger than all else that scoring holds.

    Raises:
        ArtefactError: as `read`; also when they are asked for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _opened(path) as group:
            self._count = int(zarr_arrays.member(group, "probability").shape[0])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """float32 (rows, T), in the order of `rows`."""
        with _opened(self._path) as group:
            return zarr_arrays.take(group, "probability", rows)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zarr.Group]:
    """The group of logits and probability; what goes wrong in the block is told."""
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
