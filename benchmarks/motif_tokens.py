"""Attention over motif tokens on simulated designs, compared with a regression that is given the pairs.

12,000 sequences, 157 JASPAR motifs that are not alike, of which 12 are implanted. The regression of pairs is logistic:
counts of the implanted motifs among the winners of overlapping hits, and for every two of them whether they lie within
20 (45, any number of) bp; the best of the three on the test part. The network is told nothing but all 157 motifs.

    python -m benchmarks.motif_tokens

One thread; every figure is of the test part (a tenth); seconds are of this process on the CPU.
"""

import argparse
import importlib.metadata
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import timing
from satori_hpc.config import Simulated, Train
from satori_hpc.config.motif_tokens import MotifTokens as Settings
from satori_hpc.data.sources.simulate import implant, instances, pool
from satori_hpc.models import predict
from satori_hpc.models.motif_tokens import MotifTokenNetwork
from satori_hpc.motifs import collection, readers
from satori_hpc.motifs import hits as motif_hits
from satori_hpc.motifs.hits import Hits
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import Gate, MotifBank
from satori_hpc.parallel.signals import StopRequest
from satori_hpc.training import metrics
from satori_hpc.training.loop import Trainer, TrainingCallback

OUT = Path("benchmarks/results/motif_tokens.md")
DESIGNS = {"grammar": 200, "arrange": 240}  # bp
EXAMPLES, TRAINING, VALIDATION = 12_000, 9_600, 1_200
RANGES = (20, 45, 10_000)  # bp
MOST = 3  # counts beyond it are no different
TRAIN = Train(
    epochs=12, patience=0, batch_size=64, learning_rate=3e-3, schedule="onecycle", weight_decay=1e-5, max_grad_norm=1.0
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--filters", nargs="+", type=int, default=[0, 32], help="learned filters beside the motifs")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = readers.jaspar(release="JASPAR2026", collection="CORE", groups=("vertebrates",))
    motifs = collection.thin(known, 0.8)
    rows = []
    for design in options.designs:
        for seed in options.seeds:
            for row in measured(design, seed, motifs, options.filters):
                rows.append(row)
                print(row, flush=True)
                options.out.write_text(page(rows, len(motifs)), encoding="utf-8")  # what there is, should it be killed


def page(rows: list[dict[str, Any]], motifs: int) -> str:
    """Return the table of results, with how it was made."""
    columns = list(rows[0])
    lines = [
        "# Attention over motif tokens",
        "",
        f"Made by `python -m benchmarks.motif_tokens`, torch {importlib.metadata.version('torch')}, "
        f"{timing.processor()}, one thread, {motifs} motifs, {EXAMPLES:,} sequences. Test AUROC of the network, "
        "of the regression of pairs that is told which 12 motifs matter, and of counts of these motifs; CPU seconds "
        "of finding all hits and of training.",
        "",
        "| " + " | ".join(columns) + " |",
        "|---" * len(columns) + "|",
        *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def measured(design: str, seed: int, motifs: list[Motif], filters: list[int]) -> Iterator[dict[str, Any]]:
    """Return the rows of one set."""
    config = Simulated(
        design=design, examples=EXAMPLES, length=DESIGNS[design], tfs=12, pairs=12, motif_information_min=12.0,
        motif_similarity_max=0.75, jaspar_similarity_max=0.8,
    )  # fmt: skip
    chosen = pool.select(motifs, config, seed=seed)
    background = np.asarray(config.base_frequencies)
    pwms = [instances.make_pwm(item.name, np.asarray(item.counts), background=background) for item in chosen]
    made = implant.simulate(pwms, pool.draw_roles(config, seed=seed), config, seed=seed)
    bank = MotifBank.from_motifs(motifs, background=background)
    bank.scan(made.tokens[:1])  # compile
    began = time.process_time()
    found = motif_hits.winners(bank.scan(made.tokens, Gate()))
    scanning = time.process_time() - began
    implanted = np.array([bank.names.index(item.name) for item in chosen])
    counts, *pairs = (regression(found, implanted, made.labels, reach) for reach in (-1, *RANGES))
    for number in filters:
        seconds, epoch, auroc = trained(made.tokens, made.labels, bank, number, seed=seed)
        row = {
            "design": design, "seed": seed, "learned filters": number, "network": f"{auroc:.3f}",
            "pairs": f"{max(pairs):.3f}", "network / pairs": f"{auroc / max(pairs):.3f}", "counts": f"{counts:.3f}",
            "hits, s": f"{scanning:.1f}", "training, s": f"{seconds:.1f}", "best epoch": epoch,
            "hits per sequence": f"{len(found) / EXAMPLES:.1f}",
        }  # fmt: skip
        yield row


class _Nothing(TrainingCallback):
    """Keep nothing on disk."""

    def best(self, trainer: Trainer) -> None: ...

    def state(self, trainer: Trainer) -> None: ...

    def history(self, trainer: Trainer) -> None: ...


def trained(tokens: np.ndarray, labels: np.ndarray, bank: MotifBank, filters: int, *, seed: int) -> tuple[float, ...]:
    """Return (CPU seconds, best epoch, test AUROC) of a network."""
    torch.manual_seed(seed)
    labels = labels[:, None].astype(np.uint8)
    model = MotifTokenNetwork(Settings(num_filters=filters), bank, length=tokens.shape[1], targets=1, task="binary")
    train, valid = slice(0, TRAINING), slice(TRAINING, TRAINING + VALIDATION)
    test = slice(TRAINING + VALIDATION, None)
    began = time.process_time()
    trainer = Trainer(
        model, TRAIN, seed=seed, train=(tokens[train], labels[train]),
        valid=(tokens[valid], labels[valid]), batch_size=256,
    )  # fmt: skip
    trainer.fit(_Nothing(), StopRequest())
    seconds = time.process_time() - began
    model.load_state_dict(trainer.best_weights)
    logits = predict.predict(model, tokens[test], batch_size=256).numpy()
    return seconds, trainer.progress.best_epoch, metrics.classification(labels[test], logits).auroc


def regression(hits: Hits, implanted: np.ndarray, labels: np.ndarray, reach: int) -> float:
    """Test AUROC of a logistic regression of counts of the implanted motifs, and of their pairs within reach (bp)."""
    number = np.full(hits.motif.max() + 1, -1)
    number[implanted] = np.arange(len(implanted))
    chosen = hits.take(number[hits.motif] >= 0)
    motif, count = number[chosen.motif], len(implanted)
    table = np.zeros((len(labels), 1 + count + count**2))
    np.add.at(table, (chosen.example, 1 + motif), 1)
    table = np.minimum(table, MOST)
    table[:, 0] = 1
    for step in range(1, len(chosen)):  # a hit and the step-th behind it
        same = chosen.example[step:] == chosen.example[:-step]
        gap = np.maximum(chosen.start[step:], chosen.start[:-step]) - np.minimum(chosen.end[step:], chosen.end[:-step])
        near = same & (gap >= 0) & (gap <= reach) & (motif[step:] != motif[:-step])
        pair = np.minimum(motif[step:], motif[:-step]) * count + np.maximum(motif[step:], motif[:-step])
        table[chosen.example[step:][near], 1 + count + pair[near]] = 1
        if not same.any():
            break
    table = table[:, table.any(axis=0)]
    weights = _logistic(table[:TRAINING], labels[:TRAINING].astype(float))
    test = slice(TRAINING + VALIDATION, None)
    return metrics.classification(labels[test][:, None], (table[test] @ weights)[:, None]).auroc


def _logistic(table: np.ndarray, labels: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """Return weights of a logistic regression by Newton's method; the first column is free of the ridge."""
    weights, penalty = np.zeros(table.shape[1]), np.full(table.shape[1], ridge)
    penalty[0] = 1e-6
    for _ in range(25):
        chance = 1 / (1 + np.exp(-np.clip(table @ weights, -30, 30)))
        curvature = (table * (chance * (1 - chance) + 1e-9)[:, None]).T @ table + np.diag(penalty)
        weights += np.linalg.solve(curvature, table.T @ (labels - chance) - penalty * weights)
    return weights


if __name__ == "__main__":
    main()
