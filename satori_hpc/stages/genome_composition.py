"""Negatives of the positives' composition: as many G, C and lower-case letters, chromosome by chromosome."""

from collections.abc import Iterator

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.core import intervals, negatives
from satori_hpc.log import progress
from satori_hpc.stages.genome_places import Places
from satori_hpc.stages.room import Room
from satori_hpc.stores.genome import Genome
from satori_hpc.stores.spill import Spill

SLAB = 2**22  # bp
LEVELS = range(len(negatives.GC_STEPS))
CANDIDATE = [("start", np.int64), ("kinds", np.int64, (len(LEVELS),))]
DRAWN = 100  # bytes of a candidate while its chromosome is drawn from


def choose(
    settings: Settings, genome: Genome, places: Places, *, candidates: Spill, room: Room, rng: np.random.Generator
) -> tuple[dict[int, np.ndarray], list[int]]:
    """Starts of negatives by chromosome, in any order, and how many were found at each level of coarseness.

    Kinds of windows of different chromosomes are different, so every chromosome can be drawn from alone.

    Args:
        settings: of the section.
        genome: open.
        places: of positives and of what else no negative may touch.
        candidates: empty; of CANDIDATE.
        room: what fits into memory.
        rng: spends a number per candidate and level.
    """
    rows: dict[int, slice] = {}
    for chrom in progress(places.chromosomes, what="composition", unit="chromosome"):
        first = len(candidates)
        for found in _candidates(settings, genome, places, chrom):
            candidates.append(found)
        rows[chrom] = slice(first, len(candidates))
    largest = max(part.stop - part.start for part in rows.values())
    room.check({"windows of one chromosome that may be negatives": DRAWN * largest})
    wanted = _kinds_of_positives(genome, places)
    free = {chrom: np.ones(part.stop - part.start, dtype=bool) for chrom, part in rows.items()}
    chosen: dict[int, list[np.ndarray]] = {chrom: [] for chrom in rows}
    counts = []
    for level in LEVELS:
        quota = negatives.quotas(wanted[level], settings.negatives_per_positive)
        counts.append(0)
        for chrom, part in rows.items():
            found = candidates[part]
            kind = found["kinds"][:, level]
            # What was found is counted off by the coarser bins, and what is missing looked for in them.
            for number in kind[~free[chrom]].tolist():
                quota[number] = quota.get(number, 0) - 1
            drawn = negatives.draw(kind, quota, free=free[chrom], rng=rng)
            free[chrom][drawn] = False
            chosen[chrom].append(found["start"][drawn])
            counts[level] += len(drawn)
    return {chrom: np.concatenate(parts) for chrom, parts in chosen.items()}, counts


def _candidates(settings: Settings, genome: Genome, places: Places, chrom: int) -> Iterator[np.ndarray]:
    """Windows on a grid of half windows that touch nothing and hold few unknown letters, of CANDIDATE."""
    size = settings.window
    step = size - size // 2
    taken = places.taken(chrom)
    cells = int(genome.lengths[chrom]) // step
    per_slab = max(1, SLAB // step)
    for first in range(0, cells - 1, per_slab):
        counts = _grid(genome, chrom, step, first, min(first + per_slab + 1, cells))
        start = (first + np.arange(len(counts) - 1, dtype=np.int64)) * step
        shares = (counts[:-1] + counts[1:]) / (2 * step)
        numbers = np.full(len(start), chrom, dtype=np.int64)
        usable = ~intervals.overlaps_any(numbers, start, start + size, taken) & (shares[:, 2] <= settings.unknown_max)
        usable &= start + size <= genome.lengths[chrom]
        found = np.empty(int(usable.sum()), dtype=CANDIDATE)
        found["start"] = start[usable]
        for level in LEVELS:
            found["kinds"][:, level] = negatives.bins(
                numbers[usable], shares[usable, 0], shares[usable, 1], level=level
            )
        yield found


def _kinds_of_positives(genome: Genome, places: Places) -> list[np.ndarray]:
    """Bins of the positives at every level."""
    found: list[list[np.ndarray]] = [[] for _ in LEVELS]
    for chrom in progress(places.chromosomes, what="composition of positives", unit="chromosome"):
        start = places.positives(chrom)
        shares = np.empty((len(start), 3))
        for row, at in enumerate(start.tolist()):
            shares[row] = _letters(genome.text(chrom, at, at + places.size)).mean(axis=1)
        numbers = np.full(len(start), chrom, dtype=np.int64)
        for level in LEVELS:
            found[level].append(negatives.bins(numbers, shares[:, 0], shares[:, 1], level=level))
    return [np.concatenate(parts) for parts in found]


def _letters(text: bytes) -> np.ndarray:
    """(3, n) bool: is it G or C, is it lower case, is it none of ACGT."""
    raw = np.frombuffer(text, dtype=np.uint8)
    upper = raw & 0xDF
    known = np.isin(upper, np.frombuffer(b"ACGT", dtype=np.uint8))
    return np.stack([(upper == ord("G")) | (upper == ord("C")), raw > ord("Z"), ~known])


def _grid(genome: Genome, chrom: int, step: int, first: int, last: int) -> np.ndarray:
    """Counts of `_letters` in cells of `step` bp of a chromosome, (cells, 3)."""
    letters = _letters(genome.text(chrom, first * step, last * step))
    counts: np.ndarray = letters.reshape(3, -1, step).sum(axis=2).T
    return counts
