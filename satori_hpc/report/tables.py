"""The interaction tables as data for the page's script."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc.evaluation import calls

Columns = tuple[tuple[str, str, str, str], ...]

EFFECT = "in units of the score: difference of the medians of scores and comparison"
# key in the table, heading, kind (text, int, fixed, exp, flag), meaning
TF_COLUMNS = (
    ("tf_a", "TF A", "text", ""),
    ("tf_b", "TF B", "text", ""),
    (
        "q",
        "q",
        "exp",
        "Benjamini-Hochberg q-value over all tested TF pairs",
    ),
    ("auc", "AUC", "fixed", "probability that a score exceeds its comparison; 0.5 is no effect"),
    ("effect", "effect", "exp", EFFECT),
    ("called_filter_pairs", "called", "int", "filter pairs called for these two TFs"),
    ("filter_pairs", "tested", "int", "filter pairs tested for these two TFs"),
    ("n_fg", "examples", "int", "foreground examples in which the pair was observed"),
    ("median_distance", "distance, bp", "int", "median distance between the two sites"),
)
FILTER_COLUMNS = (
    ("filter_a", "filter A", "int", ""),
    ("tf_a", "TF A", "text", "best database match of filter A, if any"),
    ("filter_b", "filter B", "int", ""),
    ("tf_b", "TF B", "text", "best database match of filter B, if any"),
    ("q", "q", "exp", "Benjamini-Hochberg over all tested filter pairs"),
    ("auc", "AUC", "fixed", "probability that a score exceeds its comparison; 0.5 is no effect"),
    ("effect", "effect", "exp", EFFECT),
    ("n_fg", "n fore", "int", "foreground examples with a score"),
    ("n_bg", "n back", "int", "background examples with a score"),
    ("median_fg", "median fore", "exp", "median foreground score"),
    ("median_bg", "median back", "exp", "median background score"),
    ("median_distance", "distance, bp", "int", "median distance between the two sites"),
    ("called", "called", "flag", "q at or below alpha"),
)
ENSEMBLE_COLUMNS = (
    ("tf_a", "TF A", "text", ""),
    ("tf_b", "TF B", "text", ""),
    ("called_seeds", "called by", "int", "networks that call the pair"),
    ("seeds", "tested by", "int", "networks that tested the pair, so both TFs name filters there"),
    ("min_q", "smallest q", "exp", "of these networks"),
    ("median_q", "median q", "exp", "of these networks"),
    ("median_auc", "median AUC", "fixed", "of these networks"),
    ("median_effect", "median effect", "exp", EFFECT),
    ("median_distance", "distance, bp", "int", "median of the median distances between the two sites"),
)
SUPPORT_COLUMNS = (
    ("table", "table", "text", "of known interactions"),
    ("tf_a", "TF A", "text", ""),
    ("tf_b", "TF B", "text", ""),
    ("q", "q", "exp", "of the called pair"),
    ("reading", "reading", "text", "direct: a row of the table lists both; shared: common partners or targets"),
    ("line", "line", "int", "of the table"),
    ("name_a", "name there", "text", "first name of the row"),
    ("name_b", "and", "text", "second name of the row"),
    ("score", "score", "text", "as in the table"),
    ("evidence", "evidence", "text", "as in the table"),
    ("reference", "reference", "text", "such as PubMed numbers"),
)
DIFFERENTIAL_COLUMNS = (
    ("label", "label", "text", ""),
    ("against", "against", "text", "empty: all examples without the label"),
    ("filter_a", "filter A", "int", ""),
    ("tf_a", "TF A", "text", "best database match of filter A, if any"),
    ("filter_b", "filter B", "int", ""),
    ("tf_b", "TF B", "text", "best database match of filter B, if any"),
    ("q", "q", "exp", "two-sided; Benjamini-Hochberg over all tested labels and filter pairs"),
    (
        "auc",
        "AUC",
        "fixed",
        "probability that a score with the label exceeds one without; below 0.5: lower",
    ),
    ("n_with", "n with", "int", "foreground examples with the label and a score"),
    ("n_without", "n without", "int", "foreground examples compared with, likewise"),
    ("median_with", "median with", "exp", "median score of the first"),
    ("median_without", "median without", "exp", "median score of the second"),
    ("differs", "differs", "flag", "q at or below alpha"),
)
KNOWN = ("known", "implanted", "flag", "whether the simulation implanted this pair")


def tf_table(table: pd.DataFrame, known: set[tuple[str, str]] | None, *, max_rows: int) -> dict[str, Any]:
    """Return the TF pairs as {"columns": [...], "rows": [...], "total": ...}."""
    return _content(*_with_known(strongest_first(table), TF_COLUMNS, known), max_rows)


def filter_table(table: pd.DataFrame, *, max_rows: int) -> dict[str, Any]:
    """Return the filter pairs with a test, likewise."""
    return _content(strongest_first(table[table["tested"].astype(bool)]), FILTER_COLUMNS, max_rows)


def ensemble_table(table: pd.DataFrame, known: set[tuple[str, str]] | None, *, max_rows: int) -> dict[str, Any]:
    """Return the TF pairs of an ensemble, likewise, in their order."""
    return _content(*_with_known(table, ENSEMBLE_COLUMNS, known), max_rows)


def support_table(table: pd.DataFrame, *, max_rows: int) -> dict[str, Any]:
    """Return the rows that support called pairs, likewise, in their order."""
    return _content(table.assign(called=True), SUPPORT_COLUMNS, max_rows)


def differential_table(table: pd.DataFrame, *, max_rows: int) -> dict[str, Any]:
    """Return the tests of called filter pairs by label, likewise, in their order."""
    tested = table[table["tested"].astype(bool)]
    return _content(tested.assign(called=tested["differs"]), DIFFERENTIAL_COLUMNS, max_rows)


def _with_known(
    table: pd.DataFrame, columns: Columns, known: set[tuple[str, str]] | None
) -> tuple[pd.DataFrame, Columns]:
    if known is None:
        return table, columns
    flags = [calls.key(a, b) in known for a, b in zip(table["tf_a"], table["tf_b"], strict=True)]
    return table.assign(known=flags), (*columns, KNOWN)


def strongest_first(table: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by q, then p, then descending AUC."""
    return table.sort_values(["q", "neg_log10_p", "auc"], ascending=[True, False, False], kind="stable")


def _content(table: pd.DataFrame, columns: Columns, max_rows: int) -> dict[str, Any]:
    shown = table.head(max_rows)
    values = [[_plain(value) for value in shown[key]] for key, _, _, _ in columns]
    called = [bool(value) for value in shown["called"]]
    return {
        "columns": [{"label": label, "kind": kind, "help": text} for _, label, kind, text in columns],
        "rows": [list(row) for row in zip(*values, strict=True)],
        "called": called,
        "total": len(table),
    }


def _plain(value: Any) -> Any:
    """Convert a field for JSON: no NaN, no numpy; six digits suffice on a page."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return str(value)


def embed(content: Any) -> str:
    """Return JSON that is safe inside a <script> element, for any names.

    "<", ">" and "&" are written as escapes, so that no name can close the element or open a comment.
    """
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
