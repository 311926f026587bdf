"""interactions/<method>.*: the tables people read, as Parquet and as the same columns in TSV.

The registries below are the columns, in order, with their types and meanings.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.run import files

FORMAT_VERSION = 5

# Test results of a pair of filters, or of a pair of TFs whose sites are pooled in every example.
_NUMBERS: dict[str, tuple[pa.DataType, str]] = {
    "n_fg": (pa.int64(), "foreground examples in which the pair was observed"),
    "n_bg": (pa.int64(), "background examples in which the pair was observed"),
    "median_fg": (pa.float64(), "median score in the foreground"),
    "median_bg": (pa.float64(), "median score in the background"),
    "max_fg": (pa.float64(), "largest score in the foreground"),
    "median_distance": (pa.float64(), "median distance of the scoring sites in the foreground, bp"),
    "statistic": (
        pa.float64(),
        "published, contrasts-two-way: Mann-Whitney U of the foreground; within-sequence, minimum-effect: W+, the "
        "ranks of positive values summed; permuted: empty. Empty = not tested, like all that follow",
    ),
    "auc": (
        pa.float64(),
        "the statistic as a share of its largest value, 0.5 = no effect: chance that a foreground score (or contrast) "
        "is above a background one; within-sequence, minimum-effect: that the mean of two values is positive, "
        "(rank-biserial correlation + 1) / 2; permuted: mean chance that a score is above a null score",
    ),
    "auc_low": (
        pa.float64(),
        "lower end of the 95 % confidence interval of the AUC; permuted, and a statistic that gives none: empty",
    ),
    "auc_high": (pa.float64(), "upper end of it"),
    "effect": (
        pa.float64(),
        "in units of the score: median_fg - median_bg, also of contrasts; within-sequence: median contrast; "
        "minimum-effect: median_fg; permuted: median_fg - mean of the null",
    ),
    "p": (
        pa.float64(),
        "one-sided p-value; within-sequence: after calibration; contrasts-two-way: after removing the main effects of "
        "both units; permuted: Simes over the examples",
    ),
    "neg_log10_p": (pa.float64(), "-log10 p, given also where p is too small for a float64"),
    "q": (pa.float64(), "Benjamini-Hochberg q-value over all tested pairs"),
}
NUMBERS = tuple(_NUMBERS)

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "filter_a": (pa.int32(), "first filter of the pair, the smaller number"),
    "filter_b": (pa.int32(), "second filter of the pair"),
    "tf_a": (pa.string(), "TF that the first filter's motif matches; empty = none"),
    "tf_b": (pa.string(), "TF that the second filter's motif matches; empty = none"),
    "motif_q_a": (pa.float64(), "Tomtom q-value of the first filter's best match; empty = no motif"),
    "motif_q_b": (pa.float64(), "Tomtom q-value of the second filter's best match"),
    "tested": (
        pa.bool_(),
        "in the tested family: enough scores, on both sides where both are compared, and the cut-off reached",
    ),
    **_NUMBERS,
    "called": (pa.bool_(), "tested, and q at most alpha"),
    "redundancy_q": (
        pa.float64(),
        "minimum-effect: q-value of the two sites doing less together than alone, by more than the margin; else empty",
    ),
    "published_auc": (pa.float64(), "AUC of the published test, a Mann-Whitney test against the background"),
    "published_p": (pa.float64(), "its p-value; empty = not tested by it"),
    "published_neg_log10_p": (pa.float64(), "-log10 of it"),
    "published_q": (pa.float64(), "Benjamini-Hochberg q-value over all pairs that it tests"),
}

TF_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "tf_a": (pa.string(), "first TF in alphabetical order"),
    "tf_b": (pa.string(), "second TF"),
    **_NUMBERS,
    "called": (pa.bool_(), "q at most alpha"),
    "redundancy_q": (pa.float64(), "as for filter pairs"),
    "filter_pairs": (pa.int64(), "tested filter pairs of these two TFs"),
    "called_filter_pairs": (pa.int64(), "called ones among them"),
    "published_q": (pa.float64(), "smallest q-value of the published test of its filter pairs; empty = none is tested"),
    "published_called": (pa.bool_(), "as published: any of its filter pairs is called by that test"),
}

ENSEMBLE_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "tf_a": (pa.string(), "first TF in alphabetical order"),
    "tf_b": (pa.string(), "second TF"),
    "seeds": (pa.int64(), "networks that tested the pair, so both TFs name filters there; the rest is over these"),
    "called_seeds": (pa.int64(), "those that call the pair"),
    "min_q": (pa.float64(), "smallest q-value"),
    "median_q": (pa.float64(), "median q-value"),
    "median_neg_log10_p": (pa.float64(), "median -log10 p"),
    "median_auc": (pa.float64(), "median AUC"),
    "median_effect": (pa.float64(), "median effect"),
    "median_distance": (pa.float64(), "median of the median distances, bp"),
    "called": (pa.bool_(), "called by at least ensemble.min_seeds networks"),
}


def write(path: Path, columns: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> None:
    """Write the table of filter pairs to `path`.parquet and `path`.tsv (`path` has no ending), each atomically.

    `about` is what the statistic says of all pairs together, such as the share of true ones, for the Parquet's schema.
    """
    write_table(path, columns, COLUMNS, about)


def write_tf(path: Path, columns: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> None:
    """Write the table of TF pairs to `path`.tf.parquet and `path`.tf.tsv; `about` as of `write`."""
    write_table(path.with_name(path.name + ".tf"), columns, TF_COLUMNS, about)


def write_ensemble(path: Path, columns: Mapping[str, Any]) -> None:
    """Write the table of an ensemble to `path`.parquet and `path`.tsv."""
    write_table(path, columns, ENSEMBLE_COLUMNS)


def read(path: Path) -> pd.DataFrame:
    """Read the table of filter pairs (columns: COLUMNS), sorted by q, then p, then descending AUC.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    return read_table(path, COLUMNS)


def read_tf(path: Path) -> pd.DataFrame:
    """Return the table of TF pairs (columns: TF_COLUMNS).

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    return read_table(path.with_name(path.name + ".tf"), TF_COLUMNS)


def read_ensemble(path: Path) -> pd.DataFrame:
    """Return the table of an ensemble (columns: ENSEMBLE_COLUMNS), most often called pairs first, then by median q.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    return read_table(path, ENSEMBLE_COLUMNS, command="ensemble")


def write_table(
    path: Path,
    columns: Mapping[str, Any],
    registry: dict[str, tuple[pa.DataType, str]],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a table of these columns to `path`.parquet and `path`.tsv, each atomically."""
    fields = [
        pa.field(name, kind, metadata={"meaning": meaning}, nullable=True) for name, (kind, meaning) in registry.items()
    ]
    metadata = {"satori_hpc_format_version": str(FORMAT_VERSION)}
    if about is not None:
        metadata["satori_hpc_tests"] = json.dumps(about)
    schema = pa.schema(fields, metadata=metadata)
    table = pa.table([pa.array(columns[name], type=registry[name][0]) for name in registry], schema=schema)
    with files.atomic_file(_ending(path, ".parquet")) as partial:
        pq.write_table(table, partial, compression="zstd")
    text = table.to_pandas()
    for name, (kind, _) in registry.items():
        if pa.types.is_string(kind):
            text[name] = text[name].str.replace("\t", "\\t").str.replace("\n", "\\n").str.replace("\r", "\\r")
    with files.atomic_file(_ending(path, ".tsv")) as partial:
        text.to_csv(partial, sep="\t", index=False, lineterminator="\n")


def read_table(path: Path, registry: dict[str, tuple[pa.DataType, str]], *, command: str = "reduce") -> pd.DataFrame:
    """Return the table of these columns at `path`.parquet.

    Raises:
        ArtefactError: missing, damaged or of another format version; says to run `command`.
    """
    file = _ending(path, ".parquet")
    mend = f"make it: satori-hpc {command} {quoted(path.parent.parent)}"
    again = mend if command == "ensemble" else f"{mend} --force"  # an ensemble's tables are made each time
    if not file.exists():
        raise ArtefactError(f"{file}: no interaction table; {mend}")
    try:
        table = pq.read_table(file)
    except Exception as error:  # Arrow, OSError, or Python's error for a damaged schema
        raise ArtefactError(f"{file}: cannot be read ({error}); {again}") from None
    version = (table.schema.metadata or {}).get(b"satori_hpc_format_version", b"").decode()
    if version != str(FORMAT_VERSION) or table.schema.names != list(registry):
        raise ArtefactError(
            f"{file}: expected an interaction table of format version {FORMAT_VERSION} with the columns "
            f"{', '.join(registry)}; found version {version or 'none'} with {', '.join(table.schema.names)}; "
            f"{again}"
        )
    return table.to_pandas()


def _ending(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
