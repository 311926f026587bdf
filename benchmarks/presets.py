"""Does the default preset beat a regression on 6-mers? Fly promoters, three ChIP-seq sets, a slice of Arabidopsis.

Test AUROC of the network and of the logistic regression that `train` fits beside it, on the same examples, and of their
difference, with percentiles of 1,000 paired bootstrap samples of the test examples. Variants of the preset are compared
by validation AUROC alone, over seeds; test figures are of the preset as it is. A run that was stopped continues.

FOLDER holds drosophila_promoters/ (promoters.fa.gz, promoters.txt), encode_chipseq/ (NAME_AC.seq.gz, NAME_B.seq.gz)
and arabidopsis_1pct/ (genome.fa.gz, genes.gff3.gz).

    python -m benchmarks.presets FOLDER WORK
"""

import argparse
import gzip
import itertools
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks import arabidopsis_slice, chipseq_folds, timing
from satori_hpc.config import Config, toml
from satori_hpc.data.dataset import Dataset
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, files, new, provenance
from satori_hpc.run.layout import Run
from satori_hpc.training import baseline, predictions

OUT = Path("benchmarks/results/presets.md")
PEAKS = {"": 4_000, ", 300 peaks": 300}  # of a training fold
SEEDS = (1, 2, 3)
TOKENS = "model.motif-tokens"
VARIANTS: dict[str, dict[str, Any]] = {
    "motifs": {},
    "no 6-mers": {f"{TOKENS}.kmers": False},
    "8 filters": {f"{TOKENS}.num_filters": 8},
    "dropout .3": {f"{TOKENS}.dropout": 0.3, f"{TOKENS}.hit_dropout": 0.3},
    "weight decay 1e-3": {"train.weight_decay": 1e-3},
    "batch 16": {"train.batch_size": 16},
    "40 epochs": {"train.epochs": 40},
    "8 filters, batch 16": {f"{TOKENS}.num_filters": 8, "train.batch_size": 16},
    "dropout .3, batch 16": {f"{TOKENS}.dropout": 0.3, f"{TOKENS}.hit_dropout": 0.3, "train.batch_size": 16},
}
DRAWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path, help="folder for the runs")
    parser.add_argument("--sets", nargs="+", help="names of sets; default: all")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["motifs"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    runtime = Runtime(device="cpu", threads=given.threads)
    found: dict[str, dict[str, list[list[Run]]]] = {}
    for name, configs in sets(given.folder, given.work).items():
        if given.sets and name not in given.sets:
            continue
        found[name] = {}
        for variant in given.variants:
            seeds = SEEDS if len(given.variants) > 1 else SEEDS[:1]
            found[name][variant] = [
                [trained(given.work, name, variant, seed, each, runtime) for each in configs] for seed in seeds
            ]
    text = page(found)
    files.write_text(given.out, text)
    print(text)


def sets(folder: Path, work: Path) -> dict[str, list[Config]]:
    """Return the configurations of every set; several make one set, each with test examples of its own."""
    fly = folder / "drosophila_promoters"
    made = new.fasta(str((fly / "promoters.fa.gz").resolve()), str((fly / "promoters.txt").resolve()), seed=1)
    found = {"fly promoters": [toml.replace(made, f"{TOKENS}.jaspar_groups", ("insects",))]}
    for (tf, train, test), (words, peaks) in itertools.product(
        chipseq_folds.pairs(folder / "encode_chipseq"), PEAKS.items()
    ):
        cut = work / f"{tf}_{peaks}.seq.gz"
        cut_fold(Path(train), cut, peaks)
        found[f"{tf} ChIP-seq{words}"] = [new.folds([(tf, str(cut.resolve()), test)], seed=1)]
    slice_files = [str((folder / "arabidopsis_1pct" / name).resolve()) for name in ("genome.fa.gz", "genes.gff3.gz")]
    found["Arabidopsis slice, five contigs"] = [of_contig(slice_files, contig) for contig in arabidopsis_slice.CONTIGS]
    return found


def of_contig(names: list[str], contig: str) -> Config:
    """Return the configuration that tests on a contig, as benchmarks.arabidopsis_slice does."""
    contigs = arabidopsis_slice.CONTIGS
    made = new.genome(names[0], annotation=names[1], promoters=arabidopsis_slice.UPSTREAM, seed=1)
    for key, value in {
        "prepare.genome.window": arabidopsis_slice.WINDOW,
        "prepare.test_chromosomes": (contig,),
        "prepare.valid_chromosomes": (contigs[contigs.index(contig) - 2],),
        f"{TOKENS}.jaspar_groups": ("plants",),
    }.items():
        made = toml.replace(made, key, value)
    return made


def cut_fold(source: Path, to: Path, peaks: int) -> None:
    """Write the header and so many rows of a training fold, drawn by a fixed seed."""
    if to.exists():
        return
    header, *rows = gzip.decompress(source.read_bytes()).splitlines(keepends=True)
    drawn = np.sort(np.random.default_rng(1).choice(len(rows), min(peaks, len(rows)), replace=False))
    to.write_bytes(gzip.compress(b"".join([header, *(rows[each] for each in drawn)]), mtime=0))


def trained(work: Path, name: str, variant: str, seed: int, config: Config, runtime: Runtime) -> Run:
    """Return the run of a set and a variant, prepared and trained."""
    words = (name, ",".join(config.prepare.test_chromosomes), variant, f"seed {seed}")
    path = work / " ".join(filter(None, words)).replace(" ", "_").replace(",", "")
    if not (path / "run.toml").exists():
        for key, value in {**VARIANTS[variant], "train.seed": seed}.items():
            config = toml.replace(config, key, value)
        new.new(path, config=config)
    run = Run.open(path)
    for stage in ("prepare", "train"):
        if provenance.read(run.record(stage)) is None:
            execute.execute(run, stage, runtime)
    return run


def page(found: dict[str, dict[str, list[list[Run]]]]) -> str:
    lines = [
        "# The default preset beside a regression on 6-mers",
        "",
        f"Made by `python -m benchmarks.presets FOLDER WORK` on {timing.processor()}, torch {version('torch')}, one "
        "thread, on a machine that others used, too. Preset `motifs` as `new` writes it, motifs of the right group, "
        f"seed 1; in brackets 95 % intervals of {DRAWS:,} paired bootstrap samples of the test examples.",
        "",
        "| set | train / valid / test | network | 6-mers | network - 6-mers | motif counts | training, s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [row(name, variants["motifs"][0]) for name, variants in found.items() if "motifs" in variants]
    variants = list(next(iter(found.values())))
    if len(variants) > 1:
        lines += [
            "",
            f"Mean validation AUROC of seeds {', '.join(map(str, SEEDS))}, by which a variant may be chosen:",
            "",
        ]
        lines += ["| set | " + " | ".join(variants) + " | 6-mers |", "|---|" + "---|" * (len(variants) + 1)]
        for name, by_variant in found.items():
            cells = [
                np.mean([summary(run)["valid_auroc"] for runs in by_variant[each] for run in runs]) for each in variants
            ]
            kmers = np.mean([summary(run)["valid_auroc_kmers"] for run in by_variant[variants[0]][0]])
            lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in (*cells, kmers)) + " |")
    return "\n".join([*lines, ""])


def summary(run: Run) -> dict[str, Any]:
    record = provenance.read(run.record("train"))
    assert record is not None
    return record.summary


def row(name: str, runs: list[Run]) -> str:
    """Return a row of the table: means over the runs of a set."""
    told, drawn, sizes = [], [], np.zeros(3, dtype=int)
    for run in runs:
        data = Dataset(run.dataset)
        fitted = baseline.fit(data, baseline.kmers, seed=run.config.seed)
        rows = fitted.rows["test"]
        labels, network = data.labels[rows, 0], predictions.read(run.predictions)[0][rows, 0]
        scores = (network, fitted.scores["test"][:, 0])
        sizes += [len(data.rows(split)) for split in ("train", "valid", "test")]
        told.append([roc_auc_score(labels, each) for each in scores])
        drawn.append([[roc_auc_score(labels[some], each[some]) for each in scores] for some in samples(labels)])
    network, kmers = np.mean(told, axis=0)
    low, high = np.percentile(with_difference(np.mean(drawn, axis=0)), [2.5, 97.5], axis=0)
    values = with_difference(np.array([[network, kmers]]))[0]
    cells = [f"{value:.3f} ({a:.3f}, {b:.3f})" for value, a, b in zip(values, low, high, strict=True)]
    counts = np.mean([summary(run)["test_auroc_motif_counts"] for run in runs])
    seconds = sum(summary(run)["epochs"] * sizes[0] / len(runs) / summary(run)["examples_per_s"] for run in runs)
    return (
        f"| {name} | {' / '.join(f'{each:,}' for each in sizes)} | {' | '.join(cells)} | {counts:.3f} | {seconds:.0f} |"
    )


def with_difference(pairs: np.ndarray) -> np.ndarray:
    return np.column_stack([pairs, pairs[:, 0] - pairs[:, 1]])


def samples(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Draw DRAWS bootstrap samples of examples that hold both classes."""
    rng, done = np.random.default_rng(1), 0
    while done < DRAWS:
        some = rng.integers(len(labels), size=len(labels))
        if 0 < labels[some].sum() < len(labels):
            done += 1
            yield some


if __name__ == "__main__":
    main()
