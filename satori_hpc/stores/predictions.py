"""predictions.zarr: logits and probabilities of every example by the best checkpoint."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from satori_hpc.errors import ArtefactError
from satori_hpc.stores import atomic

FORMAT_VERSION = 1


def write(path: Path, logits: np.ndarray, probability: np.ndarray) -> None:
    """Write the predictions atomically.

    Args:
        path: the store.
        logits: (E, C) float32, in the order of the dataset.
        probability: (E, T) float32.
    """
    with atomic.atomic_folder(path) as partial:
        group = zarr.open_group(partial, mode="w", zarr_format=3)
        group.create_array("logits", data=np.ascontiguousarray(logits, dtype=np.float32))
        group.create_array("probability", data=np.ascontiguousarray(probability, dtype=np.float32))
        group.attrs.update({"artefact": "satori_hpc predictions", "format_version": FORMAT_VERSION})


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(logits (E, C), probability (E, T)), float32.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    with _opened(path) as (logits, probability):
        return np.asarray(logits[:]), np.asarray(probability[:])


def read_probability(path: Path) -> np.ndarray:
    """As `read`, of the probabilities alone."""
    with _opened(path) as (_, probability):
        return np.asarray(probability[:])


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
        """float32 (rows, T); `rows` int64, rising."""
        with _opened(self._path) as (_, probability):
            return np.asarray(probability.oindex[rows])


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
