"""What is called on real sets by the default preset, and on the same sequences with permuted labels?

Fly promoters, three ChIP-seq sets and a slice of Arabidopsis (benchmarks.presets has their files), each trained,
scored and reduced by preset `motifs`, by the default statistic of each method; the published test beside. Permuted: all
sequences as a FASTA file, their labels in random order; every test sequence is interpreted, as no network is sure of
such labels. A run that was stopped continues.

    python -m benchmarks.real_calls FOLDER WORK [--sets NAME ...]
"""

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks import presets, timing
from satori_hpc.config import Config, toml
from satori_hpc.data import sequence
from satori_hpc.data.dataset import Dataset
from satori_hpc.interactions import tables
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, files, new, provenance
from satori_hpc.run.layout import Run

OUT = Path("benchmarks/results/real_calls.md")
SETS = ("fly promoters", "ARID3A ChIP-seq", "FOXM1 ChIP-seq", "GATA3 ChIP-seq", "Arabidopsis slice, five contigs")
SHOWN = 5  # pairs named in the table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path, help="folder for the runs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    runtime = Runtime(device="cpu", threads=1)
    lines = []
    for name, configs in presets.sets(given.folder, given.work).items():
        if name not in given.sets:
            continue
        run = presets.trained(given.work, name, "motifs", 1, configs[0], runtime)
        lines += rows(name, finished(run, runtime))
        lines += rows(f"{name}, permuted labels", finished(permuted(run, configs[0]), runtime))
    files.write_text(given.out, page(lines))
    print(page(lines))


def finished(run: Run, runtime: Runtime) -> Run:
    """Return the run after its reduction."""
    for stage in ("prepare", "train", "motifs", "score", "reduce"):
        if provenance.read(run.record(stage)) is None:
            execute.execute(run, stage, runtime)
    return run


def permuted(run: Run, config: Config) -> Run:
    """Return a run of the same sequences and network, with the labels of all sequences in random order."""
    path = run.path.with_name(run.path.name + "_permuted")
    if (path / "run.toml").exists():
        return Run.open(path)
    data = Dataset(run.dataset)
    labels = np.random.default_rng([1, *b"permuted"]).permutation(data.labels[:, 0])
    fasta, table = (path.with_name(path.name + ending) for ending in (".fa", ".txt"))
    tokens = data.tokens[: len(labels)]
    fasta.write_text("".join(f">seq{row}\n{sequence.decode(letters)}\n" for row, letters in enumerate(tokens)))
    table.write_text("".join(f"seq{row}\t0\t{data.length}\t{label}\n" for row, label in enumerate(labels.tolist())))
    made = new.fasta(str(fasta.resolve()), str(table.resolve()), seed=1)
    for key, value in {
        "model.motif-tokens.jaspar_groups": toml.child(config.model, "motif-tokens").jaspar_groups,
        "motifs.min_probability": 0.0,
        "score.include_mispredicted": True,
    }.items():
        made = toml.replace(made, key, value)
    return new.new(path, config=made)


def rows(name: str, run: Run) -> list[str]:
    """Return a row per method."""
    found = []
    summary = provenance.read(run.record("train"))
    assert summary is not None
    for method in run.config.score.methods:
        table = tables.read_tf(run.interactions(method))
        called = table[table["called"]]
        pairs = [f"{a} × {b}" for a, b in zip(called["tf_a"], called["tf_b"], strict=True)]
        more = f", {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        told = [
            name,
            f"{summary.summary['test_auroc']:.3f}",
            method,
            str(len(table)),
            str(int(table["published_called"].sum())),
        ]
        found.append("| " + " | ".join([*told, str(len(pairs)), ", ".join(pairs[:SHOWN]) + more]) + " |")
    return found


def page(lines: list[str]) -> str:
    head = [
        "# Calls on real sets, and with permuted labels",
        "",
        f"Made by `python -m benchmarks.real_calls FOLDER WORK` on {timing.processor()}, torch {version('torch')}, one "
        "thread. Preset `motifs`, seed 1, the default statistic of each method; TF pairs.",
        "",
        "| set | test AUROC | method | tested | called, published test | called | called pairs, by table order |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *lines, ""])


if __name__ == "__main__":
    main()
