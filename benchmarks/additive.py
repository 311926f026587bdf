"""A negative control: the sequences of a simulated run, labelled by which motifs they hold, and how many.

Every TF adds a weight of its own for each of its sites; the half of the sequences with the largest sums is positive.
Sites lie in pairs as in the run, but which lie together does not matter. A network is trained, epistasis is scored
within sequences, and every call is a false one.

    python -m benchmarks.usefulness train hard-deep-1
    python -m benchmarks.additive
"""

import argparse
import collections
import csv
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.usefulness import RUNS, command, new_run
from satori_hpc.config import edit
from satori_hpc.run import files as run_files

SOURCE = "hard-deep-1"
WEIGHTS = (1, 0.8, 0.6, 0.4, -0.5, -1)  # of the TFs in alphabetical order, over and over
OUT = Path("benchmarks/results/additive.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/usefulness"), help="where the runs are")
    options = parser.parse_args()
    run = options.folder / "additive"
    if not (run / "run.toml").exists():
        label(options.folder / SOURCE / "truth", run.with_suffix(".fa"), run.with_suffix(".txt"))
        change = {"train.epochs": "8", "score.methods": '["epistasis"]', "score.max_examples": "1500"}
        simulated = ("prepare.", "motifs.database_similarity_max")  # what only simulated sets have
        kept = {name: value for name, value in RUNS[SOURCE].settings().items() if not name.startswith(simulated)}
        files = (
            "--template",
            "fasta",
            "--preset",
            "published",
            "--fasta",
            str(run) + ".fa",
            "--table",
            str(run) + ".txt",
        )
        new_run(run, {**kept, **change}, *files, seed=1)
    for stage in ("prepare", "train", "motifs", "score"):
        command(stage, run)
    lines = ["| calibration | tested TF pairs | called | tested filter pairs | called |", "|---|---|---|---|---|"]
    for calibration in ("empirical", "theoretical"):
        edit.change(run / "run.toml", "reduce.calibration", calibration)
        command("reduce", run)
        told = summary(run, "reduce")["epistasis"]
        counts = (told[name] for name in ("tf_pairs", "called_tf_pairs", "tested_pairs", "called_pairs"))
        lines.append(f"| {told['calibration']} | " + " | ".join(map(str, counts)) + " |")
    examples = summary(run, "score")["foreground_examples"]
    text = [
        "# Epistasis where there is none",
        "",
        f"Made by `python -m benchmarks.additive`, torch {importlib.metadata.version('torch')}, {timing.processor()}.",
        "",
        f"SATORI-deep, test AUROC {summary(run, 'train')['test_auroc']:.3f}, {examples} positives scored.",
        "",
        *lines,
        "",
    ]
    run_files.write_text(OUT, "\n".join(text))
    print(OUT.read_text())


def label(truth: Path, fasta: Path, table: Path) -> None:
    """Write the sequences of a simulated run again, and a table of their additive labels."""
    sites: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with open(truth / "truth.tsv", encoding="utf-8") as handle:
        for row in csv.DictReader(handle, delimiter="\t"):
            sites[row["seq_id"]][row["tf"]] += 1
    lines = (truth / "seqs.fa").read_text().split()
    names, sequences = [line[1:].split(":")[0] for line in lines[::2]], lines[1::2]
    tfs = sorted({tf for counts in sites.values() for tf in counts})
    weight = {tf: WEIGHTS[place % len(WEIGHTS)] for place, tf in enumerate(tfs)}
    total = np.array([sum(weight[tf] * count for tf, count in sites[name].items()) for name in names])
    total += np.random.default_rng(1).normal(0, 0.05, len(total))  # no ties
    positive = (total > np.median(total)).astype(int)
    rows = list(zip(range(len(names)), sequences, positive, strict=True))
    fasta.write_text("".join(f">seq{row}:0-{len(letters)}(+)\n{letters}\n" for row, letters, _ in rows))
    table.write_text("".join(f"seq{row}\t0\t{len(letters)}\t.\t+\t{one}\n" for row, letters, one in rows))


def summary(run: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "provenance" / f"{stage}.json").read_text())["summary"]
    return found


if __name__ == "__main__":
    main()
