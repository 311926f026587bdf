"""Which windows a data set of a genome is to have, in which order: on disk, for they may be more than memory holds."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc import provenance
from satori_hpc.config import Genome as Settings
from satori_hpc.core import windows
from satori_hpc.core.windows import Regions
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.run import Run
from satori_hpc.stages import genome_negatives, genome_peaks, genome_sizes, genome_windows
from satori_hpc.stages.room import Room, of_examples
from satori_hpc.stages.source import check_length
from satori_hpc.stores import annotation, atomic, genome_names, peaks, window_parts
from satori_hpc.stores.genome import Genome
from satori_hpc.stores.left_out import LeftOut
from satori_hpc.stores.spill import Spill
from satori_hpc.world import Runtime


@dataclass(frozen=True)
class Plan:
    """The windows, and what is known before a sequence is read.

    Attributes:
        windows: of window_parts.row, sorted by place.
        labels: their names.
        summary: numbers for people.
        left_out: rows that were dropped or changed so far.
        sources: digests of the user's files but for the genome.
    """

    windows: Spill
    labels: list[str]
    summary: dict[str, Any]
    left_out: LeftOut
    sources: dict[str, str]


def make(run: Run, settings: Settings, genome: Genome, runtime: Runtime) -> Plan:
    """Read peaks, make windows of them, and look for negatives. Raises: as `prepare_genome.make`."""
    settings = _by_names_of_genome(run, settings, genome)
    settings = genome_sizes.narrowed(run, settings, genome)
    check_length(run, settings.window, path=run.config_file)
    path = run.dataset_parts / window_parts.WINDOWS
    folder = path.parent
    atomic.remove(folder)
    left_out = LeftOut(folder / "left_out")
    genes = None
    if settings.annotation is not None:
        genes = annotation.read(
            run.resolve(settings.annotation), genome, allow_missing=settings.allow_missing_chromosomes
        )
    blacklist = None if settings.blacklist is None else _blacklist(run.resolve(settings.blacklist), settings, genome)
    _load_compiled(genome)
    room = Room.of(runtime)
    found = genome_peaks.read(run, settings, genome, folder=folder, room=room, left_out=left_out, genes=genes)
    dtype = window_parts.row(found.words)
    made = positives = Spill(path, dtype) if settings.negatives == "none" else Spill(folder / "positives", dtype)
    avoid = Spill(folder / "avoid", genome_windows.AVOID)
    genome_windows.make(
        found, settings, genome, out=positives, avoid=avoid, room=room, left_out=left_out, blacklist=blacklist
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
        made = Spill(path, dtype)
        summary |= genome_negatives.add(run, settings, genome, positives, avoid, genes, out=made, room=room)
    room.check(of_examples(len(made), length=settings.window))
    named = [run.resolve(name) for key, names in settings.files().items() if key != "genome" for name in names]
    sources = {str(path): provenance.file_digest(path) for path in sorted({*named, *found.files})}
    return Plan(made, found.labels, summary, left_out, sources)


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
        there, unknown = genome_names.among(getattr(settings, key), genome.names)
        if unknown:
            raise ConfigError(
                f"{run.config_file}: [prepare.genome] {key}: {genome_names.shown(unknown)} not in {genome.path}, which "
                f"has {genome_names.shown(genome.names)}"
            )
        found[key] = tuple(there)
    return dataclasses.replace(
        settings, chromosomes=found["chromosomes"], without_chromosomes=found["without_chromosomes"]
    )


def _blacklist(path: Path, settings: Settings, genome: Genome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = peaks.read(path, key="[prepare.genome] blacklist")
    counts = np.bincount(rows.chrom, minlength=len(rows.names)).tolist()
    place, _ = genome_names.places(
        path,
        dict(zip(rows.names, counts, strict=True)),
        genome,
        allow_missing=settings.allow_missing_chromosomes,
        unit="regions",
    )
    return place[rows.chrom], rows.start, rows.end
