"""Sample negatives from the genome: windows away from all peaks, matched in composition or annotation."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.data.source import MemoryBudget, RowFile
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.data.sources.genome import windows
from satori_hpc.data.sources.genome.annotation import CLASSES, Genes, Intervals
from satori_hpc.data.sources.genome.genome import Genome
from satori_hpc.data.sources.genome.windows import Regions
from satori_hpc.errors import InputError
from satori_hpc.log import logger, progress
from satori_hpc.run.layout import Run

# Positives and other regions that negatives must avoid, by chromosome.

PIECE = 2**18  # rows read at a time, to find chromosomes


class Places:
    """RowFiles that are sorted by chromosome.

    Args:
        positives: windows, of window_parts.row.
        avoid: intervals, of genome_windows.AVOID.
        size: bp of a window.
        also: other intervals to keep away from, in any order.

    Attributes:
        chromosomes: numbers of those that have positives, rising.
    """

    def __init__(self, positives: RowFile, avoid: RowFile, *, size: int, also: Intervals | None = None) -> None:
        self._positives, self._avoid, self._also, self.size = positives, avoid, also, size
        self._rows, self._others = _by_chromosome(positives), _by_chromosome(avoid)
        self.chromosomes = sorted(self._rows)

    def rows(self, chrom: int) -> np.ndarray:
        """Return rows of the positives."""
        return self._positives[self._rows[chrom]]

    def positives(self, chrom: int) -> np.ndarray:
        """Return starts of the positives, int64."""
        return self.rows(chrom)["start"].copy()

    def taken(self, chrom: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the regions that negatives must avoid: chrom, start, end."""
        own, other = self.positives(chrom), self._avoid[self._others.get(chrom, slice(0, 0))]
        start = np.concatenate([own, other["start"]])
        end = np.concatenate([own + self.size, other["end"]])
        if self._also is not None:
            here = self._also[0] == chrom
            start, end = (
                np.concatenate([each, more[here]]) for each, more in zip((start, end), self._also[1:], strict=True)
            )
        return np.full(len(start), chrom, dtype=np.int64), start, end


def _by_chromosome(row_file: RowFile) -> dict[int, slice]:
    """Return rows of each chromosome."""
    found: dict[int, slice] = {}
    done = 0
    for piece in row_file.pieces(PIECE):
        numbers, first, count = np.unique(piece["chrom"], return_index=True, return_counts=True)
        for chrom, at, rows in zip(numbers.tolist(), first.tolist(), count.tolist(), strict=True):
            begin = found[chrom].start if chrom in found else done + at
            found[chrom] = slice(begin, done + at + rows)
        done += len(piece)
    return found


NEGATIVES = int.from_bytes(b"nega", "big")
FEATURE = 800  # bytes of a feature and its window during thinning


def add(
    run: Run,
    settings: Settings,
    genome: Genome,
    positives: RowFile,
    avoid: RowFile,
    genes: Genes | None,
    *,
    out: RowFile,
    budget: MemoryBudget,
) -> dict[str, Any]:
    """Sample negatives of the requested kind; they and the positives go to `out`, sorted by position.

    Args:
        run: for its seed.
        settings: of the section.
        genome: open.
        positives: windows with labels, of window_parts.row.
        avoid: further regions that negatives must avoid, of genome_windows.AVOID.
        genes: where negatives = "annotation" or "intergenic".
        out: of window_parts.row.
        budget: memory limit.

    Returns:
        numbers for the summary.

    Raises:
        InputError: there is no window to choose from.
        SatoriError: the candidates do not fit into memory.
    """
    rng = np.random.default_rng([run.config.seed, NEGATIVES])
    also = None
    if settings.negatives == "intergenic":
        assert genes is not None
        also = genes.spans
    places = Places(positives, avoid, size=settings.window, also=also)
    if genes is not None and settings.negatives != "composition":
        _check_genes(run, settings, genome, places, genes)
    about: dict[str, Any] = {}
    if settings.negatives != "annotation":
        candidates = RowFile(out.path.with_name("candidates"), CANDIDATE)
        chosen, counts = choose(settings, genome, places, candidates=candidates, budget=budget, rng=rng)
        candidates.remove()
        about["negatives_in_coarser_bins"] = sum(counts[1:])
    else:
        assert genes is not None
        chosen, about = _by_annotation(settings, genome, places, genes, budget=budget, rng=rng)
    count, asked = sum(map(len, chosen.values())), round(settings.negatives_per_positive * len(positives))
    if not count:
        raise InputError(f"{run.config_file}: [prepare.genome] negatives: no window is left beside the peaks")
    if count < asked:
        logger.warning("%d negatives were asked for, %d are there", asked, count)
    for chrom in places.chromosomes:
        made = windows.unite(windows.join(*_regions(places, chrom, chosen[chrom])))
        out.add(chrom=made.chrom, start=made.start, strand=made.strand, labels=made.labels)
    return {"negatives": count, "negatives_asked_for": asked, **about}


def _check_genes(run: Run, settings: Settings, genome: Genome, places: Places, genes: Genes) -> None:
    """Report regions without annotated genes: windows classified as intergenic or distal there may overlap a gene.

    Raises:
        InputError: more than half of the positives are on such chromosomes.
    """
    positives = {chrom: len(places.rows(chrom)) for chrom in places.chromosomes}
    bare = {chrom: count for chrom, count in positives.items() if chrom not in set(genes.spans[0].tolist())}
    count, total = sum(bare.values()), sum(positives.values())
    if count > genomes.TOLD * total:
        names = genomes.shown([genome.names[chrom] for chrom in bare])
        genomes.too_many(
            f"{run.resolve(settings.annotation or '')}: no gene on {names}, where {count:,} of {total:,} windows of "
            f"peaks are: negatives = {settings.negatives!r} would lie in genes there",
            count > genomes.REFUSED * total,
            allow=settings.allow_missing_chromosomes,
        )


def _regions(places: Places, chrom: int, start: np.ndarray) -> tuple[Regions, Regions]:
    """Return positives and negatives of a chromosome; these have neither strand nor label."""
    rows, size = places.rows(chrom), places.size
    numbers = rows["chrom"].astype(np.int64)
    positives = Regions(numbers, rows["start"], rows["start"] + size, rows["strand"], rows["labels"])
    labels = np.zeros((len(start), rows["labels"].shape[1]), dtype=np.uint64)
    strand = np.zeros(len(start), dtype=np.int8)
    return positives, Regions(np.full(len(start), chrom), start, start + size, strand, labels)


def _by_annotation(
    settings: Settings, genome: Genome, known: Places, genes: Genes, *, budget: MemoryBudget, rng: np.random.Generator
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """Sample windows centred on every feature, and every `size` bp of distal regions.

    Classes are those of the midpoints.
    """
    size, places = known.size, []
    for name, (chrom, begin, end) in genes.parts(genome.lengths).items():
        if name == "distal":
            counts = np.maximum((end - begin) // size, 1)
            row = np.repeat(np.arange(len(counts)), counts)
            tile = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            places.append((chrom[row], begin[row] + (end[row] - begin[row]) * (2 * tile + 1) // (2 * counts[row])))
        else:
            places.append((chrom, windows.midpoint(begin, end)))
    chrom, middle = (np.concatenate(columns) for columns in zip(*places, strict=True))
    budget.check({f"{len(chrom)} windows about features that may be negatives": FEATURE * len(chrom)})
    start = middle - size // 2
    whole = (start >= 0) & (start + size <= genome.lengths[chrom])  # those that run off a chromosome are dropped
    chrom, start = np.unique(np.stack([chrom[whole], start[whole]]), axis=1)
    free = np.zeros(len(chrom), dtype=bool)
    for number in known.chromosomes:
        here = chrom == number
        free[here] = ~windows.overlaps_any(chrom[here], start[here], start[here] + size, known.taken(number))
    chrom, start = chrom[free], start[free]
    kept = apart(chrom, start, size=size, rng=rng)
    chrom, start = chrom[kept], start[kept]
    kinds = genes.classes(chrom, start + size // 2, genome.lengths)
    own = [(np.full(len(at), number), at) for number in known.chromosomes for at in (known.positives(number),)]
    own_chrom, own_start = (np.concatenate(columns) for columns in zip(*own, strict=True))
    wanted = genes.classes(own_chrom, windows.midpoint(own_start, own_start + size), genome.lengths)
    quota = quotas(wanted, settings.negatives_per_positive)
    chosen = draw(kinds, quota, free=np.ones(len(kinds), dtype=bool), rng=rng)
    about = {
        f"{name} positives / negatives": f"{(wanted == number).sum()} / {(kinds[chosen] == number).sum()}"
        for number, name in enumerate(CLASSES)
    }
    return {number: start[chosen][chrom[chosen] == number] for number in known.chromosomes}, about


# Choose windows as negatives: as many as requested, matched to the positives in confounders.

# Bins of GC content and of the lower-case fraction, finer first; each fine bin is within one coarse bin.
GC_STEPS = (48, 16, 1)
REPEAT_STEPS = (12, 4, 1)


def bins(chrom: np.ndarray, gc: np.ndarray, repeats: np.ndarray, *, level: int) -> np.ndarray:
    """Return number of the bin of each window, int64 (n,), at a level of coarseness 0, 1 or 2.

    Args:
        chrom: int64 (n,).
        gc, repeats: float (n,), GC content and lower-case fraction, 0 to 1.
    """
    gc_bin = np.minimum((gc * GC_STEPS[level]).astype(np.int64), GC_STEPS[level] - 1)
    repeat_bin = np.minimum((repeats * REPEAT_STEPS[level]).astype(np.int64), REPEAT_STEPS[level] - 1)
    return (chrom * GC_STEPS[0] + gc_bin) * REPEAT_STEPS[0] + repeat_bin


def quotas(wanted: np.ndarray, ratio: float) -> dict[int, int]:
    """Return how many of each kind there are to be, by largest remainder: together round(ratio * n)."""
    kinds, counts = np.unique(wanted, return_counts=True)
    exact = counts * ratio
    floor = np.floor(exact).astype(np.int64)
    left = round(float(exact.sum())) - int(floor.sum())
    floor[np.argsort(floor - exact, kind="stable")[:left]] += 1
    return dict(zip(kinds.tolist(), floor.tolist(), strict=True))


def draw(kinds: np.ndarray, quota: dict[int, int], *, free: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw candidates at random without replacement, at most `quota` of each kind; sorted indices, int64.

    Args:
        kinds: int64 (m,), of every candidate.
        quota: how many of each kind.
        free: bool (m,), those that may be drawn.
        rng: spends m numbers.
    """
    order = np.lexsort((rng.random(len(kinds)), kinds))
    order = order[free[order]]
    sorted_kinds = kinds[order]
    first = np.searchsorted(sorted_kinds, sorted_kinds, side="left")
    limits = np.array([quota.get(int(kind), 0) for kind in np.unique(sorted_kinds)], dtype=np.int64)
    limit = limits[np.unique(sorted_kinds, return_inverse=True)[1]] if len(order) else np.zeros(0, dtype=np.int64)
    return np.sort(order[np.arange(len(order)) - first < limit])


def apart(chrom: np.ndarray, start: np.ndarray, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return windows of which no two share more than half, chosen in random order; bool (m,)."""
    chosen = np.zeros(len(start), dtype=bool)
    taken: dict[tuple[int, int], list[int]] = {}
    for place in rng.permutation(len(start)).tolist():
        at, number = int(start[place]), int(chrom[place])
        near = [other for cell in (-1, 0, 1) for other in taken.get((number, at // size + cell), ())]
        if all(2 * (size - abs(at - other)) <= size for other in near):
            chosen[place] = True
            taken.setdefault((number, at // size), []).append(at)
    return chosen


# Negatives matched in GC content and lower case, chromosome by chromosome.

SLAB = 2**22  # bp
LEVELS = range(len(GC_STEPS))
CANDIDATE = [("start", np.int64), ("kinds", np.int64, (len(LEVELS),))]
DRAWN = 100  # bytes of a candidate while its chromosome is drawn from


def choose(
    settings: Settings,
    genome: Genome,
    places: Places,
    *,
    candidates: RowFile,
    budget: MemoryBudget,
    rng: np.random.Generator,
) -> tuple[dict[int, np.ndarray], list[int]]:
    """Return starts of negatives by chromosome, in any order, and the numbers found at each level of coarseness.

    Kinds of windows of different chromosomes are different, so every chromosome can be drawn from alone.

    Args:
        settings: of the section.
        genome: open.
        places: positives and other regions that negatives must avoid.
        candidates: empty; of CANDIDATE.
        budget: memory limit.
        rng: spends a number per candidate and level.
    """
    rows: dict[int, slice] = {}
    for chrom in progress(places.chromosomes, what="composition", unit="chromosome"):
        first = len(candidates)
        for found in _candidates(settings, genome, places, chrom):
            candidates.append(found)
        rows[chrom] = slice(first, len(candidates))
    largest = max(part.stop - part.start for part in rows.values())
    budget.check({"windows of one chromosome that may be negatives": DRAWN * largest})
    wanted = _kinds_of_positives(genome, places)
    free = {chrom: np.ones(part.stop - part.start, dtype=bool) for chrom, part in rows.items()}
    chosen: dict[int, list[np.ndarray]] = {chrom: [] for chrom in rows}
    counts = []
    for level in LEVELS:
        quota = quotas(wanted[level], settings.negatives_per_positive)
        counts.append(0)
        for chrom, part in rows.items():
            found = candidates[part]
            kind = found["kinds"][:, level]
            # Subtract the windows found in the coarser bins, and search the missing ones there.
            for number in kind[~free[chrom]].tolist():
                quota[number] = quota.get(number, 0) - 1
            drawn = draw(kind, quota, free=free[chrom], rng=rng)
            free[chrom][drawn] = False
            chosen[chrom].append(found["start"][drawn])
            counts[level] += len(drawn)
    return {chrom: np.concatenate(parts) for chrom, parts in chosen.items()}, counts


def _candidates(settings: Settings, genome: Genome, places: Places, chrom: int) -> Iterator[np.ndarray]:
    """Return windows on a grid of half windows that overlap nothing and hold few unknown bases, of CANDIDATE."""
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
        usable = ~windows.overlaps_any(numbers, start, start + size, taken) & (shares[:, 2] <= settings.unknown_max)
        usable &= start + size <= genome.lengths[chrom]
        found = np.empty(int(usable.sum()), dtype=CANDIDATE)
        found["start"] = start[usable]
        for level in LEVELS:
            found["kinds"][:, level] = bins(numbers[usable], shares[usable, 0], shares[usable, 1], level=level)
        yield found


def _kinds_of_positives(genome: Genome, places: Places) -> list[np.ndarray]:
    """Return bins of the positives at every level."""
    found: list[list[np.ndarray]] = [[] for _ in LEVELS]
    for chrom in progress(places.chromosomes, what="composition of positives", unit="chromosome"):
        start = places.positives(chrom)
        shares = np.empty((len(start), 3))
        for row, at in enumerate(start.tolist()):
            shares[row] = _letters(genome.text(chrom, at, at + places.size)).mean(axis=1)
        numbers = np.full(len(start), chrom, dtype=np.int64)
        for level in LEVELS:
            found[level].append(bins(numbers, shares[:, 0], shares[:, 1], level=level))
    return [np.concatenate(parts) for parts in found]


def _letters(text: bytes) -> np.ndarray:
    """Return (3, n) bool: is it G or C, is it lower case, is it none of ACGT."""
    raw = np.frombuffer(text, dtype=np.uint8)
    upper = raw & 0xDF
    known = np.isin(upper, np.frombuffer(b"ACGT", dtype=np.uint8))
    return np.stack([(upper == ord("G")) | (upper == ord("C")), raw > ord("Z"), ~known])


def _grid(genome: Genome, chrom: int, step: int, first: int, last: int) -> np.ndarray:
    """Count `_letters` in bins of `step` bp of a chromosome, (bins, 3)."""
    letters = _letters(genome.text(chrom, first * step, last * step))
    counts: np.ndarray = letters.reshape(3, -1, step).sum(axis=2).T
    return counts
