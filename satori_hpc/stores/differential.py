"""interactions/<method>.differential: which labels carry an interaction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from satori_hpc.stores import tables

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "label": (pa.string(), "the label, or the labels of --labels with commas between"),
    "against": (pa.string(), "the labels of --against; empty = all examples without the label"),
    "filter_a": (pa.int32(), "first filter of the pair, the smaller number"),
    "filter_b": (pa.int32(), "second filter of the pair"),
    "tf_a": (pa.string(), "TF that the first filter's motif matches; empty = none"),
    "tf_b": (pa.string(), "TF that the second filter's motif matches; empty = none"),
    "n_with": (pa.int64(), "foreground examples with the label in which the pair was observed"),
    "n_without": (pa.int64(), "foreground examples that it is compared with, likewise"),
    "tested": (pa.bool_(), "both are at least reduce.min_examples"),
    "median_with": (pa.float64(), "median score of the first"),
    "median_without": (pa.float64(), "median score of the second"),
    "auc": (
        pa.float64(),
        "chance that a score with the label is above one without; 0.5 = no difference. Empty = not tested, like all "
        "that follow",
    ),
    "p": (pa.float64(), "two-sided p-value (Mann-Whitney)"),
    "neg_log10_p": (pa.float64(), "-log10 p, told also where p is too small for a float64"),
    "q": (pa.float64(), "Benjamini-Hochberg q-value over all tested labels and pairs"),
    "differs": (pa.bool_(), "q at most reduce.alpha"),
}


def write(path: Path, columns: Mapping[str, Any]) -> None:
    """Write the table beside `path`, which has no ending."""
    tables.write_table(path.with_name(path.name + ".differential"), columns, COLUMNS)


def read(path: Path) -> pd.DataFrame:
    """The table (columns: COLUMNS), by q, then p.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    return tables.read_table(path.with_name(path.name + ".differential"), COLUMNS, command="differential")
