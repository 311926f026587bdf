"""Measure the benefit of training on both strands: test AUROC per TF on three ChIP-seq folds of ENCODE.

The set of benchmarks.chipseq_folds, whose peaks have no strand, with `train.reverse_complement` = none, random and
both; the last with half the epochs, which are as many steps. A run that was stopped goes on where it was.

    python -m benchmarks.strands FOLDER WORK
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import chipseq_folds, timing
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, pipeline, provenance
from satori_hpc.run import files as run_files
from satori_hpc.run.layout import Run

OUT = Path("benchmarks/results/strands.md")
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {},
    "random": {"train.reverse_complement": "random"},
    "both": {"train.reverse_complement": "both", "train.epochs": 4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path, help="folder for the runs")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    files = chipseq_folds.pairs(given.folder)
    labels = [label for label, _, _ in files]
    lines = [
        "# Both strands in training",
        "",
        f"Made by `python -m benchmarks.strands {' '.join(sys.argv[1:])}` on {timing.processor()}, torch "
        f"{version('torch')}. Preset `short`, the same split of the data for every row. In brackets 95 % bootstrap "
        "intervals of the test rows.",
        "",
        "| train.reverse_complement | network seed | epochs | steps | validation | " + " | ".join(labels) + " |",
        "|---|---|---|---|---|" + "---|" * len(labels),
    ]
    for seed in range(1, given.seeds + 1):
        for name, changes in VARIANTS.items():
            config = chipseq_folds.configuration(files, {**changes, "train.seed": seed})
            run = chipseq_folds.opened(given.work / f"{name}_{seed}", config)
            for stage in ("prepare", "train"):
                if stage in pipeline.pending(run):
                    execute.execute(run, stage, Runtime(device="cpu"))
            lines.append(row(run, labels))
            run_files.write_text(given.out, "\n".join([*lines, ""]))
    print(given.out.read_text())


def row(run: Run, labels: list[str]) -> str:
    prepared, trained = (provenance.read(run.record(stage)) for stage in ("prepare", "train"))
    assert prepared is not None
    assert trained is not None
    settings = run.config.train
    rows = prepared.summary["train"] * (2 if settings.reverse_complement == "both" else 1)
    steps = -(-rows // settings.batch_size) * trained.summary["epochs"]
    cells = " | ".join(chipseq_folds.auroc(run, label) for label in labels)
    return (
        f"| {settings.reverse_complement} | {settings.seed} | {trained.summary['epochs']} | {steps:,} | "
        f"{trained.summary['valid_auroc']:.3f} | {cells} |"
    )


if __name__ == "__main__":
    main()
