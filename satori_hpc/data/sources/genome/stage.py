"""Make a data set from a genome: peaks to windows to sequences, on any number of processes, in bounded memory.

Rank 0 plans the windows and their order; all processes read blocks of them from the genome; rank 0 concatenates the
blocks. Blocks stay on disk until the data set is complete, so a killed command resumes.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.data import sequence, splits
from satori_hpc.data.dataset import Coded, Coordinates, Examples, Made
from satori_hpc.data.source import ExcludedRecords, MemoryBudget, RowFile, Source, check_length, of_examples
from satori_hpc.data.sources.genome import annotation, negatives, peak_files, peaks, window_store, windows
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.data.sources.genome.genome import Genome, index
from satori_hpc.data.sources.genome.peaks import Peaks
from satori_hpc.data.sources.genome.window_store import Part, Parts
from satori_hpc.data.sources.genome.windows import Regions
from satori_hpc.errors import ConfigError, InputError, SatoriError
from satori_hpc.log import progress
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files, provenance
from satori_hpc.run.layout import Run

# Which windows a data set of a genome is to have, in which order: on disk, for they may be more than memory holds.


@dataclass(frozen=True)
class Plan:
    """The windows, and what is known before a sequence is read.

    Attributes:
        windows: of window_parts.row, sorted by place.
        labels: their names.
        summary: numbers for people.
        excluded_records: rows that were dropped or changed so far.
        sources: digests of the user's files but for the genome.
    """

    windows: RowFile
    labels: list[str]
    summary: dict[str, Any]
    excluded_records: ExcludedRecords
    sources: dict[str, str]


def make_plan(run: Run, settings: Settings, genome: Genome, runtime: Runtime) -> Plan:
    """Read peaks, make windows of them, and look for negatives. Raises: as `make`."""
    settings = _by_names_of_genome(run, settings, genome)
    settings = genomes.narrowed(run, settings, genome)
    check_length(run, settings.window, path=run.config_file)
    path = run.dataset_parts / window_store.WINDOWS
    folder = path.parent
    files.remove(folder)
    excluded_records = ExcludedRecords(folder / "excluded_records")
    genes = None
    if settings.annotation is not None:
        genes = annotation.read(
            run.resolve(settings.annotation), genome, allow_missing=settings.allow_missing_chromosomes
        )
    blacklist = None if settings.blacklist is None else _blacklist(run.resolve(settings.blacklist), settings, genome)
    _load_compiled(genome)
    budget = MemoryBudget.of(runtime)
    found = peaks.read(
        run, settings, genome, folder=folder, budget=budget, excluded_records=excluded_records, genes=genes
    )
    dtype = window_store.row(found.words)
    made = positives = RowFile(path, dtype) if settings.negatives == "none" else RowFile(folder / "positives", dtype)
    avoid = RowFile(folder / "avoid", AVOID)
    make_windows(
        found,
        settings,
        genome,
        out=positives,
        avoid=avoid,
        budget=budget,
        excluded_records=excluded_records,
        blacklist=blacklist,
    )
    if not len(positives):
        raise InputError(f"{run.config_file}: [prepare.genome] no window is left of {found.rows} peaks")
    summary: dict[str, Any] = {
        "peak_rows": found.rows,
        "files_with_other_chromosome_names": found.renamed,
        "peaks": found.taken,
        "windows_of_peaks": len(positives),
    }
    if settings.negatives != "none":
        made = RowFile(path, dtype)
        summary |= negatives.add(run, settings, genome, positives, avoid, genes, out=made, budget=budget)
    budget.check(of_examples(len(made), length=settings.window))
    named = [
        run.resolve(name) for key, names in run.config.prepare.files().items() if key != "genome" for name in names
    ]
    sources = {str(path): provenance.file_digest(path) for path in sorted({*named, *found.files})}
    return Plan(made, found.labels, summary, excluded_records, sources)


def _load_compiled(genome: Genome) -> None:
    """Have the compiler loaded before anybody asks how much memory the program takes."""
    none = np.zeros(0, dtype=np.int64)
    empty = Regions(none, none, none, none.astype(np.int8), np.zeros((0, 1), dtype=np.uint64))
    for order in windows.ORDERS:
        windows.make(empty, lengths=genome.lengths, size=1, overlap=1, order=order)


def _by_names_of_genome(run: Run, settings: Settings, genome: Genome) -> Settings:
    """The settings with chromosomes as the genome calls them.

    Raises:
        ConfigError: some are not there.
    """
    found = {}
    for key in ("chromosomes", "without_chromosomes"):
        there, unknown = genomes.among(getattr(settings, key), genome.names)
        if unknown:
            raise ConfigError(
                f"{run.config_file}: [prepare.genome] {key}: {genomes.shown(unknown)} not in {genome.path}, which "
                f"has {genomes.shown(genome.names)}"
            )
        found[key] = tuple(there)
    return dataclasses.replace(
        settings, chromosomes=found["chromosomes"], without_chromosomes=found["without_chromosomes"]
    )


def _blacklist(path: Path, settings: Settings, genome: Genome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = peak_files.read(path, key="[prepare.genome] blacklist")
    counts = np.bincount(rows.chrom, minlength=len(rows.names)).tolist()
    place, _ = genomes.places(
        path,
        dict(zip(rows.names, counts, strict=True)),
        genome,
        allow_missing=settings.allow_missing_chromosomes,
        unit="regions",
    )
    return place[rows.chrom], rows.start, rows.end


SLAB = 2**22  # bp read from the genome at once, at most
GAP = 2**14  # bp between two windows that are read over rather than begun anew
STRANDS = {1: "+", 0: ".", -1: "-"}
IN_SEQUENCES = 3  # first number of a place in excluded_records.tsv.gz


def make(run: Run, runtime: Runtime) -> Source | None:
    """Make plan and parts on all processes; rank 0 returns the windows that are kept, others None.

    Raises:
        InputError: a file cannot be used.
        ConfigError: chromosomes are named that are not there.
        SatoriError: what must be kept of every window does not fit into memory.
    """
    settings, world = run.config.prepare.genome, runtime.world
    assert settings is not None
    path, folder = run.resolve(settings.genome), run.dataset_parts
    indexes = run.dataset_index
    alphabet = run.config.prepare.alphabet
    world.run_on_root(lambda: index(path, indexes, alphabet))
    with Genome(path, indexes, alphabet) as genome:
        plan: Plan | None = None
        digest = world.run_on_root(lambda: provenance.file_digest(path))

        def begin() -> list[int]:
            nonlocal plan
            try:
                plan = make_plan(run, settings, genome, runtime)
            except SatoriError:
                # Files that another process has open may stay; parts that were read before do.
                for made in (indexes, (folder / window_store.WINDOWS).parent):
                    shutil.rmtree(made, ignore_errors=True)
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise
            return window_store.begin(folder, plan.windows, length=settings.window, key=digest)

        todo = world.run_on_root(begin)
        parts = Parts(folder)
        for block in progress(list(world.my_items(todo, schedule="static")), what="sequences", unit="block"):
            parts.write(block, _part(genome, parts.take(parts.blocks[block])))
        world.barrier()
    if plan is None:  # not rank 0
        return None
    return _together(run, settings, plan, parts, genome, {str(path): digest})


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
    return Part(tokens, (tokens == sequence.N).sum(axis=1), splits.digests(tokens))


def _together(
    run: Run, settings: Settings, plan: Plan, parts: Parts, genome: Genome, sources: dict[str, str]
) -> Source:
    keep = np.empty(len(parts.windows), dtype=bool)
    digests = np.empty((len(keep), splits.DIGEST), dtype=np.uint8)
    columns = {"chrom": np.int32, "start": np.int64, "strand": np.int8}
    found = {name: np.empty(len(keep), dtype=dtype) for name, dtype in columns.items()}
    for block, rows in enumerate(progress(parts.blocks, what="parts", unit="block")):
        part, regions = parts.read(block, tokens=False), parts.take(rows)
        keep[rows] = part.unknown <= settings.unknown_max * parts.length
        digests[rows] = part.digest
        for name, values in found.items():
            values[rows] = getattr(regions, name)
        left = regions.take(~keep[rows])
        names = np.array(genome.names, dtype=object)[left.chrom]
        reason = "too many letters other than ACGT"
        plan.excluded_records.add(names, left.start, left.end, place=(IN_SEQUENCES,), reason=reason)
    groups = splits.group_digests(digests[keep])
    chrom, start, strand = (values[keep] for values in found.values())
    plan.excluded_records.write(run.excluded_records)
    genomes.write_sizes(run.chrom_sizes, dict(zip(genome.names, genome.lengths.tolist(), strict=True)))

    def names_of(rows: slice) -> list[str]:
        places = zip(chrom[rows].tolist(), start[rows].tolist(), strand[rows].tolist(), strict=True)
        return [f"{genome.names[at]}:{first}-{first + parts.length}({STRANDS[side]})" for at, first, side in places]

    kept = np.flatnonzero(keep)
    whole = Examples(
        tokens=Made((len(kept), parts.length), lambda rows: parts.tokens(kept[rows])),
        labels=Made((len(kept), len(plan.labels)), lambda rows: parts.labels(kept[rows], len(plan.labels))),
        names=Made((len(kept),), names_of),
        targets=plan.labels,
        coordinates=Coordinates(Coded(genome.names, chrom), start, start + parts.length, strand),
    )
    summary = {
        **plan.summary,
        "windows": len(kept),
        **{f"rows {what}": count for what, count in plan.excluded_records.counts().items()},
        "sources": {**sources, **plan.sources},
    }
    return Source(whole, summary, groups=groups, names_checked=True)


# Make windows from peaks, processed in overlap-connected batches that fit in memory.

PEAK = 400  # bytes per peak while windows are made, without labels
LABEL_COPIES = 6
AVOID = [("chrom", np.int32), ("start", np.int64), ("end", np.int64)]
IN_BLACKLIST = 2  # first number of a place in excluded_records.tsv.gz
Places = tuple[np.ndarray, np.ndarray, np.ndarray]


def make_windows(
    peaks: Peaks,
    settings: Settings,
    genome: Genome,
    *,
    out: RowFile,
    avoid: RowFile,
    budget: MemoryBudget,
    excluded_records: ExcludedRecords,
    blacklist: Places | None,
) -> None:
    """Append all windows to `out`, in the order of the genome.

    Args:
        peaks: all of them; their row_file is removed.
        settings: of the section.
        genome: open.
        out: of window_parts.row.
        avoid: of AVOID; gets what no negative may touch, where negatives are wanted.
        budget: how much fits into memory.
        excluded_records: gets windows that touch the blacklist.
        blacklist: regions.
    """
    for rows in _stretches(peaks, settings, genome, budget.max_rows(PEAK + LABEL_COPIES * 8 * peaks.words)):
        if settings.negatives != "none":
            chrom, start, end = windows.union(rows["chrom"], rows["start"], rows["end"])
            avoid.add(chrom=chrom, start=start, end=end)
        made = _windows(rows[rows["taken"]], settings, genome.lengths)
        if blacklist is not None:
            touched = windows.overlaps_any(made.chrom, made.start, made.end, blacklist)
            left = made.take(touched)
            names = np.array(genome.names, dtype=object)[left.chrom]
            excluded_records.add(names, left.start, left.end, place=(IN_BLACKLIST,), reason="touches the blacklist")
            made = made.take(~touched)
        if len(made):
            out.add(chrom=made.chrom, start=made.start, strand=made.strand, labels=made.labels)


def _windows(rows: np.ndarray, settings: Settings, lengths: np.ndarray) -> Regions:
    peaks = Regions(rows["chrom"].astype(np.int64), *(rows[name] for name in ("start", "end", "strand", "labels")))
    if settings.construction == "as_given":
        return windows.unite(peaks)
    made = windows.make(
        peaks,
        lengths=lengths,
        size=settings.window,
        overlap=settings.overlap,
        order=settings.construction,
        middle=rows["at"] + settings.window // 2,
    )
    return windows.unite(made)


def _stretches(peaks: Peaks, settings: Settings, genome: Genome, size: int) -> Iterator[np.ndarray]:
    """Yield all peaks in the order of the genome, in batches with no overlap between batches.

    What hangs together is kept until its end is read, however much it is.
    """
    order = settings.construction
    distance = windows.distance(size=settings.window, overlap=settings.overlap, order=order)
    waiting = np.zeros(0, dtype=peaks.row_file.dtype)
    for batch in _batches(peaks, size):
        rows = np.concatenate([waiting, batch])
        rows = rows[np.lexsort((rows["at"], rows["chrom"]))]
        first, last = windows.reaches(
            rows["chrom"], rows["at"], rows["end"], lengths=genome.lengths, size=settings.window, order=order
        )
        cuts = np.flatnonzero(windows.apart(rows["chrom"], first, last, distance=distance))
        if cuts[-1]:
            yield rows[: cuts[-1]]
        waiting = rows[cuts[-1] :].copy()
    if len(waiting):
        yield waiting


def _batches(peaks: Peaks, size: int) -> Iterator[np.ndarray]:
    """All peaks, those of neighbouring bins of the genome together, at most `size` if more than one bin."""
    edges = peaks.bins.batches(size)
    parts = [peaks.row_file]
    if len(edges) > 1:
        parts = [RowFile(_beside(peaks.row_file.path, number), peaks.row_file.dtype) for number in range(len(edges))]
        for piece in peaks.row_file.pieces(size):
            number = np.searchsorted(edges, peaks.bins.of(piece["chrom"], piece["at"]), side="right") - 1
            order = np.argsort(number, kind="stable")
            found, first = np.unique(number[order], return_index=True)
            for part, rows in zip(found.tolist(), np.split(order, first[1:]), strict=True):
                parts[part].append(piece[rows])
        peaks.row_file.remove()
    for part in progress(parts, what="windows", unit="stretch"):
        if len(part):
            yield part[:]
        part.remove()


def _beside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}-{number:05d}")
