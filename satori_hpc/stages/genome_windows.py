"""Windows from peaks, a stretch of the genome at a time: no more peaks are in memory than fit, and hang together."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.core import intervals, stretches, windows
from satori_hpc.core.windows import Regions
from satori_hpc.log import progress
from satori_hpc.stages.genome_peaks import Peaks
from satori_hpc.stages.room import Room
from satori_hpc.stores.genome import Genome
from satori_hpc.stores.left_out import LeftOut
from satori_hpc.stores.spill import Spill

PEAK = 400  # bytes per peak while windows are made, without labels
LABEL_COPIES = 6
AVOID = [("chrom", np.int32), ("start", np.int64), ("end", np.int64)]
IN_BLACKLIST = 2  # first number of a place in left_out.tsv.gz
Places = tuple[np.ndarray, np.ndarray, np.ndarray]


def make(
    peaks: Peaks,
    settings: Settings,
    genome: Genome,
    *,
    out: Spill,
    avoid: Spill,
    room: Room,
    left_out: LeftOut,
    blacklist: Places | None,
) -> None:
    """Append all windows to `out`, in the order of the genome.

    Args:
        peaks: all of them; their spill is removed.
        settings: of the section.
        genome: open.
        out: of window_parts.row.
        avoid: of AVOID; gets what no negative may touch, where negatives are wanted.
        room: how much fits into memory.
        left_out: gets windows that touch the blacklist.
        blacklist: regions.
    """
    for rows in _stretches(peaks, settings, genome, room.rows(PEAK + LABEL_COPIES * 8 * peaks.words)):
        if settings.negatives != "none":
            chrom, start, end = intervals.union(rows["chrom"], rows["start"], rows["end"])
            avoid.add(chrom=chrom, start=start, end=end)
        made = _windows(rows[rows["taken"]], settings, genome.lengths)
        if blacklist is not None:
            touched = intervals.overlaps_any(made.chrom, made.start, made.end, blacklist)
            left = made.take(touched)
            names = np.array(genome.names, dtype=object)[left.chrom]
            left_out.add(names, left.start, left.end, place=(IN_BLACKLIST,), reason="touches the blacklist")
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
    """All peaks in the order of the genome, so many at a time that none has to do with those of another time.

    What hangs together is kept until its end is read, however much it is.
    """
    order = settings.construction
    distance = stretches.distance(size=settings.window, overlap=settings.overlap, order=order)
    waiting = np.zeros(0, dtype=peaks.spill.dtype)
    for batch in _batches(peaks, size):
        rows = np.concatenate([waiting, batch])
        rows = rows[np.lexsort((rows["at"], rows["chrom"]))]
        first, last = stretches.reaches(
            rows["chrom"], rows["at"], rows["end"], lengths=genome.lengths, size=settings.window, order=order
        )
        cuts = np.flatnonzero(stretches.apart(rows["chrom"], first, last, distance=distance))
        if cuts[-1]:
            yield rows[: cuts[-1]]
        waiting = rows[cuts[-1] :].copy()
    if len(waiting):
        yield waiting


def _batches(peaks: Peaks, size: int) -> Iterator[np.ndarray]:
    """All peaks, those of neighbouring cells of the genome together, at most `size` if more than one cell."""
    edges = peaks.cells.batches(size)
    parts = [peaks.spill]
    if len(edges) > 1:
        parts = [Spill(_beside(peaks.spill.path, number), peaks.spill.dtype) for number in range(len(edges))]
        for piece in peaks.spill.pieces(size):
            number = np.searchsorted(edges, peaks.cells.of(piece["chrom"], piece["at"]), side="right") - 1
            order = np.argsort(number, kind="stable")
            found, first = np.unique(number[order], return_index=True)
            for part, rows in zip(found.tolist(), np.split(order, first[1:]), strict=True):
                parts[part].append(piece[rows])
        peaks.spill.remove()
    for part in progress(parts, what="windows", unit="stretch"):
        if len(part):
            yield part[:]
        part.remove()


def _beside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}-{number:05d}")
