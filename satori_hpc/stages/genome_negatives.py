"""Negatives from the genome: windows away from all peaks, alike to the positives in composition or annotation."""

from typing import Any

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.core import intervals, negatives
from satori_hpc.core.windows import Regions
from satori_hpc.errors import InputError
from satori_hpc.log import logger, progress
from satori_hpc.run import Run
from satori_hpc.stores.annotation import CLASSES, Genes, Intervals
from satori_hpc.stores.genome import Genome

NEGATIVES = int.from_bytes(b"nega", "big")
SLAB = 2**22


def choose(
    run: Run, settings: Settings, genome: Genome, positives: Regions, avoid: Regions, genes: Genes | None
) -> tuple[Regions, dict[str, Any]]:
    """Negatives of the kind that is asked for, without labels; and numbers for the summary.

    Args:
        run: for its seed.
        settings: of the section.
        genome: open.
        positives: the windows with labels.
        avoid: what no negative may touch, besides those.
        genes: where negatives = "annotation" or "intergenic".

    Raises:
        InputError: there is no window to choose from.
    """
    rng = np.random.default_rng([run.config.seed, NEGATIVES])
    size = settings.window
    taken = [(each.chrom, each.start, each.end) for each in (positives, avoid)]
    if settings.negatives == "intergenic":
        assert genes is not None
        taken.append(genes.transcripts)
    if settings.negatives == "annotation":
        assert genes is not None
        chrom, start, kinds, wanted = _by_annotation(genome, positives, taken, genes, size=size, rng=rng)
    else:
        chrom, start, kinds, wanted = _by_composition(settings, genome, positives, taken)
    free = np.ones(len(start), dtype=bool)
    chosen = np.zeros(0, dtype=np.int64)
    asked = round(settings.negatives_per_positive * len(positives))
    quota = negatives.quotas(wanted[0], settings.negatives_per_positive)
    matched = []
    for level, kind in enumerate(kinds):
        if level:
            # What was found is counted off by the coarser bins, and what is missing looked for in them.
            quota = negatives.quotas(wanted[level], settings.negatives_per_positive)
            for number in kind[chosen].tolist():
                quota[number] = quota.get(number, 0) - 1
        found = negatives.draw(kind, quota, free=free, rng=rng)
        matched.append(len(found))
        free[found] = False
        chosen = np.concatenate([chosen, found])
    if not len(chosen):
        raise InputError(f"{run.config_file}: [prepare.genome] negatives: no window is left beside the peaks")
    if len(chosen) < asked:
        logger.warning("%d negatives were asked for, %d are there", asked, len(chosen))
    made = Regions(
        chrom[chosen],
        start[chosen],
        start[chosen] + size,
        np.zeros(len(chosen), dtype=np.int8),
        np.zeros((len(chosen), positives.labels.shape[1]), dtype=np.uint64),
    )
    about: dict[str, Any] = {"negatives": len(chosen), "negatives_asked_for": asked}
    if settings.negatives != "annotation":
        about["negatives_in_coarser_bins"] = sum(matched[1:])
    else:
        about |= {
            f"{name} positives / negatives": f"{(wanted[0] == number).sum()} / {(kinds[0][chosen] == number).sum()}"
            for number, name in enumerate(CLASSES)
        }
    return made, about


def _away(chrom: np.ndarray, start: np.ndarray, size: int, taken: list[Intervals]) -> np.ndarray:
    """Windows that touch nothing of what is taken, bool (m,)."""
    columns = tuple(np.concatenate(each) for each in zip(*taken, strict=True))
    return ~intervals.overlaps_any(chrom, start, start + size, columns)  # type: ignore[arg-type]


def _by_composition(
    settings: Settings, genome: Genome, positives: Regions, taken: list[Intervals]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Windows on a grid of half windows, on the positives' chromosomes; bins of them and of the positives."""
    size = settings.window
    step = size - size // 2
    parts = []
    for number in progress(np.unique(positives.chrom).tolist(), what="composition", unit="chromosome"):
        counts = _grid(genome, number, step)
        start = np.arange(len(counts) - 1, dtype=np.int64) * step
        parts.append((np.full(len(start), number, dtype=np.int64), start, (counts[:-1] + counts[1:]) / (2 * step)))
    chrom, start, shares = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    usable = _away(chrom, start, size, taken) & (shares[:, 2] <= settings.unknown_max)
    usable &= start + size <= genome.lengths[chrom]
    chrom, start, shares = chrom[usable], start[usable], shares[usable]
    own = _composition(genome, positives)
    levels = range(len(negatives.GC_STEPS))
    kinds = [negatives.bins(chrom, shares[:, 0], shares[:, 1], level=level) for level in levels]
    wanted = [negatives.bins(positives.chrom, own[:, 0], own[:, 1], level=level) for level in levels]
    return chrom, start, kinds, wanted


def _letters(text: bytes) -> np.ndarray:
    """(3, n) bool: is it G or C, is it lower case, is it none of ACGT."""
    raw = np.frombuffer(text, dtype=np.uint8)
    upper = raw & 0xDF
    known = np.isin(upper, np.frombuffer(b"ACGT", dtype=np.uint8))
    return np.stack([(upper == ord("G")) | (upper == ord("C")), raw > ord("Z"), ~known])


def _grid(genome: Genome, chrom: int, step: int) -> np.ndarray:
    """Counts of `_letters` in each `step` bp of a chromosome, (cells, 3); a last cell that is not whole is left out."""
    cells = int(genome.lengths[chrom]) // step
    per_slab = max(1, SLAB // step)
    found = np.empty((cells, 3), dtype=np.int64)
    for first in range(0, cells, per_slab):
        last = min(first + per_slab, cells)
        letters = _letters(genome.text(chrom, first * step, last * step))
        found[first:last] = letters.reshape(3, -1, step).sum(axis=2).T
    return found


def _composition(genome: Genome, regions: Regions) -> np.ndarray:
    """Shares of `_letters` in each window, (n, 3)."""
    found = np.empty((len(regions), 3))
    rows = zip(regions.chrom.tolist(), regions.start.tolist(), regions.end.tolist(), strict=True)
    for row, (chrom, start, end) in enumerate(rows):
        found[row] = _letters(genome.text(chrom, start, end)).mean(axis=1)
    return found


def _by_annotation(
    genome: Genome, positives: Regions, taken: list[Intervals], genes: Genes, *, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """A window about the middle of every feature, and about every `size` bp of what is distal; classes by middles."""
    places = []
    for name, (chrom, begin, end) in genes.parts(genome.lengths).items():
        if name == "distal":
            counts = np.maximum((end - begin) // size, 1)
            row = np.repeat(np.arange(len(counts)), counts)
            tile = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            places.append((chrom[row], begin[row] + (end[row] - begin[row]) * (2 * tile + 1) // (2 * counts[row])))
        else:
            places.append((chrom, intervals.midpoint(begin, end)))
    chrom, middle = (np.concatenate(columns) for columns in zip(*places, strict=True))
    start = middle - size // 2
    whole = (start >= 0) & (start + size <= genome.lengths[chrom])  # those that run off a chromosome are dropped
    chrom, start = np.unique(np.stack([chrom[whole], start[whole]]), axis=1)
    free = _away(chrom, start, size, taken) & np.isin(chrom, np.unique(positives.chrom))
    chrom, start = chrom[free], start[free]
    kept = negatives.apart(chrom, start, size=size, rng=rng)
    chrom, start = chrom[kept], start[kept]
    kinds = genes.classes(chrom, start + size // 2, genome.lengths)
    wanted = genes.classes(positives.chrom, intervals.midpoint(positives.start, positives.end), genome.lengths)
    return chrom, start, [kinds], [wanted]
