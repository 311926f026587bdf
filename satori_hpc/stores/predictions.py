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
    mend = f"make it again: satori-hpc train {path.parent} --force"
    if not path.exists():
        raise ArtefactError(f"{path}: no predictions; make them: satori-hpc train {path.parent}")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        found = group.attrs.get("format_version")
        if group.attrs.get("artefact") != "satori_hpc predictions" or found != FORMAT_VERSION:
            raise ArtefactError(
                f"{path}: expected predictions of format version {FORMAT_VERSION}, found {found}; {mend}"
            )
        logits, probability = np.asarray(group["logits"][:]), np.asarray(group["probability"][:])  # type: ignore[index]
    except ArtefactError:
        raise
    except Exception as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); {mend}") from None
    if logits.ndim != 2 or probability.ndim != 2 or len(logits) != len(probability):
        raise ArtefactError(f"{path}: logits {logits.shape} and probability {probability.shape} do not match; {mend}")
    return logits, probability
