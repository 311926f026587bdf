"""A small genome, peaks on it, and runs that are made of them."""

from pathlib import Path

import numpy as np

from satori_hpc.config import Config, Genome, Model, Prepare
from satori_hpc.run import Run

LENGTHS = {"chr1": 6000, "chr2": 3000, "chrM": 900}
SIZE, OVERLAP = 100, 30


def write_genome(path: Path, *, seed: int = 0) -> dict[str, str]:
    """A FASTA file with upper and lower case, N and IUPAC letters; its sequences."""
    rng = np.random.default_rng(seed)
    letters = {
        name: "".join(rng.choice(list("ACGTacgtNR"), length, p=[0.12] * 8 + [0.03, 0.01]))
        for name, length in LENGTHS.items()
    }
    lines = []
    for name, text in letters.items():
        lines += [f">{name} some words", *(text[first : first + 60] for first in range(0, len(text), 60))]
    path.write_text("\n".join(lines))  # no newline at the end
    return letters


def write_peaks(path: Path, *, seed: int, count: int = 60) -> list[tuple[str, int, int]]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        name = str(rng.choice(list(LENGTHS)[:2]))
        start = int(rng.integers(0, LENGTHS[name] - 80))
        rows.append((name, start, start + int(rng.integers(20, 80))))
    path.write_text("track name=x\n# words\n" + "".join(f"{a}\t{b}\t{c}\tpeak\t0\t.\n" for a, b, c in rows))
    return rows


def make(folder: Path, *, name: str = "run", split: dict | None = None, **options) -> Run:
    defaults = {"genome": "../genome.fa", "window": SIZE, "overlap": OVERLAP, "unknown_max": 1.0}
    parts = split or {"valid_fraction": 0.2, "test_fraction": 0.2}
    section = Genome(**{**defaults, **options})
    run = Run(folder / name, Config(prepare=Prepare(source="genome", genome=section, **parts), model=Model(width=7)))
    run.path.mkdir(exist_ok=True)
    return run
