"""Negatives from the genome: windows away from all peaks, alike to the positives in composition or annotation."""

from typing import Any

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.core import intervals, negatives, windows
from satori_hpc.core.windows import Regions
from satori_hpc.errors import InputError
from satori_hpc.log import logger
from satori_hpc.run import Run
from satori_hpc.stages import genome_composition
from satori_hpc.stages.genome_places import Places
from satori_hpc.stages.room import Room
from satori_hpc.stores import genome_names
from satori_hpc.stores.annotation import CLASSES, Genes
from satori_hpc.stores.genome import Genome
from satori_hpc.stores.spill import Spill

NEGATIVES = int.from_bytes(b"nega", "big")
FEATURE = 800  # bytes of a feature and its window while they are thinned out


def add(
    run: Run,
    settings: Settings,
    genome: Genome,
    positives: Spill,
    avoid: Spill,
    genes: Genes | None,
    *,
    out: Spill,
    room: Room,
) -> dict[str, Any]:
    """Choose negatives of the kind that is asked for; they and the positives go to `out`, sorted by place.

    Args:
        run: for its seed.
        settings: of the section.
        genome: open.
        positives: windows with labels, of window_parts.row.
        avoid: what no negative may touch besides those, of genome_windows.AVOID.
        genes: where negatives = "annotation" or "intergenic".
        out: of window_parts.row.
        room: what fits into memory.

    Returns:
        numbers for the summary.

    Raises:
        InputError: there is no window to choose from.
        SatoriError: what there is to choose from does not fit into memory.
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
        candidates = Spill(out.path.with_name("candidates"), genome_composition.CANDIDATE)
        chosen, counts = genome_composition.choose(settings, genome, places, candidates=candidates, room=room, rng=rng)
        candidates.remove()
        about["negatives_in_coarser_bins"] = sum(counts[1:])
    else:
        assert genes is not None
        chosen, about = _by_annotation(settings, genome, places, genes, room=room, rng=rng)
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
    """Tell where the annotation has no gene: what is taken for intergenic or distal there may lie in one.

    Raises:
        InputError: more than half of the positives are on such chromosomes.
    """
    positives = {chrom: len(places.rows(chrom)) for chrom in places.chromosomes}
    bare = {chrom: count for chrom, count in positives.items() if chrom not in set(genes.spans[0].tolist())}
    count, total = sum(bare.values()), sum(positives.values())
    if count > genome_names.TOLD * total:
        names = genome_names.shown([genome.names[chrom] for chrom in bare])
        genome_names.too_many(
            f"{run.resolve(settings.annotation or '')}: no gene on {names}, where {count:,} of {total:,} windows of "
            f"peaks are: negatives = {settings.negatives!r} would lie in genes there",
            count > genome_names.REFUSED * total,
            allow=settings.allow_missing_chromosomes,
        )


def _regions(places: Places, chrom: int, start: np.ndarray) -> tuple[Regions, Regions]:
    """Positives and negatives of a chromosome; these have neither strand nor label."""
    rows, size = places.rows(chrom), places.size
    numbers = rows["chrom"].astype(np.int64)
    positives = Regions(numbers, rows["start"], rows["start"] + size, rows["strand"], rows["labels"])
    labels = np.zeros((len(start), rows["labels"].shape[1]), dtype=np.uint64)
    strand = np.zeros(len(start), dtype=np.int8)
    return positives, Regions(np.full(len(start), chrom), start, start + size, strand, labels)


def _by_annotation(
    settings: Settings, genome: Genome, known: Places, genes: Genes, *, room: Room, rng: np.random.Generator
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """A window about the middle of every feature, and about every `size` bp of what is distal; classes by middles."""
    size, places = known.size, []
    for name, (chrom, begin, end) in genes.parts(genome.lengths).items():
        if name == "distal":
            counts = np.maximum((end - begin) // size, 1)
            row = np.repeat(np.arange(len(counts)), counts)
            tile = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            places.append((chrom[row], begin[row] + (end[row] - begin[row]) * (2 * tile + 1) // (2 * counts[row])))
        else:
            places.append((chrom, intervals.midpoint(begin, end)))
    chrom, middle = (np.concatenate(columns) for columns in zip(*places, strict=True))
    room.check({f"{len(chrom)} windows about features that may be negatives": FEATURE * len(chrom)})
    start = middle - size // 2
    whole = (start >= 0) & (start + size <= genome.lengths[chrom])  # those that run off a chromosome are dropped
    chrom, start = np.unique(np.stack([chrom[whole], start[whole]]), axis=1)
    free = np.zeros(len(chrom), dtype=bool)
    for number in known.chromosomes:
        here = chrom == number
        free[here] = ~intervals.overlaps_any(chrom[here], start[here], start[here] + size, known.taken(number))
    chrom, start = chrom[free], start[free]
    kept = negatives.apart(chrom, start, size=size, rng=rng)
    chrom, start = chrom[kept], start[kept]
    kinds = genes.classes(chrom, start + size // 2, genome.lengths)
    own = [(np.full(len(at), number), at) for number in known.chromosomes for at in (known.positives(number),)]
    own_chrom, own_start = (np.concatenate(columns) for columns in zip(*own, strict=True))
    wanted = genes.classes(own_chrom, intervals.midpoint(own_start, own_start + size), genome.lengths)
    quota = negatives.quotas(wanted, settings.negatives_per_positive)
    chosen = negatives.draw(kinds, quota, free=np.ones(len(kinds), dtype=bool), rng=rng)
    about = {
        f"{name} positives / negatives": f"{(wanted == number).sum()} / {(kinds[chosen] == number).sum()}"
        for number, name in enumerate(CLASSES)
    }
    return {number: start[chosen][chrom[chosen] == number] for number in known.chromosomes}, about
