"""prepare, from a genome: peaks to windows to sequences, by any number of processes and in bounded memory.

The leader makes the plan, which windows in which order; all processes read blocks of them from the genome; the leader
puts the blocks together. What is read stays until the data set is whole, so a killed command goes on.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from satori_hpc import provenance
from satori_hpc.config import Genome as Settings
from satori_hpc.core import intervals, sequence, windows
from satori_hpc.core.windows import Regions
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.log import progress
from satori_hpc.run import Run
from satori_hpc.stages import genome_negatives, genome_peaks, genome_sizes
from satori_hpc.stores import annotation, atomic, chrom_sizes, peaks, window_parts
from satori_hpc.stores.dataset import Coordinates, Dataset
from satori_hpc.stores.genome import Genome, index
from satori_hpc.stores.left_out import LeftOut
from satori_hpc.stores.window_parts import DIGEST, Part, Parts, Tokens
from satori_hpc.world import Runtime

SLAB = 2**22  # bp read from the genome at once, at most
GAP = 2**14  # bp between two windows that are read over rather than begun anew
STRANDS = {1: "+", 0: ".", -1: "-"}


@dataclass(frozen=True)
class Plan:
    """Which windows there are to be, with what is known before a sequence is read."""

    regions: Regions
    labels: list[str]
    summary: dict[str, Any]
    left_out: LeftOut
    sources: dict[str, str]


@dataclass(frozen=True)
class Made:
    """The windows that are kept, without split; `groups` numbers equal sequences alike."""

    whole: Dataset
    groups: np.ndarray
    summary: dict[str, Any]


def make(run: Run, runtime: Runtime) -> Made | None:
    """Make plan and parts together with the other processes; the leader gets the data set, others None.

    Raises:
        InputError: a file cannot be used.
        ConfigError: chromosomes are named that are not there.
    """
    settings, world = run.config.prepare.genome, runtime.world
    assert settings is not None
    path, folder = run.resolve(settings.genome), run.dataset_parts
    indexes = run.path / "dataset.index"
    world.lead(lambda: index(path, indexes))
    with Genome(path, indexes) as genome:
        plan: Plan | None = None
        digest = world.lead(lambda: provenance.file_digest(path))

        def begin() -> list[int]:
            nonlocal plan
            plan = _plan(run, settings, genome)
            return Parts(folder, plan.regions, key=digest).begin()

        todo = world.lead(begin)
        parts = Parts(folder, window_parts.read_regions(folder), key=digest)
        for block in progress(list(world.shares(todo, schedule="static")), what="sequences", unit="block"):
            parts.write(block, _part(genome, parts.take(block)))
        world.barrier()
    if plan is None:  # not the leader
        return None
    return _together(run, settings, plan, parts, genome, {str(path): digest})


def finish(run: Run) -> None:
    """Remove what is needed until the data set is whole."""
    for folder in (run.dataset_parts, run.path / "dataset.index"):
        atomic.remove(folder)


def _plan(run: Run, settings: Settings, genome: Genome) -> Plan:
    _check_names(run, settings, genome)
    settings = genome_sizes.narrowed(run, settings, genome)
    left_out = LeftOut()
    genes = None
    if settings.annotation is not None:
        genes = annotation.read(run.resolve(settings.annotation), genome.names)
    found = genome_peaks.read(run, settings, genome, left_out, genes)
    everything = regions = found.regions
    if settings.promoters:
        assert genes is not None
        upstream = genes.promoters(settings.promoters, genome.lengths)
        near = intervals.overlaps_any(regions.chrom, regions.start, regions.end, upstream)
        found = found.take(near, reason="touches no promoter", names=genome.names, left_out=left_out)
    made = _windows(run, settings, found.regions, found.middle, genome)
    if settings.blacklist is not None:
        touched = intervals.overlaps_any(made.chrom, made.start, made.end, _blacklist(run, settings, genome))
        left_out.add(*_places(made.take(touched), genome), reason="touches the blacklist")
        made = made.take(~touched)
    if not len(made):
        raise InputError(f"{run.config_file}: [prepare.genome] no window is left of {found.rows} peaks")
    summary: dict[str, Any] = {
        "peak_rows": found.rows,
        "files_with_other_chromosome_names": found.renamed,
        "peaks": len(found.regions),
        "windows_of_peaks": len(made),
    }
    if settings.negatives != "none":
        negatives, about = genome_negatives.choose(run, settings, genome, made, everything, genes)
        summary.update(about)
        made = windows.unite(windows.join(made, negatives))
    files = [run.resolve(name) for key, names in settings.files().items() if key != "genome" for name in names]
    sources = {str(path): provenance.file_digest(path) for path in sorted({*files, *found.files})}
    return Plan(made, found.labels, summary, left_out, sources)


def _check_names(run: Run, settings: Settings, genome: Genome) -> None:
    unknown = sorted({*settings.chromosomes, *settings.without_chromosomes} - set(genome.names))
    if unknown:
        raise ConfigError(
            f"{run.config_file}: [prepare.genome] chromosomes, without_chromosomes: {', '.join(unknown)} not in "
            f"{genome.path}, which has {', '.join(genome.names[:30])}{' ...' if len(genome.names) > 30 else ''}"
        )


def _windows(run: Run, settings: Settings, regions: Regions, middle: np.ndarray, genome: Genome) -> Regions:
    if settings.construction != "as_given":
        made = windows.make(
            regions,
            lengths=genome.lengths,
            size=settings.window,
            overlap=settings.overlap,
            order=settings.construction,
            middle=middle,
        )
        return windows.unite(made)
    wrong = np.flatnonzero(regions.end - regions.start != settings.window)
    if len(wrong):
        name, start, end = (values[0] for values in _places(regions.take(wrong[:1]), genome))
        raise InputError(
            f"{run.config_file}: [prepare.genome] construction = 'as_given': {len(wrong)} of {len(regions)} peaks are "
            f"not window = {settings.window} bp long, the first {name}:{start}-{end}; set window, or choose another "
            "construction"
        )
    return windows.unite(regions)


def _blacklist(run: Run, settings: Settings, genome: Genome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert settings.blacklist is not None
    rows = peaks.read(run.resolve(settings.blacklist), key="[prepare.genome] blacklist")
    place, _ = genome_peaks.places(run.resolve(settings.blacklist), rows, genome)
    return place[rows.chrom], rows.start, rows.end


def _places(regions: Regions, genome: Genome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(genome.names, dtype=object)[regions.chrom], regions.start, regions.end


def _part(genome: Genome, regions: Regions) -> Part:
    """Read windows that are sorted by place."""
    length = int(regions.end[0] - regions.start[0])
    tokens = np.empty((len(regions), length), dtype=np.uint8)
    first = 0
    while first < len(regions):
        last = first + 1
        begin = int(regions.start[first])
        while (
            last < len(regions)
            and regions.chrom[last] == regions.chrom[first]
            and regions.end[last] - begin <= SLAB
            and regions.start[last] - regions.end[last - 1] <= GAP
        ):
            last += 1
        slab = genome.tokens(int(regions.chrom[first]), begin, int(regions.end[last - 1]))
        views = np.lib.stride_tricks.sliding_window_view(slab, length)
        tokens[first:last] = views[regions.start[first:last] - begin]
        first = last
    other = regions.strand == -1
    tokens[other] = sequence.reverse_complement(tokens[other])
    digests = [hashlib.blake2b(row.tobytes(), digest_size=DIGEST).digest() for row in tokens]
    digest = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST)
    return Part(tokens, (tokens == sequence.N).sum(axis=1), digest)


def _together(run: Run, settings: Settings, plan: Plan, parts: Parts, genome: Genome, sources: dict[str, str]) -> Made:
    found = [parts.read(block, tokens=False) for block in range(len(parts.blocks))]
    unknown = np.concatenate([part.unknown for part in found])
    keep = unknown <= settings.unknown_max * parts.length
    plan.left_out.add(*_places(plan.regions.take(~keep), genome), reason="too many letters other than ACGT")
    regions = plan.regions.take(keep)
    digests = np.ascontiguousarray(np.concatenate([part.digest for part in found])[keep]).view(f"V{DIGEST}")[:, 0]
    groups = np.unique(digests, return_inverse=True)[1]
    labels = windows.matrix(regions.labels, len(plan.labels))
    binary = len(plan.labels) == 1
    chrom, start, end = _places(regions, genome)
    names = [
        f"{name}:{at}-{until}({STRANDS[strand]})"
        for name, at, until, strand in zip(chrom, start.tolist(), end.tolist(), regions.strand.tolist(), strict=True)
    ]
    plan.left_out.write(run.left_out)
    chrom_sizes.write(run.chrom_sizes, dict(zip(genome.names, genome.lengths.tolist(), strict=True)))
    whole = Dataset(
        tokens=cast(np.ndarray, Tokens(parts, keep)),  # read as it is written
        labels=labels,
        split=np.zeros(len(regions), dtype=np.uint8),
        names=names,
        coordinates=Coordinates(
            chrom=np.array(genome.names)[regions.chrom], start=start, end=end, strand=regions.strand
        ),
        targets=plan.labels,
        task="binary" if binary else "multilabel",
    )
    summary = {
        **plan.summary,
        "windows": len(regions),
        **{f"rows {what}": count for what, count in plan.left_out.counts().items()},
        "sources": {**sources, **plan.sources},
    }
    return Made(whole, groups, summary)
