"""predictions.zarr: logits and probabilities of every example by the best checkpoint."""

from pathlib import Path

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
    logits, probability = _read(path, "logits", "probability")
    return logits, probability


def read_probability(path: Path) -> np.ndarray:
    """As `read`, of the probabilities alone."""
    return _read(path, "probability")[0]


def _read(path: Path, *names: str) -> list[np.ndarray]:
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
        shapes = [group[name].shape for name in ("logits", "probability")]  # type: ignore[union-attr]
        found = [np.asarray(group[name][:]) for name in names]  # type: ignore[index]
    except ArtefactError:
        raise
    except Exception as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); {mend}") from None
    if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise ArtefactError(f"{path}: logits {shapes[0]} and probability {shapes[1]} do not match; {mend}")
    return found
