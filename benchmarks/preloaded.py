"""Known motifs pre-loaded as filters beside learned filters: recall ceiling, AUROC and calls on two simulated sets.

    python -m benchmarks.preloaded run --folder F [--set NAME ...] [--network NAME ...]
    python -m benchmarks.preloaded table --folder F      write benchmarks/results/preloaded.md

`run` leaves alone what is complete. Sets: `grammar` of docs/methods.md, and `and-anywhere`, written here after the
design of kundajelab/dfim (Greenside et al. 2018): positives hold a word of ELF1 and one of SIX, negatives one of the
two, at any distance; words of TAL1 and AP1 are in half of all sequences.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.usefulness import command, new_run
from satori_hpc.data import sequence

TABLE = Path("benchmarks/results/preloaded.md")
EXAMPLES, LENGTH, SEED = 6000, 200, 4
WORDS = {"ELF1": "AACCCGGAAGTG", "SIX": "GATAGGGTATCACTAAT", "TAL1": "AACAGATGGT", "AP1": "ATGAGTCATC"}
TRAIN = {
    "train.epochs": "12",
    "train.patience": "0",
    "train.learning_rate": "0.003",
    "train.schedule": "onecycle",
    "train.batch_size": "64",
    "model.num_heads": "4",
    "model.head_dim": "16",
    "model.mixing_size": "64",
    "model.block_widths": "[64]",
    "score.max_examples": "150",
    "score.dfim.baselines": "1",
    "score.dfim.mutations": "1",
    "score.sites.max_sites": "16",
}
LEARNED = {"model.num_filters": "64", "model.kernel_size": "15", "motifs.database_similarity_max": "0.9"}
LOADED = {"model.first_layer": "motifs", "model.preloaded.similarity_max": "0.9"}
NETWORKS = {
    "learned basic": LEARNED,
    "learned deep": {**LEARNED, "model.architecture": "deep"},
    "pre-loaded basic": LOADED,
    "pre-loaded deep": {**LOADED, "model.architecture": "deep"},
}
SETS = {
    "grammar": {
        "prepare.simulated.design": "grammar",
        "prepare.simulated.examples": str(EXAMPLES),
        "prepare.simulated.length": str(LENGTH),
        "prepare.simulated.tfs": "12",
        "prepare.simulated.pairs": "12",
        "prepare.simulated.jaspar_similarity_max": "0.9",
        "score.methods": '["attention", "epistasis"]',
        "score.include_mispredicted": "true",  # learned filters predict too few with confidence
    },
    "and-anywhere": {"score.methods": '["epistasis", "dfim"]', "reduce.max_distance": "0"},
}
HEAD = f"""\
# Known motifs as filters, beside learned filters

`python -m benchmarks.preloaded`: {EXAMPLES:,} sequences of {LENGTH} bp, 12 epochs, seed {SEED}; at most 150 test
positives and negatives are interpreted. Pre-loaded: the JASPAR vertebrate motifs left at similarity .9, frozen, gate at
half of the maximum; learned: 64 filters of 15 bp, named after the same motifs. Recall ceiling: share of the true pairs
both of whose TFs have a filter. First pair: of TFs, by the default
statistic of the method. On grammar, of which no network here learns enough to call a pair, examples are interpreted
whether predicted right or not. Seconds on a core that others used, too.

"""


def write_and_anywhere(folder: Path) -> tuple[Path, Path]:
    """Write sequences and labels of the set `and-anywhere`."""
    rng = np.random.default_rng(SEED)
    fasta, table = folder / "and-anywhere.fa", folder / "and-anywhere.txt"
    places = np.arange(0, LENGTH - 20, 20)
    records, rows = [], []
    for number in range(EXAMPLES):
        label = number % 2
        chosen = ["ELF1", "SIX"] if label else [("ELF1", "SIX")[rng.integers(2)]]
        chosen += [name for name in ("TAL1", "AP1") if rng.random() < 0.5]
        tokens = rng.integers(0, 4, LENGTH).astype(np.uint8)
        for name, place in zip(chosen, rng.choice(places, len(chosen), replace=False), strict=True):
            start = place + rng.integers(21 - len(WORDS[name]))
            tokens[start : start + len(WORDS[name])] = sequence.encode(WORDS[name])
        records.append(f">s{number}:0-{LENGTH}(+)\n{sequence.decode(tokens)}\n")
        rows.append(f"s{number}\t0\t{LENGTH}\t{label}\n")
    fasta.write_text("".join(records))
    table.write_text("".join(rows))
    return fasta, table


def run(root: Path, name: str, network: str) -> None:
    """Make a run, up to its tables; stages that are complete are left alone."""
    path = folder_of(root, name, network)
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        options: tuple[str, ...] = ()
        if name == "and-anywhere":
            fasta, table = write_and_anywhere(root)
            options = ("--template", "fasta", "--preset", "published", "--fasta", str(fasta), "--table", str(table))
        new_run(path, {**TRAIN, **SETS[name], **NETWORKS[network]}, *options, seed=SEED)
    for stage in ("prepare", "train", "motifs", "score", "reduce", *(["evaluate"] if name == "grammar" else [])):
        command(stage, path)


def folder_of(root: Path, name: str, network: str) -> Path:
    return root / f"{name}-{network.replace(' ', '-')}"


def line(root: Path, name: str, network: str) -> str:
    """Return a row of the table."""
    path = folder_of(root, name, network)
    summaries = {stage: summary(path, stage) for stage in ("train", "motifs", "reduce")}
    motifs, methods = summaries["motifs"], json.loads(SETS[name]["score.methods"])
    seconds = json.loads((path / "provenance" / "train.json").read_text())["elapsed_s"]
    filters = motifs.get("active motifs", motifs.get("filters with a TF"))
    cells = [name, network, f"{summaries['train']['test_auroc']:.3f}", f"{seconds:.0f}"]
    cells.append(f"{filters} of {motifs.get('known motifs', motifs.get('filters'))}")
    ceiling = ""
    if name == "grammar":
        evaluation = json.loads((path / "evaluation.json").read_text())
        ceiling = f"{evaluation['truth']['recall_ceiling']:.2f}"
    cells.append(ceiling)
    for method in methods:
        told = summaries["reduce"][method]
        pairs = pd.read_parquet(path / "interactions" / f"{method}.tf.parquet").sort_values(["q", "p"])
        best = pairs.iloc[0] if len(pairs) else None
        first = "none" if best is None else f"{best['tf_a']} x {best['tf_b']}, q {best['q']:.1e}"
        cells.append(f"{method}: {told['called_tf_pairs']} of {told['tf_pairs']}; first {first}")
    return "| " + " | ".join(cells) + " |"


def summary(run_folder: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_folder / "provenance" / f"{stage}.json").read_text())["summary"]
    return found


def table(root: Path) -> None:
    """Write the table of all runs that are complete."""
    head = [
        "set",
        "network",
        "test AUROC",
        "training, s",
        "active or named",
        "recall ceiling",
        "TF pairs called of tested",
        "by the other method",
    ]
    there = [
        each
        for each in itertools.product(SETS, NETWORKS)
        if (folder_of(root, *each) / "provenance" / "reduce.json").exists()
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *(line(root, *each) for each in there)]
    TABLE.write_text(HEAD + "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--set", action="append", choices=SETS, dest="sets")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    asked = parser.parse_args()
    if asked.what == "table":
        table(asked.folder)
        return
    for each in itertools.product(asked.sets or SETS, asked.network or NETWORKS):
        run(asked.folder, *each)


if __name__ == "__main__":
    main()
