"""predictions.zarr: logits and probabilities of every example by the best checkpoint."""

import contextlib
import shutil
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
    """Predictions, written some examples at a time; they appear whole when they are published, or not at all.

    Nothing is made before the first `add`: of several processes all may have a writer, and one write.

    Args:
        path: the store.
        examples: E, of the data set.
        outputs, targets: C and T.
    """

    def __init__(self, path: Path, *, examples: int, outputs: int, targets: int) -> None:
        self._path = path
        self._partial = atomic.sibling(path)
        self._shapes = {"logits": (examples, outputs), "probability": (examples, targets)}
        self._group: zarr.Group | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, rows: slice, logits: np.ndarray, probability: np.ndarray) -> None:
        """Write (rows, C) and (rows, T) float32, in the order of the data set.

        Raises:
            SatoriError: the disk is full.
        """
        with atomic.room(self._path):
            if self._group is None:
                self._group = self._begun()
            for name, values in (("logits", logits), ("probability", probability)):
                self._group[name][rows] = values  # type: ignore[index]

    def _begun(self) -> zarr.Group:
        group = zarr.open_group(self._partial, mode="w", zarr_format=3)
        for name, (examples, width) in self._shapes.items():
            chunks = (max(1, min(BLOCK, examples)), width)
            group.create_array(name, shape=(examples, width), dtype=np.float32, chunks=chunks)
        group.attrs.update({"artefact": "satori_hpc predictions", "format_version": FORMAT_VERSION})
        return group

    def publish(self) -> None:
        with atomic.room(self._path):
            atomic.publish_folder(self._partial, self._path)


def write(path: Path, logits: np.ndarray, probability: np.ndarray) -> None:
    """Write predictions that are in memory: (E, C) and (E, T) float32."""
    shape = {"examples": len(logits), "outputs": logits.shape[1], "targets": probability.shape[1]}
    with Writer(path, **shape) as written:
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
