"""Compare called TF pairs with known ones: precision, recall, F1, AUPR, and their reference values.

SATORI 2.0 (lqaf209) reports precision, recall and F1 of the called pairs. Among the pairs of a pool of TFs a large
share interacts by design (20 % in Data-60), so that calling every pair already reaches an F1 of one third: base rate,
call-all and recall ceiling are therefore given with every figure, and the ranking is scored separately (AUPR).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from satori_hpc.motifs.names import compared

Pair = tuple[str, str]


def key(first: str, second: str) -> Pair:
    """Return the unordered pair of two TF names, normalised."""
    a, b = sorted((compared(first), compared(second)))
    return a, b


def keys(pairs: Iterable[tuple[str, str]]) -> set[Pair]:
    """Return unordered normalised pairs; a TF with itself is no pair."""
    return {pair for pair in (key(a, b) for a, b in pairs) if pair[0] != pair[1]}


def pairs_of(pool: Iterable[str]) -> list[Pair]:
    """Return all unordered pairs of the TFs of a pool, normalised and sorted."""
    names = sorted({compared(name) for name in pool})
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def harmonic_mean(precision: float, recall: float) -> float:
    """Return F1; 0 when both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else 0.0


@dataclass(frozen=True)
class Calls:
    """How well a set of called pairs meets the gold pairs.

    Attributes:
        called: pairs called.
        correct: those among them that are gold.
        outside_pool: those among them with a TF that is not in the pool; they count as false.
        decoys: those that co-occur as gold pairs do, without interacting.
        recall, f1: None when there is no gold pair (`all_false`).
        nothing_called: precision and F1 are then 0 by convention, not by measurement.
    """

    called: int
    correct: int
    outside_pool: int
    decoys: int
    precision: float
    recall: float | None
    f1: float | None
    nothing_called: bool


def calls(
    called: Iterable[tuple[str, str]],
    gold: Iterable[tuple[str, str]],
    *,
    pool: Iterable[str],
    decoys: Iterable[tuple[str, str]] = (),
) -> Calls:
    """Return precision, recall and F1 of `called` against `gold`, as sets of unordered normalised pairs.

    Args:
        called: pairs of TF names, in any order and case.
        gold: the interacting pairs, likewise.
        pool: names of the TFs that could have been found.
        decoys: pairs that co-occur without interacting, likewise.

    Raises:
        ValueError: there is no gold pair; see `all_false`.
    """
    found, wanted = keys(called), keys(gold)
    if not wanted:
        raise ValueError("no gold pair: precision and recall are not defined")
    inside = {compared(name) for name in pool}
    correct = len(found & wanted)
    precision = correct / len(found) if found else 0.0
    recall = correct / len(wanted)
    return Calls(
        called=len(found),
        correct=correct,
        outside_pool=sum(not inside.issuperset(pair) for pair in found),
        decoys=len(found & keys(decoys)),
        precision=precision,
        recall=recall,
        f1=harmonic_mean(precision, recall),
        nothing_called=not found,
    )


def all_false(
    called: Iterable[tuple[str, str]], *, pool: Iterable[str], decoys: Iterable[tuple[str, str]] = ()
) -> Calls:
    """Return `calls` where no pair interacts: recall and F1 are not defined."""
    impossible = ("", "no pair")
    found = calls(called, [impossible], pool=pool, decoys=decoys)
    return replace(found, recall=None, f1=None)


def call_all(gold: Iterable[tuple[str, str]], *, pool: Sequence[str]) -> Calls:
    """Return the scores of calling every pair of the panel; its precision is the base rate."""
    return calls(pairs_of(pool), gold, pool=pool)


def recall_ceiling(gold: Iterable[tuple[str, str]], *, named: Iterable[str]) -> float:
    """Return the share of gold pairs whose two TFs both name at least one filter.

    Separates motif from pair failures.
    """
    wanted = keys(gold)
    found = {compared(name) for name in named}
    return sum(found.issuperset(pair) for pair in wanted) / len(wanted) if wanted else 0.0


def ranks(*keys: np.ndarray) -> np.ndarray:
    """Return scores int64 (N,) that order by the first key, then the second, and so on, larger is better.

    Ties share a score.

    Scores start at 1, so that 0 is below all of them. NaN counts as minus infinity.
    """
    values = [np.asarray(key, dtype=np.float64) for key in keys]
    rows = np.stack([np.where(np.isnan(key), -np.inf, key) for key in values], axis=1)
    if len(rows) == 0:
        return np.zeros(0, dtype=np.int64)
    _, place = np.unique(rows, axis=0, return_inverse=True)
    return place.reshape(-1).astype(np.int64) + 1


def pool_scores(rows: Iterable[tuple[str, str]], scores: Iterable[float], *, pool: Sequence[str]) -> np.ndarray:
    """Spread the scores of ranked pairs over all pairs of the pool.

    Args:
        rows: ranked pairs of TF names; those outside the pool are dropped, of repeated ones the best score stays.
        scores: their scores, positive, larger is better.
        pool: TF names.

    Returns:
        float64 (pairs of the pool,) in the order of `pairs_of`; pairs without a row share 0, the last rank.
    """
    best: dict[Pair, float] = {}
    for (a, b), score in zip(rows, scores, strict=True):
        pair = key(a, b)
        best[pair] = max(best.get(pair, 0.0), float(score))
    return np.array([best.get(pair, 0.0) for pair in pairs_of(pool)], dtype=np.float64)


def precision_recall(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall (K,) at every distinct score, from the strictest down.

    Equal scores enter together: within a tie no order is invented.

    Raises:
        ValueError: no label is 1.
    """
    labels = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(scores, dtype=np.float64)
    positives = int(labels.sum())
    if positives == 0:
        raise ValueError("no positive label: recall is not defined")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true = np.cumsum(labels[order])[ends]
    return true / (ends + 1), true / positives


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return area under the precision-recall steps: sum of (R_k - R_{k-1}) P_k, as scikit-learn's average precision."""
    precision, recall = precision_recall(labels, scores)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def pool_labels(gold: Iterable[tuple[str, str]], *, pool: Sequence[str]) -> np.ndarray:
    """Return uint8 (pairs of the pool,): 1 where a pair is gold, in the order of `pairs_of`."""
    wanted = keys(gold)
    return np.array([pair in wanted for pair in pairs_of(pool)], dtype=np.uint8)
