"""The whole pipeline on a genome of Arabidopsis' size: time, peak memory, files and bytes of every stage.

The genome and the 36 peak files of benchmarks.genome_scale, windows of 600 bp, the published basic network, a few
epochs, raw attention of the test chromosome, its shuffled controls as background, and the tests. Every stage is a
command of its own, as a user would start it. A run that was stopped goes on where it was.

    python -m benchmarks.genome_pipeline --work DIR
"""

import argparse
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import genome_scale, timing
from satori_hpc.interactions import tables
from satori_hpc.run import files as run_files
from satori_hpc.run import pipeline, provenance
from satori_hpc.run.layout import Run

OUT = Path("benchmarks/results/genome_pipeline.md")
SATORI = [sys.executable, "-m", "satori_hpc"]
SHOWN = 10
# What the table tells of a stage besides its cost.
TOLD = {
    "prepare": ("windows", "targets", "train", "valid", "test"),
    "train": ("epochs", "valid_auroc", "test_auroc", "examples_per_s"),
    "motifs": ("filters with a motif", "filters with a TF", "TFs"),
    "background": ("examples", "implants per example"),
    "score": ("foreground examples", "background examples", "foreground_examples", "background_examples"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for genome, peaks and run")
    parser.add_argument("--megabases", type=int, default=120)
    parser.add_argument("--files", type=int, default=36)
    parser.add_argument("--peaks", type=int, default=30_000, help="in each file")
    parser.add_argument("--places", type=int, default=125_000, help="that the files share")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    path = options.work / "run"
    if not (path / "run.toml").exists():
        options.work.mkdir(parents=True, exist_ok=True)
        genome_scale.generate(options.work, options)
        files = ("--genome", options.work / "genome.fa", "--peak-table", options.work / "peaks.tsv")
        settings = (
            "prepare.split=arabidopsis",
            f"train.epochs={options.epochs}",
            "score.include_mispredicted=true",
            "score.max_examples=0",
        )
        command = [*SATORI, "new", path, "--template", "genome", "--preset", "published", *files]
        subprocess.run([*command, *(part for each in settings for part in ("--set", each))], check=True)
    run = Run.open(path)
    for stage in pipeline.pending(run):
        name = ["prepare", "--background"] if stage == "background" else [stage]
        subprocess.run([*SATORI, name[0], path, *name[1:]], check=True)
    run_files.write_text(options.out, page(run, options))
    print(options.out.read_text())


def page(run: Run, options: argparse.Namespace) -> str:
    model = run.config.model
    words = (
        f"{options.megabases} Mb, {options.files} files of {options.peaks:,} peaks, made up: every peak "
        f"holds one of four pairs of words, which every fourth file prefers. SATORI-{model.architecture}, "
        f"{model.num_filters} filters of {model.kernel_size} bp, pool {model.pool}, {model.num_heads} heads; "
        f"{run.config.train.epochs} epochs; raw attention, all of the split {run.config.score.split}. "
        "All cores of a machine of two."
    )
    lines = ["| stage | seconds | peak memory, GiB | files | MiB |", "|---|---|---|---|---|"]
    total = 0.0
    told = []
    for stage in pipeline.STAGES:
        record = provenance.read(run.record(stage.name))
        if record is None:
            continue
        total += record.elapsed_s
        files = [each for path in stage.outputs(run) for each in files_of(path)]
        size = sum(each.stat().st_size for each in files) / 2**20
        memory = (record.peak_rss_bytes or 0) / 2**30
        lines.append(f"| {stage.name} | {record.elapsed_s:.0f} | {memory:.2f} | {len(files)} | {size:.1f} |")
        if stage.name in TOLD:
            told.append(f"- {stage.name}: {facts(stage.name, record.summary)}")
    lines.append(f"| together | {total:.0f} | | | |")
    heading = "# The whole pipeline on a genome of Arabidopsis' size"
    return "\n".join([heading, "", made_with(), "", words, "", *lines, "", *told, *strongest(run), ""])


def made_with() -> str:
    """Return command, processor and version."""
    command = " ".join(["python -m benchmarks.genome_pipeline", *sys.argv[1:]])
    return f"Made by `{command}` on {timing.processor()}, torch {version('torch')}."


def files_of(path: Path) -> list[Path]:
    """Return the file, or all files below the folder."""
    return [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path] * path.exists()


def facts(stage: str, summary: dict[str, Any]) -> str:
    """Return numbers of a stage's summary."""
    inner = {key: value for each in summary.values() if isinstance(each, dict) for key, value in each.items()}
    chosen = {key: value for key, value in {**summary, **inner}.items() if key in TOLD[stage]}
    shown = {key: f"{value:.3f}" if isinstance(value, float) else f"{value:,}" for key, value in chosen.items()}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())


def strongest(run: Run) -> list[str]:
    """Return the strongest pairs of TFs."""
    found = tables.read(run.interactions("attention"))
    pairs = pd.read_parquet(run.interactions("attention").with_suffix(".tf.parquet"))
    lines = [
        "",
        f"{int(found['called'].sum()):,} of {int(found['tested'].sum()):,} tested filter pairs are called, "
        f"{int(pairs['called'].sum()):,} of {len(pairs):,} TF pairs. Filters are named by Tomtom; the words are those "
        "of CTCF with GATA1, SPI1 with CEBPA, FOXA1 with NRF1, TP53 with YY1. A word alone tells as much of the labels "
        "as its pair, and raw attention is compared with shuffled controls, which differ from windows in more than "
        "pairs: "
        "this is a record of cost, not of who works together.",
        "",
        "| TFs | called | -log10 p | AUC | median distance, bp |",
        "|---|---|---|---|---|",
    ]
    for row in pairs.sort_values("neg_log10_p", ascending=False).head(SHOWN).itertuples():
        called = "yes" if row.called else "no"
        name = f"{row.tf_a} - {row.tf_b}"
        lines.append(f"| {name} | {called} | {row.neg_log10_p:.1f} | {row.auc:.3f} | {row.median_distance:.0f} |")
    return lines


if __name__ == "__main__":
    main()
