"""Fit baselines that need no network: logistic regressions on counts of 6-mers, and of hits of known motifs.

They see what the network sees: the training examples; their penalty is chosen on the validation examples, as the
network's epoch is. A network that does not beat them has learned no more than which words a sequence holds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from satori_hpc.data.dataset import Dataset, blocks
from satori_hpc.data.splits import both_classes, known
from satori_hpc.models.kmers import FOLDS, K, folds
from satori_hpc.motifs.scan import Gate, MotifBank, Scanner
from satori_hpc.training import metrics

MOST = 20_000  # examples of a split; of more, as many are drawn, so that counts fit into 170 MB
AT_ONCE = 512  # examples whose words are in memory together
PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0)  # of half the squared weights, beside the sum of losses over examples
STEPS = 25  # of L-BFGS per penalty, each from the weights of the one before
DRAWN = 15

Count = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A fitted regression.

    Attributes:
        auroc: {"valid": (T,), "test": (T,)} AUROC of every label; NaN where it cannot be measured.
        rows: {"valid": int64, "test": int64} the examples that these are of.
        scores: {"valid": float32 (E, T), "test": ...} log-odds of these examples.
        trained: training examples used.
    """

    auroc: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    trained: int


def fit(data: Dataset, count: Count, *, seed: int) -> Baseline:
    """Fit a logistic regression per label on counts of the training examples.

    Args:
        data: the examples; labels of UNKNOWN are left out.
        count: counts float32 (B, D) of token codes (B, L).
        seed: of the examples drawn from splits of more than MOST.
    """
    rows = {split: _drawn(data.rows(split), seed) for split in ("train", "valid", "test")}
    counts = torch.from_numpy(_counted(data, rows["train"], count))
    scale = 1 / counts.amax(dim=0).clamp(min=1)
    counts *= scale
    labels = {split: data.labels[some] for split, some in rows.items()}
    held = {split: torch.from_numpy(_counted(data, rows[split], count)) * scale for split in ("valid", "test")}
    usable = both_classes(labels["train"])
    targets = labels["train"].shape[1]
    auroc = {split: np.full(targets, np.nan) for split in held}
    scores = {split: np.zeros((len(rows[split]), targets), dtype=np.float32) for split in held}
    chosen = np.full(targets, -np.inf)
    weights = torch.zeros(counts.shape[1] + 1, targets)
    for penalty in PENALTIES:
        weights = _regression(counts, labels["train"], penalty, weights)
        found = {split: (values @ weights[1:] + weights[0]).numpy() for split, values in held.items()}
        valid = metrics.by_label(labels["valid"], found["valid"])[0]
        better = usable & (np.nan_to_num(valid, nan=-1.0) > chosen)
        if not better.any():
            break
        chosen[better] = np.nan_to_num(valid, nan=-1.0)[better]
        for split in held:
            scores[split][:, better] = found[split][:, better]
    for split in held:
        auroc[split][usable] = metrics.by_label(labels[split], scores[split])[0][usable]
    held_rows = {split: rows[split] for split in held}
    return Baseline(auroc=auroc, rows=held_rows, scores=scores, trained=len(rows["train"]))


def cross_fit(data: Dataset, *, seed: int) -> dict[str, torch.Tensor]:
    """Fit the regression on 6-mers to all training examples but those of a fold, for every fold (models.kmers).

    The penalty of a label is the one whose regressions rank its training examples best, each by the regression that has
    not seen it. A label that has a single class outside of some fold has weights of 0.

    Args:
        data: the examples; labels of UNKNOWN are left out.
        seed: of the folds.

    Returns:
        the tensors of a KmerRegression, by name.
    """
    every = data.rows("train")
    rows = _drawn(every, seed)
    fold = folds(len(every), seed)[np.searchsorted(every, rows)]
    counts = torch.from_numpy(_counted(data, rows, kmers))
    scale = 1 / counts.amax(dim=0).clamp(min=1)
    counts *= scale
    labels = data.labels[rows]
    outside = [np.flatnonzero(fold != number) for number in range(FOLDS)]
    usable = np.all([both_classes(labels[some]) for some in outside], axis=0)
    targets = labels.shape[1]
    found = torch.zeros(FOLDS, 1 + counts.shape[1], targets)
    weights = [torch.zeros(1 + counts.shape[1], targets) for _ in outside]
    chosen = np.full(targets, -np.inf)
    for penalty in PENALTIES:
        unseen = np.zeros((len(rows), targets), dtype=np.float32)
        for number, some in enumerate(outside):
            weights[number] = _regression(counts[some], labels[some], penalty, weights[number])
            inside = np.flatnonzero(fold == number)
            unseen[inside] = (counts[inside] @ weights[number][1:] + weights[number][0]).numpy()
        auroc = np.nan_to_num(metrics.by_label(labels, unseen)[0], nan=-1.0)
        better = usable & (auroc > chosen)
        if not better.any():
            break
        chosen[better] = auroc[better]
        found[:, :, better] = torch.stack(weights)[:, :, better]
    words = found[:, 1:] * scale[:, None]
    return {"weight": words[:, _canonical(K)], "bias": found[:, 0]}


def kmers(tokens: np.ndarray, k: int = K) -> np.ndarray:
    """Count the k-mers of both strands together.

    Args:
        tokens: uint8 codes (B, L); a word with another letter than A, C, G, T does not count.

    Returns:
        float32 (B, 4^k / 2, rounded up to hold palindromes): a k-mer and its reverse complement share a column.
    """
    columns = _canonical(k)
    if tokens.shape[1] < k:
        return np.zeros((len(tokens), columns.max() + 1), dtype=np.float32)
    ends = tokens.shape[1] - k + 1
    code, whole = np.zeros((2, len(tokens), ends), dtype=np.int64)
    for place in range(k):
        letters = tokens[:, place : place + ends]
        code = code * 4 + np.minimum(letters, 3)
        whole += letters > 3
    width = int(columns.max()) + 1
    at = columns[code] + width * np.arange(len(tokens))[:, None]
    return np.bincount(at[whole == 0], minlength=len(tokens) * width).reshape(-1, width).astype(np.float32)


def hits(bank: MotifBank, gate: Gate) -> Count:
    """Return what counts the hits of every known motif on either strand, float32 (B, M)."""
    scanner = Scanner(bank, gate)

    def count(tokens: np.ndarray) -> np.ndarray:
        found = scanner.scan(tokens, threads=torch.get_num_threads())
        at = found.example * len(bank) + found.motif
        return np.bincount(at, minlength=len(tokens) * len(bank)).reshape(-1, len(bank)).astype(np.float32)

    return count


def _canonical(k: int) -> np.ndarray:
    """Return the column of every k-mer, int64 (4^k,)."""
    words = np.arange(4**k)
    reverse, left = np.zeros_like(words), words
    for _ in range(k):
        reverse, left = reverse * 4 + 3 - left % 4, left // 4
    return np.unique(np.minimum(words, reverse), return_inverse=True)[1]


def _drawn(rows: np.ndarray, seed: int) -> np.ndarray:
    if len(rows) <= MOST:
        return rows
    return np.sort(np.random.default_rng([seed, DRAWN]).choice(rows, MOST, replace=False))


def _counted(data: Dataset, rows: np.ndarray, count: Count) -> np.ndarray:
    found = [count(data.tokens[:0])]
    for some in blocks(len(rows)):
        tokens = data.tokens[rows[some]]
        found += [count(tokens[at : at + AT_ONCE]) for at in range(0, len(tokens), AT_ONCE)]
    return np.concatenate(found)


def _regression(counts: torch.Tensor, labels: np.ndarray, penalty: float, start: torch.Tensor) -> torch.Tensor:
    """Return weights (1 + D, T), the intercepts first, that minimise the penalised sum of losses."""
    weight = torch.from_numpy(known(labels).astype(np.float32))
    truth = torch.from_numpy((labels == 1).astype(np.float32))
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = torch.addmm(weights[:1].expand(len(truth), -1), counts, weights[1:])
        total = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, weight=weight, reduction="sum")
        total = (total + penalty / 2 * weights[1:].square().sum()) / len(truth)
        total.backward()
        return total

    optimiser.step(loss)
    return weights.detach()
