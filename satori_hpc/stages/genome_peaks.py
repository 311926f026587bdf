"""Peaks of all files on one genome, as intervals that lie inside their chromosomes, each with its labels."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.core import windows
from satori_hpc.core.windows import Regions
from satori_hpc.errors import InputError
from satori_hpc.log import logger, progress
from satori_hpc.run import Run
from satori_hpc.stages.source import check_names, check_there
from satori_hpc.stores import peaks
from satori_hpc.stores.genome import Genome
from satori_hpc.stores.left_out import CHANGED, LeftOut

FOREIGN_MAX = 0.01  # share of a file's rows off the ends of chromosomes above which it is of another genome
LENGTHS_KEY = "[prepare.genome] peaks"


@dataclass(frozen=True)
class Peaks:
    """All peaks that can be used.

    Attributes:
        regions: with their labels.
        file: int64 (n,), number of the file of each.
        line: int64 (n,), its line there.
        middle: int64 (n,), what each is extended about.
        labels: names of the labels.
        renamed: files whose chromosomes are called otherwise in the genome.
        rows: of all files together.
        files: that hold them.
    """

    regions: Regions
    file: np.ndarray
    line: np.ndarray
    middle: np.ndarray
    labels: list[str]
    renamed: int
    rows: int
    files: list[Path]

    def take(self, kept: np.ndarray, *, reason: str, names: list[str], left_out: LeftOut) -> "Peaks":
        """Some of them, bool (n,); the others are noted with the reason. `names`: of the chromosomes."""
        for number, path in enumerate(self.files):
            rows = np.flatnonzero(~kept & (self.file == number))
            dropped = self.regions.take(rows)
            chrom = np.array(names, dtype=object)[dropped.chrom]
            left_out.add(chrom, dropped.start, dropped.end, reason=reason, file=path.name, line=self.line[rows])
        columns = {name: getattr(self, name)[kept] for name in ("file", "line", "middle")}
        return dataclasses.replace(self, regions=self.regions.take(kept), **columns)


def read(run: Run, settings: Settings, genome: Genome, left_out: LeftOut) -> Peaks:
    """Read all files.

    Raises:
        InputError: a file cannot be used, or is of another genome.
    """
    files, rows = _files(run, settings), []
    key = "[prepare.genome] " + ("peak_table" if settings.peak_table else "peaks")
    check_there({"prepare.genome.peak_table": [path for path, _ in files]})
    summits = settings.centre == "summit"
    for path, _ in progress(files, what="peaks", total=len(files), unit="file"):
        rows.append(peaks.read(path, key=key, label_column=settings.label_column, summits=summits))
        if summits and (rows[-1].summit < 0).all():
            logger.warning("%s: column 10 tells no summit: the middles of its peaks are taken", path)
    labels = _labels(files, rows)
    check_names(run, label=labels)
    numbers = {label: number for number, label in enumerate(labels)}
    if settings.label_column is not None:
        spelled = {name for found in rows for names in found.labels or () for name in names}
        numbers |= {name: numbers[str(int(name))] for name in spelled if name not in numbers}
    parts, columns, renamed = [], [], 0
    for number, ((path, label), found) in enumerate(zip(files, rows, strict=True)):
        place, other_names = places(path, found, genome)
        renamed += other_names
        row_labels = [(label,)] * len(found) if found.labels is None else found.labels
        kept, start, end = _inside(path, found, place, settings, genome, left_out)
        bits = _bits([row_labels[row] for row in kept.tolist()], numbers)
        strand = found.strand[kept] if settings.stranded else np.zeros(len(kept), dtype=np.int8)
        parts.append(Regions(place[found.chrom[kept]], start, end, strand, bits))
        summit = found.summit[kept]
        inside = (summit >= start) & (summit < end)
        outside = kept[(summit >= 0) & ~inside]
        _note(left_out, path, found, outside, reason="summit outside the peak: its middle taken", done=CHANGED)
        middle = np.where(inside, summit, (start + end) // 2)
        columns.append(np.stack([np.full(len(kept), number), found.line[kept], middle]))
    regions = windows.join(*parts)
    if not len(regions):
        raise InputError(
            f"{run.config_file}: [prepare.genome] no peak is left; "
            + (", ".join(f"{count} {what}" for what, count in left_out.counts().items()) or "the files are empty")
        )
    file, line, middle = np.concatenate(columns, axis=1)
    count = sum(map(len, rows))
    return Peaks(regions, file, line, middle, labels, renamed, count, [path for path, _ in files])


def _files(run: Run, settings: Settings) -> list[tuple[Path, str]]:
    if settings.peak_table is None:
        if settings.label_column is not None:
            return [(run.resolve(name), "") for name in settings.peaks]
        named = peaks.named(list(settings.peaks), settings.peak_labels, key="[prepare.genome] peaks")
        return [(run.resolve(name), label) for name, label in named]
    table = run.resolve(settings.peak_table)
    # Files in a table are found from where the table lies, so that both can be moved together.
    found = peaks.read_list(table, key="[prepare.genome] peak_table")
    return [((table.parent / Path(name).expanduser()).resolve(), label) for name, label in found]


def _labels(files: list[tuple[Path, str]], rows: list[peaks.Rows]) -> list[str]:
    """Names of all labels: of files in their order; of a column sorted, as numbers when all are.

    Spreadsheets write 0 as 000 where they take a list for a number with thousands: numbers are compared as numbers.
    """
    if all(found.labels is None for found in rows):
        return list(dict.fromkeys(label for _, label in files))
    names = {name for found in rows for labels in found.labels or () for name in labels}
    if not names:
        raise InputError(f"{files[0][0]}: no row has a label; correct [prepare.genome] label_column in run.toml")
    if all(name.isdecimal() for name in names):
        return [str(number) for number in sorted({int(name) for name in names})]
    return sorted(names)


def _bits(labels: list[tuple[str, ...]], numbers: dict[str, int]) -> np.ndarray:
    """Bits (n, words) of label names."""
    bits = np.zeros((len(labels), -(-(max(numbers.values()) + 1) // windows.WORD)), dtype=np.uint64)
    places = np.array([row for row, names in enumerate(labels) for _ in names], dtype=np.int64)
    ids = np.array([numbers[name] for names in labels for name in names], dtype=np.int64)
    single = np.uint64(1) << (ids % windows.WORD).astype(np.uint64)
    np.bitwise_or.at(bits, (places, ids // windows.WORD), single)
    return bits


def places(path: Path, rows: peaks.Rows, genome: Genome) -> tuple[np.ndarray, bool]:
    """Number in the genome of each chromosome of a file, -1 = none; and whether they are called otherwise there.

    Raises:
        InputError: none of them is there, with or without "chr".
    """
    known = {name: number for number, name in enumerate(genome.names)}
    place = np.array([known.get(name, -1) for name in rows.names], dtype=np.int64)
    if (place >= 0).any():
        return place, False
    short: dict[str, int] = {}
    for number, name in enumerate(genome.names):
        short[_short(name)] = (
            -1 if _short(name) in short else number
        )  # hg19 has chrM and chrMT: neither is taken for MT
    place = np.array([short.get(_short(name), -1) for name in rows.names], dtype=np.int64)
    if (place < 0).all():
        raise InputError(
            f"{path}: none of its chromosomes ({_some(rows.names)}) is in {genome.path} ({_some(genome.names)}); "
            "use files of one genome"
        )
    logger.warning("%s: its chromosomes (%s) are called otherwise in the genome", path, _some(rows.names))
    return place, True


def _short(name: str) -> str:
    name = re.sub("^chr", "", name, flags=re.IGNORECASE)
    return "M" if name in ("MT", "Mt", "mt") else name


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _inside(
    path: Path, rows: peaks.Rows, place: np.ndarray, settings: Settings, genome: Genome, left_out: LeftOut
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that can be used, and their starts and ends, cut at the ends of chromosomes; the others are noted.

    Raises:
        InputError: too many lie beyond the ends.
    """
    chrom = place[rows.chrom]
    length = np.where(chrom >= 0, genome.lengths[chrom], 0)
    beyond = (chrom >= 0) & ((rows.start >= length) | (rows.end <= 0))
    if beyond.sum() > max(1, FOREIGN_MAX * len(rows)):
        first = int(np.flatnonzero(beyond)[0])
        name = rows.names[rows.chrom[first]]
        raise InputError(
            f"{path}: {int(beyond.sum())} of {len(rows)} peaks lie beyond the ends of chromosomes, the first in line "
            f"{rows.line[first]} ({name}:{rows.start[first]}-{rows.end[first]}; {genome.names[chrom[first]]} has "
            f"{length[first]} bp in {genome.path}): they are of another assembly; use one that fits, or lift them over"
        )
    wanted = np.array([_wanted(name, settings) for name in genome.names] + [True])  # the last stands for -1
    reasons = {
        "chromosome not in the genome": chrom < 0,
        "chromosome left out": ~wanted[chrom],
        "chromosome shorter than a window": (chrom >= 0) & (length < settings.window),
        "beyond the end of the chromosome": beyond,
    }
    kept = np.ones(len(rows), dtype=bool)
    for reason, rule in reasons.items():
        _note(left_out, path, rows, np.flatnonzero(kept & rule), reason=reason)
        kept &= ~rule
    chosen = np.flatnonzero(kept)
    start, end = np.maximum(rows.start[chosen], 0), np.minimum(rows.end[chosen], length[chosen])
    cut = (start != rows.start[chosen]) | (end != rows.end[chosen])
    _note(left_out, path, rows, chosen[cut], reason="cut at the end of the chromosome", done=CHANGED)
    return chosen, start, end


def _wanted(name: str, settings: Settings) -> bool:
    return name not in settings.without_chromosomes and (not settings.chromosomes or name in settings.chromosomes)


def _note(
    left_out: LeftOut, path: Path, rows: peaks.Rows, chosen: np.ndarray, *, reason: str, done: str = "dropped"
) -> None:
    names = np.array(rows.names, dtype=object)[rows.chrom[chosen]]
    columns = (names, rows.start[chosen], rows.end[chosen])
    left_out.add(*columns, reason=reason, file=path.name, line=rows.line[chosen], done=done)
