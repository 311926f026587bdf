"""predictions.zarr: logits and probabilities of every example by the best checkpoint."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from satori_hpc.errors import ArtefactError
from satori_hpc.stores import atomic, dataset_arrays
from satori_hpc.stores.examples import BLOCK

FORMAT_VERSION = 1


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
        with contextlib.suppress(OSError, ValueError, KeyError):
            group = self._opened()
            attributes, shapes = group.attrs, {name: array.shape for name, array in group.arrays()}
            if attributes["key"] == self._key and shapes == self._shapes:
                for left in self._parts.rglob("*.partial"):
                    left.unlink()
                return int(str(attributes["done"]))
        with atomic.room(self._path):
            atomic.remove_folder(self._parts)
            group = zarr.open_group(self._parts, mode="w", zarr_format=3)
            for name, (examples, width) in self._shapes.items():
                chunks = (max(1, min(BLOCK, examples)), width)
                group.create_array(name, shape=(examples, width), dtype=np.float32, chunks=chunks)
            group.attrs.update({"key": self._key, "done": 0})
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
            group.attrs["done"] = rows.stop

    def publish(self) -> None:
        """Put what is whole now in its place."""
        with atomic.room(self._path):
            self._opened().attrs.put({"artefact": "satori_hpc predictions", "format_version": FORMAT_VERSION})
            atomic.publish_folder(self._parts, self._path)

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
    with _opened(path) as (logits, probability):
        return np.asarray(logits[:]), np.asarray(probability[:])


def read_logits(path: Path, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    """Logits of some examples, float32 (rows, columns), in the order of `rows`. Raises: as `read`."""
    with _opened(path) as (logits, _):
        return dataset_arrays.take(logits, rows, columns)


class Probability:
    """The probabilities, read as they are asked for: of many labels they are larger than all else that scoring holds.

    Raises:
        ArtefactError: as `read`; also when they are asked for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _opened(path) as (_, probability):
            self._count = int(probability.shape[0])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """float32 (rows, T), in the order of `rows`."""
        with _opened(self._path) as (_, probability):
            return dataset_arrays.take(probability, rows)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Logits and probability, not yet read; what goes wrong in the block is told."""
    mend = f"make it again: satori-hpc train {path.parent} --force"
    if not path.exists():
        raise ArtefactError(f"{path}: no predictions; make them: satori-hpc train {path.parent}")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        version = group.attrs.get("format_version")
        if group.attrs.get("artefact") != "satori_hpc predictions" or version != FORMAT_VERSION:
            raise ArtefactError(
                f"{path}: expected predictions of format version {FORMAT_VERSION}, found {version}; {mend}"
            )
        arrays: tuple[Any, Any] = (group["logits"], group["probability"])
        shapes = [array.shape for array in arrays]
        if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
            raise ArtefactError(f"{path}: logits {shapes[0]} and probability {shapes[1]} do not match; {mend}")
        yield arrays
    except ArtefactError:
        raise
    except Exception as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); {mend}") from None
