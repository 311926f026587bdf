"""Prepare a genome of Arabidopsis' size: time, peak memory and output, with one process and two ranks.

A generated genome of 120 Mb in five chromosomes and 36 files of 30,000 peaks each, at places that several
samples share, as open chromatin is shared. Every place is of one of four kinds; it holds two words of that kind, a few
letters apart, and is taken more often by every fourth sample: something to learn.

    python -m benchmarks.genome_scale
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import timing
from satori_hpc.run import files

OUT = Path("benchmarks/results/genome_scale.md")
MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
LETTERS = np.frombuffer(b"ACGTacgtN", dtype=np.uint8)
SHARES = (0.25, 0.165, 0.195, 0.155, 0.235)  # of the genome, by chromosome
# What the places hold, in pairs: consensus words of JASPAR's CTCF, GATA1, SPI1, CEBPA, FOXA1, NRF1, TP53 and YY1.
WORDS = (
    (b"CCACTAGGGGGCA", b"AGATAAGA"),
    (b"AAAGAGGAAGTG", b"ATTGCACAATA"),
    (b"TGTTTACTTAG", b"GCGCATGCGCG"),
    (b"GGACATGTCCGGACA", b"CAAGATGGCGGC"),
)
PREFERENCE = 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabases", type=int, default=120)
    parser.add_argument("--files", type=int, default=36)
    parser.add_argument("--peaks", type=int, default=30_000, help="in each file")
    parser.add_argument("--places", type=int, default=125_000, help="that the files share")
    parser.add_argument("--keep", type=Path, help="folder to leave genome, peaks and run in")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        generate(folder, options)
        alone = measure(folder / "alone", folder, ranks=1)
        both = measure(folder / "both", folder, ranks=2)
    same = alone.pop("digest") == both.pop("digest")
    lines = ["| | one process | two ranks |", "|---|---|---|"]
    lines += [f"| {name} | {alone[name]} | {both[name]} |" for name in alone]
    words = (
        f"{options.megabases} Mb in five chromosomes, {options.files} files of {options.peaks:,} peaks; windows of "
        f"600 bp, overlap 200. The bytes of both data sets are {'the same' if same else 'DIFFERENT'}. Peak memory is "
        "that of the largest process."
    )
    heading = "# A data set from a genome of Arabidopsis' size"
    files.write_text(options.out, "\n".join([heading, "", timing.made_with("torch"), "", words, "", *lines, ""]))
    print(options.out.read_text())


def generate(folder: Path, options: argparse.Namespace) -> None:
    """Return genome.fa and peaks.tsv with its files."""
    rng = np.random.default_rng(0)
    lengths = np.array([int(options.megabases * 1e6 * share) for share in SHARES])
    chrom = rng.choice(5, options.places, p=lengths / lengths.sum())
    middle = (rng.random(options.places) * (lengths[chrom] - 2000)).astype(np.int64) + 1000
    kind = rng.integers(0, len(WORDS), options.places)
    with open(folder / "genome.fa", "wb") as out:
        for number, length in enumerate(lengths.tolist()):
            here = np.flatnonzero(chrom == number)
            letters = chromosome(length, middle[here], kind[here], rng)
            out.write(b">Chr%d\n" % (number + 1))
            lines = np.full((-(-length // 60), 61), ord("\n"), dtype=np.uint8)
            lines[:, :60] = np.concatenate([letters, np.full(-length % 60, ord("A"), dtype=np.uint8)]).reshape(-1, 60)
            out.write(lines.tobytes())
    share = rng.beta(0.5, 1.5, options.places)
    rows = []
    for number in range(options.files):
        weight = np.where(kind == number % len(WORDS), PREFERENCE * share, share)
        chosen = rng.choice(options.places, options.peaks, replace=False, p=weight / weight.sum())
        at = middle[chosen] + rng.integers(-60, 60, options.peaks)
        size = rng.integers(150, 600, options.peaks)
        text = [f"Chr{c + 1}\t{a - s // 2}\t{a + s // 2}\n" for c, a, s in zip(chrom[chosen], at, size, strict=True)]
        (folder / f"sample_{number:02d}.bed").write_text("".join(text))
        rows.append(f"sample_{number:02d}.bed\tsample {number}\n")
    (folder / "peaks.tsv").write_text("".join(rows))


def chromosome(length: int, middle: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the bases of a chromosome, uint8 (length,), with motif words around each position."""
    shares = [0.27, 0.155, 0.155, 0.27, 0.05, 0.0245, 0.0245, 0.05, 0.001]
    letters = LETTERS[rng.choice(len(LETTERS), length, p=shares)]
    gaps = rng.integers(5, 30, len(middle))
    for at, which, gap in zip(middle.tolist(), kind.tolist(), gaps.tolist(), strict=True):
        first, second = WORDS[which]
        text = np.frombuffer(first + second, dtype=np.uint8)
        begin = at + len(first)
        letters[at:begin] = text[: len(first)]
        letters[begin + gap : begin + gap + len(second)] = text[len(first) :]
    return letters


def measure(run: Path, folder: Path, *, ranks: int) -> dict[str, str]:
    """Return figures of `prepare` in a new run."""
    files = ("--genome", folder / "genome.fa", "--peak-table", folder / "peaks.tsv")
    satori = [sys.executable, "-m", "satori_hpc"]
    settings = ("--set", "prepare.split=arabidopsis")
    subprocess.run(
        [*satori, "new", run, "--template", "genome", "--preset", "published", *files, *settings],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    many = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    began = time.monotonic()
    subprocess.run([*many, *satori, "prepare", run], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    record = json.loads((run / "provenance" / "prepare.json").read_text())
    stored = [path for path in sorted((run / "dataset.zarr").rglob("*")) if path.is_file()]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in stored)).hexdigest()
    summary = record["summary"]
    return {
        "peaks": f"{summary['peak_rows']:,}",
        "windows": f"{summary['windows']:,}",
        "labels per window": str(summary["train_labels_per_example"]),
        "seconds": f"{seconds:.0f}",
        "peak memory, GiB": f"{record['peak_rss_bytes'] / 2**30:.2f}",
        "files": str(len(stored)),
        "MiB": f"{sum(path.stat().st_size for path in stored) / 2**20:.1f}",
        "digest": digest,
    }


if __name__ == "__main__":
    main()
