"""labels.tsv: how well each label is predicted, one row per split and label."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.stores import tsv

COLUMNS = ("split", "label", "examples", "positives", "auroc", "aupr")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows atomically; NaN, of a label with a single class in that split, is an empty cell."""
    tsv.write(path, {name: [row[name] for row in rows] for name in COLUMNS}, names=COLUMNS)


def read(path: Path, *, split: str, labels: int) -> dict[str, np.ndarray]:
    """{"auroc": float64 (T,), "aupr": (T,)} of one split, in the order of the data set; NaN where a cell is empty.

    Raises:
        ArtefactError: missing, damaged, or not of so many labels.
    """
    mend = f"make it again: satori-hpc train {quoted(path.parent)} --force"
    try:
        table = pd.read_csv(path, sep="\t")
        rows = table[table["split"] == split]
        found = {name: rows[name].to_numpy(dtype=np.float64) for name in ("auroc", "aupr")}
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); {mend}") from None
    if len(rows) != labels:
        raise ArtefactError(f"{path}: {len(rows)} labels of the {split} split, expected {labels}; {mend}")
    return found
