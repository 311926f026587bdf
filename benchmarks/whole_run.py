"""Shared parts of records of whole runs: filters named, interactions, and track files as read by other programs."""

import warnings
from pathlib import Path

import bioframe
import numpy as np
import pandas as pd
import pybigtools
import pyBigWig

from satori_hpc.interactions import tables
from satori_hpc.run.layout import Run
from satori_hpc.sites import store as motif_store

HEADINGS = {
    "attention": "raw attention",
    "attribution": "attention attribution",
    "epistasis": "epistasis",
}


def named_filters(run: Run) -> str:
    """Return how many filters have a motif and a name, and the names with the smallest q."""
    table = motif_store.read_tf(run.motifs)
    named = table[table["named"].astype(bool)].sort_values("q")
    count = f"{len(named)} of {run.config.model.num_filters} filters are named ({len(table)} have a motif)"
    return count + (f": {', '.join(dict.fromkeys(named['tf']))}." if len(named) else ".")


def interactions(run: Run, method: str, *, shown: int) -> list[str]:
    """Format the tested and called pairs of a method, and its strongest TF pairs, as Markdown."""
    filters = tables.read(run.interactions(method))
    table = tables.read_tf(run.interactions(method))
    ranked = table.sort_values("neg_log10_p", ascending=False, kind="stable")
    lines = [
        "",
        f"## Strongest interactions, {HEADINGS[method]}",
        "",
        f"{int(filters['called'].sum()):,} of {int(filters['tested'].sum()):,} tested filter pairs called, "
        f"{int(table['called'].sum()):,} of {len(table):,} TF pairs.",
    ]
    if not len(ranked):
        return lines
    lines += [
        "",
        "| TFs | called | -log10 p | AUC | filter pairs called | median distance, bp |",
        "|---|---|---|---|---|---|",
    ]
    for _, row in ranked.head(shown).iterrows():
        lines.append(
            f"| {row['tf_a']} - {row['tf_b']} | {'yes' if row['called'] else 'no'} | {row['neg_log10_p']:.1f} "
            f"| {row['auc']:.3f} | {row['called_filter_pairs']} of {row['filter_pairs']} "
            f"| {row['median_distance']:.0f} |"
        )
    return lines


def track_files(folder: Path) -> list[str]:
    """Format every file of a track set, with its content as read by other programs, as Markdown.

    Raises:
        SystemExit: two programs read different numbers, or other ones than the text files hold.
    """
    lines = ["| file | kB | holds |", "|---|---|---|"]
    for path in sorted(folder.iterdir()):
        lines.append(f"| `{path.name}` | {path.stat().st_size / 1000:,.1f} | {_holds(path)} |")
    return lines


def _holds(path: Path) -> str:
    if path.suffix == ".bb":
        ours = pyBigWig.open(str(path))
        counts = [sum(len(ours.entries(chrom, 0, size) or []) for chrom, size in ours.chroms().items())]
        with pybigtools.open(str(path)) as other:
            counts.append(sum(1 for chrom in other.chroms() for _ in other.records(chrom)))
        text = path.with_suffix("") if path.name.endswith(".interact.bb") else path.with_suffix(".bed")
        return f"{_same(path, [*counts, len(_bed(text))]):,} rows (pyBigWig, pybigtools, bioframe of the text)"
    if path.suffix == ".bw":
        ours = pyBigWig.open(str(path))
        counts = [ours.header()["nBasesCovered"]]
        with pybigtools.open(str(path)) as other:
            counts.append(other.info()["summary"]["basesCovered"])
        return f"{_same(path, counts):,} letters (pyBigWig, pybigtools)"
    if path.suffix in (".bed", ".interact"):
        return f"{len(_bed(path)):,} rows (bioframe)"
    if path.suffix == ".npz":
        with np.load(path) as file:
            return f"{file['arr_0'].dtype} {file['arr_0'].shape}"
    if path.suffix == ".sizes":
        return f"{len(path.read_text().splitlines()):,} chromosomes"
    return ""


def _bed(path: Path) -> pd.DataFrame:
    """Return the rows as bioframe reads them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = lines[1].lstrip("#").split("\t")
    if len(lines) == 2:
        return pd.DataFrame(columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are more columns than BED has
        table = bioframe.read_table(path, schema=names, skiprows=2, header=None, keep_default_na=False)
    if not bioframe.is_bedframe(table):
        raise SystemExit(f"{path}: bioframe does not take it for intervals")
    return table


def _same(path: Path, counts: list[int]) -> int:
    if len(set(counts)) > 1:
        raise SystemExit(f"{path}: other programs read {counts}")
    return counts[0]
