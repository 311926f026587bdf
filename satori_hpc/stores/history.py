"""history.tsv: one row per epoch of training."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from satori_hpc.stores import atomic

COLUMNS = (
    "epoch",
    "train_loss",
    "train_entropy",
    "valid_loss",
    "valid_auroc",
    "valid_aupr",
    "learning_rate",
    "seconds",
    "examples_per_s",
    "column_mass",
    "constant_outputs",
)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write all rows atomically; a value that is absent (no entropy loss, say) is an empty cell."""
    with atomic.atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows({name: _cell(row.get(name)) for name in COLUMNS} for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
