"""Combine the peaks of all files on one genome, as intervals within their chromosomes, with their labels."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.data.source import CHANGED, ExcludedRecords, MemoryBudget, RowFile, check_names, check_there
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.data.sources.genome import peak_files, windows
from satori_hpc.data.sources.genome.annotation import Genes
from satori_hpc.data.sources.genome.genome import Genome
from satori_hpc.data.sources.genome.windows import Bins
from satori_hpc.errors import InputError
from satori_hpc.log import logger, progress
from satori_hpc.run.layout import Run

FOREIGN_MAX = 0.01  # share of a file's rows off the ends of chromosomes above which it is of another genome
LINE = 400  # bytes per line of a peak file while it is read, without its labels
IN_FILES, AT_PROMOTERS = 0, 1  # first numbers of places in excluded_records.tsv.gz; genome_windows has more
Upstream = tuple[np.ndarray, np.ndarray, np.ndarray]


def row(words: int) -> list[Any]:
    """Return dtype of a peak.

    `at` is the sort key of peaks, the start of its window in `extend_then_merge`, else its own; `taken` is false of
    those that only keep negatives away.
    """
    places = [(name, np.int64) for name in ("at", "start", "end")]
    return [("chrom", np.int32), *places, ("strand", np.int8), ("taken", np.bool_), ("labels", np.uint64, (words,))]


@dataclass
class Peaks:
    """All peaks that can be used.

    Attributes:
        row_file: of `row`, in the order of the files and their lines.
        bins: their numbers by bin.
        labels: names of the labels.
        files: with the peaks.
        renamed: files whose chromosomes are called otherwise in the genome.
        rows: of all files together.
        kept: peaks inside the genome.
        taken: those that windows are made of.
        odd, first_odd: how many of these are not as long as a window, and the place of the first.
    """

    row_file: RowFile
    bins: Bins
    labels: list[str]
    files: list[Path]
    renamed: int = 0
    rows: int = 0
    kept: int = 0
    taken: int = 0
    odd: int = 0
    first_odd: str = ""

    @property
    def words(self) -> int:
        """Number of words of the labels' bits."""
        return peak_files.words_of(self.labels)


def read(
    run: Run,
    settings: Settings,
    genome: Genome,
    *,
    folder: Path,
    budget: MemoryBudget,
    excluded_records: ExcludedRecords,
    genes: Genes | None,
) -> Peaks:
    """Read all files in blocks of rows; without files, the promoters of `genes` are used as peaks.

    Args:
        run: with the files.
        settings: of the section.
        genome: open.
        folder: for rows that do not all fit into memory.
        budget: memory limit.
        excluded_records: receives excluded and changed records.
        genes: of the annotation, where there is one; with settings.promoters, a peak must touch one of theirs.

    Raises:
        InputError: a file cannot be used, or is of another genome.
    """
    files, promoters, near = peak_files.files(run, settings), None, None
    if settings.promoters:
        assert settings.annotation is not None
        assert genes is not None
        near = genes.promoters(settings.promoters, genome.lengths)
    if not settings.has_peaks:
        files = [(run.resolve(settings.annotation or ""), LABEL)]
        assert genes is not None
        promoters = rows(files[0][0], genes, genome, size=settings.promoters, excluded_records=excluded_records)
    key = "[prepare.genome] " + ("peak_table" if settings.peak_table else "peaks")
    check_there({"prepare.genome.peak_table": [path for path, _ in files]})
    labels, numbers = peak_files.numbered(files, settings, key)
    check_names(run, label=labels)
    found = Peaks(
        RowFile(folder / "peaks", row(peak_files.words_of(labels))),
        Bins(genome.lengths),
        labels,
        [path for path, _ in files],
    )
    reader = _Reader(settings, genome, budget, excluded_records, near, found)
    for number, (path, label) in enumerate(progress(files, what="peaks", unit="file")):
        reader.file(number, path, key=key, labels=numbers, label=label, promoters=promoters)
    if not found.kept:
        raise InputError(
            f"{run.config_file}: [prepare.genome] no peak is left; "
            + (
                ", ".join(f"{count} {what}" for what, count in excluded_records.counts().items())
                or "the files are empty"
            )
        )
    if settings.construction == "as_given" and found.odd:
        raise InputError(
            f"{run.config_file}: [prepare.genome] construction = 'as_given': {found.odd} of {found.taken} peaks are "
            f"not window = {settings.window} bp long, the first {found.first_odd}; set window, or choose another "
            "construction"
        )
    return found


class _Reader:
    """Read files into `found`: unchanged at first, because only a whole file reveals its chromosome naming."""

    def __init__(
        self,
        settings: Settings,
        genome: Genome,
        budget: MemoryBudget,
        excluded_records: ExcludedRecords,
        near: Upstream | None,
        found: Peaks,
    ) -> None:
        self.settings, self.genome, self.excluded_records, self.near, self.found = (
            settings,
            genome,
            excluded_records,
            near,
            found,
        )
        words = found.words
        self.rows = budget.max_rows(LINE + 4 * 8 * words)
        columns = [("chrom", np.int32), *((name, np.int64) for name in ("start", "end", "summit", "line"))]
        dtype = [*columns, ("strand", np.int8), ("labels", np.uint64, (words,))]
        self.raw = RowFile(found.row_file.path.with_name("file"), dtype)
        self.wanted = np.array([_wanted(name, settings) for name in genome.names] + [True])  # the last is for -1

    def file(
        self,
        number: int,
        path: Path,
        *,
        key: str,
        labels: dict[str, int],
        label: str,
        promoters: peak_files.Rows | None,
    ) -> None:
        """Read a file.

        Args:
            number: of the file.
            path: its path.
            key: where it was named.
            labels: numbers of all labels.
            label: its own.
            promoters: used in place of the file's rows; the file is then an annotation.
        """
        settings, words = self.settings, self.found.words
        names: list[str] = []
        on_each: Counter[int] = Counter()  # rows of each chromosome of the file
        self.raw.remove()
        summits, told = settings.centre == "summit", False
        pieces = peak_files.pieces(path, key=key, rows=self.rows, label_column=settings.label_column, summits=summits)
        for rows in pieces if promoters is None else [promoters]:
            names = rows.names
            on_each.update(
                dict(zip(*(found.tolist() for found in np.unique(rows.chrom, return_counts=True)), strict=True))
            )
            told |= bool((rows.summit >= 0).any())
            columns = {name: getattr(rows, name) for name in ("chrom", "start", "end", "summit", "line", "strand")}
            bits = peak_files.bits([(label,)] if rows.labels is None else rows.labels, labels, words)
            self.raw.add(**columns, labels=bits)
        if summits and not told:
            logger.warning(
                "%s: column 10 has no summit: the midpoints of its peaks are used (narrowPeak, with 10 columns, "
                "and the .xls of MACS have summits)",
                path,
            )
        counts = {name: on_each[number] for number, name in enumerate(names)}
        place, other_names = genomes.places(
            path, counts, self.genome, allow_missing=settings.allow_missing_chromosomes, unit="peaks"
        )
        self.found.renamed += other_names
        self.found.rows += len(self.raw)
        beyond, first = 0, ""
        for piece in self.raw.pieces(self.rows):
            count, place_of_one = self._piece(number, path, piece, names, place)
            beyond, first = beyond + count, first or place_of_one
        if beyond > max(1, FOREIGN_MAX * len(self.raw)):
            raise InputError(
                f"{path}: {beyond} of {len(self.raw)} peaks lie beyond the ends of chromosomes, the first in {first}: "
                "they are of another assembly; use one that fits, or lift them over"
            )
        self.raw.remove()

    def _piece(self, number: int, path: Path, rows: np.ndarray, names: list[str], place: np.ndarray) -> tuple[int, str]:
        """Add usable rows; return the number of rows beyond chromosome ends, and the first of them."""
        settings, genome = self.settings, self.genome
        chrom = place[rows["chrom"]]
        length = np.where(chrom >= 0, genome.lengths[chrom], 0)
        beyond = (chrom >= 0) & ((rows["start"] >= length) | (rows["end"] <= 0))
        reasons = {
            "chromosome not in the genome": chrom < 0,
            "chromosome left out": ~self.wanted[chrom],
            "chromosome shorter than a window": (chrom >= 0) & (length < settings.window),
            "beyond the end of the chromosome": beyond,
        }

        def note(chosen: np.ndarray, reason: str, at: int, done: str = "dropped") -> None:
            some = rows[chosen]
            columns = np.array(names, dtype=object)[some["chrom"]], some["start"], some["end"]
            where = (IN_FILES, number, at)
            self.excluded_records.add(
                *columns, place=where, reason=reason, file=path.name, line=some["line"], done=done
            )

        kept = np.ones(len(rows), dtype=bool)
        for at, (reason, rule) in enumerate(reasons.items()):
            note(kept & rule, reason, at)
            kept &= ~rule
        start, end = np.maximum(rows["start"], 0), np.minimum(rows["end"], length)
        cut = (start != rows["start"]) | (end != rows["end"])
        note(kept & cut, "cut at the end of the chromosome", len(reasons), CHANGED)
        outside = (rows["summit"] >= 0) & ~((rows["summit"] >= start) & (rows["summit"] < end))
        note(kept & outside, "summit outside the peak: its middle taken", len(reasons) + 1, CHANGED)
        self._add(number, path, rows[kept], chrom[kept], start[kept], end[kept])
        if not beyond.any():
            return 0, ""
        first = int(np.flatnonzero(beyond)[0])
        one = rows[first]
        return int(beyond.sum()), (
            f"line {one['line']} ({names[one['chrom']]}:{one['start']}-{one['end']}; {genome.names[chrom[first]]} has "
            f"{length[first]} bp in {genome.path})"
        )

    def _add(
        self, number: int, path: Path, rows: np.ndarray, chrom: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> None:
        settings, genome, found = self.settings, self.genome, self.found
        taken = np.ones(len(rows), dtype=bool)
        if self.near is not None:
            taken = windows.overlaps_any(chrom, start, end, self.near)
            far = np.flatnonzero(~taken)
            columns = np.array(genome.names, dtype=object)[chrom[far]], start[far], end[far]
            where, reason = (AT_PROMOTERS, number), "touches no promoter"
            self.excluded_records.add(*columns, place=where, reason=reason, file=path.name, line=rows["line"][far])
        odd = np.flatnonzero(taken & (end - start != settings.window))
        if len(odd) and not found.odd:
            found.first_odd = f"{genome.names[chrom[odd[0]]]}:{start[odd[0]]}-{end[odd[0]]}"
        found.odd += len(odd)
        found.kept += len(rows)
        found.taken += int(taken.sum())
        at = start
        if settings.construction == "extend_then_merge":
            inside = (rows["summit"] >= start) & (rows["summit"] < end)
            middle = np.where(inside, rows["summit"], windows.midpoint(start, end))
            at = windows.around(middle, settings.window, genome.lengths[chrom])
        strand = rows["strand"] if settings.stranded else np.zeros(len(rows), dtype=np.int8)
        values = {"chrom": chrom, "at": at, "start": start, "end": end, "strand": strand, "taken": taken}
        found.row_file.add(**values, labels=rows["labels"])
        found.bins.count(chrom, at)


def _wanted(name: str, settings: Settings) -> bool:
    return name not in settings.without_chromosomes and (not settings.chromosomes or name in settings.chromosomes)


# Promoters of an annotation, used if no peaks are given.

LABEL = "promoter"
IN_ANNOTATION = -1  # first number of a place in excluded_records.tsv.gz


def rows(path: Path, genes: Genes, genome: Genome, *, size: int, excluded_records: ExcludedRecords) -> peak_files.Rows:
    """Return the `size` bp upstream of every transcription start, as the rows of a file of peaks.

    Transcripts that start at the same place, on the same strand, are one row, that of the first; those that start
    where their chromosome ends have nothing upstream and are noted.

    Args:
        path: of the annotation.
        genes: on the genome's chromosomes.
        genome: open.
        size: bp; may extend beyond the chromosome.
        excluded_records: takes the notes.
    """
    chrom, begin, end = genes.transcripts
    strand = np.where(genes.strand >= 0, 1, -1).astype(np.int8)
    edge = np.where(strand > 0, begin, end)  # between the first base and the one upstream of it
    first = np.sort(np.unique(np.stack([chrom, strand, edge]), axis=1, return_index=True)[1])
    none = edge[first] == np.where(strand[first] > 0, 0, genome.lengths[chrom[first]])
    names = np.array(genome.names, dtype=object)
    at = first[none]
    excluded_records.add(
        names[chrom[at]],
        begin[at],
        end[at],
        place=(IN_ANNOTATION,),
        reason="transcript starts at the end of the chromosome: no promoter",
        file=path.name,
        line=genes.line[at],
    )
    kept = first[~none]
    start = np.where(strand[kept] > 0, edge[kept] - size, edge[kept])
    return peak_files.Rows(
        names=list(genome.names),
        chrom=chrom[kept],
        start=start,
        end=start + size,
        summit=np.full(len(kept), -1, dtype=np.int64),
        strand=strand[kept],
        line=genes.line[kept],
        labels=None,
    )
