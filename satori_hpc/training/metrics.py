"""Compute classification metrics (AUROC, average precision) over a whole set at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc.data.splits import both_classes, known
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.run import tsv

LEAST_AUROC = 0.6  # below, a network separates the classes hardly better than chance
SAME_OUTPUT = 1e-4  # logits that differ by less are the same: probabilities then differ by less than .000025


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Mean metrics over the labels that have both classes; NaN when none has.

    Attributes:
        auroc: area under the ROC curve. aupr: average precision.
        labels: number of labels averaged. skipped: number of labels of a single class, for which neither is defined.
    """

    auroc: float
    aupr: float
    labels: int
    skipped: int


def by_label(labels: np.ndarray, ranking: np.ndarray, *, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and AUPR of every label over the examples where it is known, (T,) float64 each.

    NaN where it has one class.

    Args:
        labels: (E, T) of 0, 1 and UNKNOWN.
        ranking: (E, T), larger = more likely 1; logits keep an order that float32 probabilities lose.
        threads: labels at a time; sorting, which takes the time, leaves Python to the others.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score  # here: slow to load, and few commands measure

    auroc, aupr = np.full((2, labels.shape[1]), np.nan)

    def measure(column: int) -> None:
        rows = known(labels[:, column])
        truth, values = labels[rows, column], ranking[rows, column]
        auroc[column], aupr[column] = roc_auc_score(truth, values), average_precision_score(truth, values)

    usable = np.flatnonzero(both_classes(labels)).tolist()
    if threads == 1 or len(usable) < 2:
        for column in usable:
            measure(column)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(measure, usable))
    return auroc, aupr


def chance_bound(positives: int, negatives: int) -> float:
    """Return the AUROC below which a network is near chance: LEAST_AUROC, or the bound for unrelated labels, if larger.

    The latter is 0.5 + 1.96 standard deviations of the AUROC under the null hypothesis, where it is Mann-Whitney's U as
    a share: sqrt((P + N + 1) / (12 P N)). Unlike a standard error at the AUROC found (Hanley & McNeil 1982) that does
    not vanish when a handful of examples happens to be in order.
    """
    deviation = float(np.sqrt((positives + negatives + 1) / (12 * positives * negatives)))
    return max(LEAST_AUROC, 0.5 + 1.96 * deviation)


def constant_outputs(logits: np.ndarray) -> int:
    """Count columns of (E, T) logits in which the middle 99 % of the examples have the same value (SAME_OUTPUT)."""
    ends = (np.quantile(column, (0.005, 0.995)) for column in logits.T)
    return sum(bool(high - low < SAME_OUTPUT) for low, high in ends)


def classification(labels: np.ndarray, ranking: np.ndarray, *, threads: int = 1) -> Metrics:
    """Return AUROC and AUPR over a whole set, averaged over labels; arguments as of `by_label`."""
    auroc, aupr = by_label(labels, ranking, threads=threads)
    usable = ~np.isnan(auroc)
    skipped = int((~usable).sum())
    if not usable.any():
        return Metrics(auroc=float("nan"), aupr=float("nan"), labels=0, skipped=skipped)
    means = float(np.mean(auroc[usable])), float(np.mean(aupr[usable]))
    return Metrics(auroc=means[0], aupr=means[1], labels=int(usable.sum()), skipped=skipped)


# labels.tsv: metrics per label, one row per split and label.

COLUMNS = ("split", "label", "examples", "positives", "auroc", "aupr")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows atomically; NaN, for a label with a single class in that split, is an empty field."""
    tsv.write(path, {name: [row[name] for row in rows] for name in COLUMNS}, names=COLUMNS)


def read(path: Path, *, split: str, labels: int) -> dict[str, np.ndarray]:
    """Return {"auroc": float64 (T,), "aupr": (T,)} of one split, in the order of the data set; NaN for empty fields.

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
