"""Chromosome sizes: the table of name and length that genome tools share (chrom.sizes; the index of a FASTA file)."""

import re
from collections.abc import Mapping
from pathlib import Path

from satori_hpc.errors import Problems
from satori_hpc.stores import atomic, text_input

_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


def read(path: Path, *, needed: Mapping[str, int] | None = None, key: str = "--chrom-sizes") -> dict[str, int]:
    """Sizes of the chromosomes, bp, by name.

    Args:
        path: of a table without header whose first two columns are name and length, split by tabs.
        needed: largest end on each chromosome that must be in it.
        key: where the user named the file, for messages.

    Raises:
        InputError: the file cannot be read, lines are no such rows, chromosomes come twice or are missing, or examples
            end behind the end.
    """
    problems = Problems(f"{path}: not usable as chromosome sizes")
    sizes: dict[str, int] = {}
    for number, line in text_input.lines(path, key=key):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) < 2 or not _LENGTH.fullmatch(cells[1].strip()):
            problems.add(f"line {number}: expected name, tab, length in bp; found {line[:80]!r}")
        elif cells[0] in sizes:
            problems.add(f"line {number}: {cells[0]!r} comes twice")
        else:
            sizes[cells[0]] = int(cells[1].strip())
    for chrom, end in (needed or {}).items():
        if chrom not in sizes:
            problems.add(f"no chromosome {chrom!r}, on which examples lie; is it the genome they come from?")
        elif end > sizes[chrom]:
            problems.add(f"{chrom!r} has {sizes[chrom]} bp, but an example ends at {end}; is it another assembly?")
    if not sizes and not problems:
        problems.add(f"empty; expected rows of name, tab, length in bp; correct {key}")
    problems.raise_any()
    return sizes


def write(path: Path, sizes: Mapping[str, int]) -> None:
    """Write names and lengths, in their order."""
    atomic.write_text(path, "".join(f"{chrom}\t{size}\n" for chrom, size in sizes.items()))
