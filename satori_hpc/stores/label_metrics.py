"""labels.tsv: how well each label is predicted, one row per split and label."""

from pathlib import Path
from typing import Any

from satori_hpc.stores import tsv

COLUMNS = ("split", "label", "examples", "positives", "auroc", "aupr")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows atomically; NaN, of a label with a single class in that split, is an empty cell."""
    tsv.write(path, {name: [row[name] for row in rows] for name in COLUMNS}, names=COLUMNS)
