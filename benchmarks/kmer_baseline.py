"""Compare a finished run's test AUROC with that of a logistic regression on canonical 6-mer counts, on the same split.

The regression learns from the training examples, its penalty is chosen by validation AUROC, as the network is, and
both are judged on the same test examples. Counts are per sequence, of a k-mer and its reverse complement together;
k-mers that hold a letter other than A, C, G, T do not count.

    python -m benchmarks.kmer_baseline RUN
"""

import argparse
import importlib.metadata
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import MaxAbsScaler

from satori_hpc.data.dataset import Dataset
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.training import predictions

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory in which train has finished; binary labels")
    parser.add_argument("--k", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kmer_baseline.md"))
    options = parser.parse_args()
    run = Run.open(options.run)
    data = Dataset(run.dataset)
    labels = data.labels[:, 0]
    train, valid, test = (data.rows(name) for name in ("train", "valid", "test"))
    counts = canonical_counts(data.tokens[:], options.k)
    counts = MaxAbsScaler().fit(counts[train]).transform(counts)
    best, chosen = max(
        (roc_auc_score(labels[valid], regression(counts[train], labels[train], c).decision_function(counts[valid])), c)
        for c in PENALTIES
    )
    fitted = regression(counts[train], labels[train], chosen).decision_function(counts)
    network = predictions.read(run.predictions)[1][:, 0]
    lines = [
        f"| {name} | {roc_auc_score(labels[valid], score[valid]):.4f} | {roc_auc_score(labels[test], score[test]):.4f} "
        f"| {average_precision_score(labels[test], score[test]):.4f} |"
        for name, score in (
            ("this package, SATORI-" + run.config.model.architecture, network),
            ("6-mer logistic regression", fitted),
        )
    ]
    text = "\n".join(
        [
            f"# {run.path.name}: network and k-mer regression",
            "",
            f"Made by `python -m benchmarks.kmer_baseline {run.path.name}`; {versions('scikit-learn', 'torch')}. "
            f"{len(train)} training, {len(valid)} validation, {len(test)} test examples, seed {run.config.seed}; "
            f"C = {chosen} by validation AUROC ({best:.4f}).",
            "",
            "| model | validation AUROC | test AUROC | test AUPR |",
            "|---|---|---|---|",
            *lines,
            "",
        ]
    )
    files.write_text(options.out, text)
    print(text)


def canonical_counts(tokens: np.ndarray, k: int) -> sparse.csr_matrix:
    """Return counts (E, canonical k-mers) of token codes (E, L)."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens, k, axis=1).astype(np.int64)
    whole = (windows < 4).all(axis=2)
    powers = 4 ** np.arange(k - 1, -1, -1)
    forward = windows @ powers
    backward = (3 - windows) @ powers[::-1]
    codes = np.minimum(forward, backward)
    example = np.broadcast_to(np.arange(len(tokens))[:, None], codes.shape)[whole]
    table = sparse.csr_matrix(
        (np.ones(len(example)), (example, codes[whole])), shape=(len(tokens), 4**k), dtype=np.float64
    )
    return table[:, np.flatnonzero(table.getnnz(axis=0))]


def versions(*libraries: str) -> str:
    """Return libraries with their versions."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)


def regression(counts: sparse.csr_matrix, labels: np.ndarray, c: float) -> LogisticRegression:
    """Return a fitted regression with an L2 penalty of 1 / c."""
    return LogisticRegression(C=c, max_iter=2000).fit(counts, labels)


if __name__ == "__main__":
    main()
