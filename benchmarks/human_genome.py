"""Generate a genome of human size with peak files that give about two million windows."""

from pathlib import Path

import numpy as np

LINE = 60
SLAB = 2**26  # bp made at once
# GRCh38, bp.
CHROMOSOMES = {
    "chr1": 248_956_422,
    "chr2": 242_193_529,
    "chr3": 198_295_559,
    "chr4": 190_214_555,
    "chr5": 181_538_259,
    "chr6": 170_805_979,
    "chr7": 159_345_973,
    "chr8": 145_138_636,
    "chr9": 138_394_717,
    "chr10": 133_797_422,
    "chr11": 135_086_622,
    "chr12": 133_275_309,
    "chr13": 114_364_328,
    "chr14": 107_043_718,
    "chr15": 101_991_189,
    "chr16": 90_338_345,
    "chr17": 83_257_441,
    "chr18": 80_373_285,
    "chr19": 58_617_616,
    "chr20": 64_444_167,
    "chr21": 46_709_983,
    "chr22": 50_818_468,
    "chrX": 156_040_895,
    "chrY": 57_227_415,
}


def lengths(share: float) -> dict[str, int]:
    """Return the chromosomes' lengths, all scaled down equally, in whole lines."""
    return {name: int(length * share) // LINE * LINE for name, length in CHROMOSOMES.items()}


def write_genome(path: Path, sizes: dict[str, int]) -> None:
    """Write random bases, uniform."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT" * 64, dtype=np.uint8)
    with open(path, "wb") as out:
        for name, length in sizes.items():
            out.write(f">{name}\n".encode())
            for first in range(0, length, SLAB // LINE * LINE):
                count = min(SLAB // LINE * LINE, length - first)
                lines = np.full((count // LINE, LINE + 1), ord("\n"), dtype=np.uint8)
                lines[:, :LINE] = letters[rng.integers(0, 256, count, dtype=np.uint8)].reshape(-1, LINE)
                out.write(lines.data)


def write_peaks(folder: Path, sizes: dict[str, int], *, files: int, peaks: int, places: int) -> None:
    """Write peaks.tsv and its files: peaks near shared positions, a few in most files, most in few files."""
    rng = np.random.default_rng(1)
    names, length = list(sizes), np.array(list(sizes.values()))
    chrom = np.sort(rng.choice(len(names), places, p=length / length.sum()))
    middle = (rng.random(places) * (length[chrom] - 2000)).astype(np.int64) + 1000
    # Chances of a place to be a peak of a file; with the least of them every place is one of some file.
    chance = np.cumsum(0.15 + rng.beta(0.3, 1.2, places))
    rows = []
    for number in range(files):
        chosen = np.unique(np.searchsorted(chance, rng.random(peaks) * chance[-1]))
        at = middle[chosen] + rng.integers(-40, 40, len(chosen))
        half = rng.integers(75, 300, len(chosen))
        lines = [
            f"{names[c]}\t{a - h}\t{a + h}\n"
            for c, a, h in zip(chrom[chosen].tolist(), at.tolist(), half.tolist(), strict=True)
        ]
        (folder / f"sample_{number:03d}.bed").write_text("".join(lines))
        rows.append(f"sample_{number:03d}.bed\tsample {number}\n")
    (folder / "peaks.tsv").write_text("".join(rows))
