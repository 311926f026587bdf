"""Peak files: BED, narrowPeak, broadPeak, gappedPeak; the tables of MACS, HOMER and GRanges, whose starts count from 1.

Layouts are known by content: by a line of column names, which may begin with "#", or by the first row.
"""

import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.config import Genome
from satori_hpc.data.sources.genome import windows
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import progress
from satori_hpc.run import files as run_files
from satori_hpc.run.layout import Run

SKIPPED = re.compile(r"\s*$|#|(track|browser)(\s|$)")
ENDINGS = re.compile(r"(\.(gz|bgz|bed\d*|narrowpeak|broadpeak|gappedpeak|txt|tsv|xls|peaks))+$", re.IGNORECASE)
STRANDS = {"+": 1, "-": -1}
SUMMIT_COLUMN = 10  # of narrowPeak, counted from 1: summit minus start, or -1
NO_LABEL = (".", "")
LABELS_LIKE_A_ROW = 16  # labels that take as much memory as the rest of a row, while a file is read
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)  # int takes 1_000 and other digits, too, and more than 64 bits hold
_OFFSET = re.compile(r"-1|\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class Layout:
    """Where a table has what.

    Attributes:
        called: what to call it.
        chrom, start, end, strand: columns, from 0; -1: none.
        first: number of the first letter of a chromosome, 0 (ends are behind the last letter) or 1 (ends are the last).
        length: column of the lengths, which prove that starts count from 1; -1: none.
        summit: column of the summit; -1: none but that of narrowPeak.
        relative: the summit counts from the start, not along the chromosome.
    """

    called: str
    chrom: int = 0
    start: int = 1
    end: int = 2
    strand: int = 5
    first: int = 0
    length: int = -1
    summit: int = -1
    relative: bool = False


BED = Layout("BED")
HOMER = Layout("a peak file of HOMER or SAF", chrom=1, start=2, end=3, strand=4, first=1)
MACS = Layout("the .xls table of MACS", strand=-1, first=1, length=3, summit=4)


@dataclass(frozen=True)
class Rows:
    """Rows of a peak file, in its order; nothing is checked against a genome.

    Attributes:
        names: of the chromosomes of the file so far, in order of appearance.
        chrom: int64 (n,), places in `names`.
        start, end: int64 (n,), start < end; both may lie outside the chromosome.
        summit: int64 (n,), or -1 where the file tells none.
        strand: int8 (n,), 1, -1, or 0 = not told.
        line: int64 (n,), line number from 1.
        labels: of each row, where a column of labels was asked for.
    """

    names: list[str]
    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    summit: np.ndarray
    strand: np.ndarray
    line: np.ndarray
    labels: list[tuple[str, ...]] | None

    def __len__(self) -> int:
        return len(self.start)


def read(path: Path, *, key: str) -> Rows:
    """All rows of a file without labels, together; arguments and errors as `pieces`."""
    (rows,) = pieces(path, key=key, rows=sys.maxsize)
    return rows


def pieces(
    path: Path, *, key: str, rows: int, label_column: int | None = None, summits: bool = False
) -> Iterator[Rows]:
    """Read a file, plain or gzip; tabs or spaces, CRLF, blank lines, comments, track and browser lines are fine.

    Args:
        path: the file.
        key: where the user named it, for messages.
        rows: at a time; with many labels fewer.
        label_column: place, from 1, of a column with labels: names between commas, quoted or not, "." for none.
        summits: read the summits that narrowPeak and MACS have.

    Raises:
        InputError: the file cannot be read or holds no peak, or rows are not intervals; all of these, with their lines,
            at the end.
    """
    problems = Problems(f"{path}: not a file of peaks that can be used:")
    numbers: dict[str, int] = {}
    piece, found = _Piece(), 0
    called_narrow = ".narrowpeak" in path.name.lower()
    for number, cells, layout in _table(path, key=key):
        summit = _summit_column(cells, layout, called_narrow=called_narrow) if summits else -1
        complaint = _complaint(cells, layout, label_column, summit)
        if complaint:
            problems.add(f"line {number}: {complaint}" + ("" if found else _header_hint(cells)))
            continue
        if label_column is not None:
            piece.add_labels(_labels(cells[label_column - 1]))
        first = int(cells[layout.start].strip()) - layout.first  # strip takes more away than int does
        strand = cells[layout.strand].strip() if 0 <= layout.strand < len(cells) else ""
        piece.chrom.append(numbers.setdefault(cells[layout.chrom].strip(), len(numbers)))
        piece.start.append(first)
        piece.end.append(int(cells[layout.end].strip()))
        piece.summit.append(-1 if summit < 0 else _summit(int(cells[summit].strip()), first, layout))
        piece.strand.append(_strand(strand, layout))
        piece.line.append(number)
        found += 1
        if piece.size >= rows:
            yield piece.rows(list(numbers))
            piece = _Piece()
    if not found and not problems:
        problems.add(f"no peaks; expected rows of chrom, start, end; correct {key} in run.toml")
    problems.raise_any()
    if piece.size:
        yield piece.rows(list(numbers))


def label_names(path: Path, *, key: str, label_column: int) -> set[str]:
    """All names in a column of labels; rows that have no such column are passed over."""
    names: set[str] = set()
    for _, cells, _ in _table(path, key=key):
        if len(cells) >= label_column:
            names.update(_labels(cells[label_column - 1]))
    return names


def _table(path: Path, *, key: str) -> Iterator[tuple[int, list[str], Layout]]:
    """Yield (line number, cells, layout of the file) of every row."""
    layout = named = None
    for number, line in run_files.lines(path, key=key):
        if SKIPPED.match(line):
            if layout is None and line.startswith("#"):
                named = _by_names(_cells(line.lstrip("# "))) or named
            continue
        cells = _cells(line)
        if layout is None:
            layout = _by_names(cells)
            if layout is not None:
                continue
            if named is None and _is_bed_or_homer(cells):
                raise InputError(
                    f"{path}, line {number}: a BED file of chrom, start, end, name, strand, or one of HOMER: PeakID, "
                    "chr, start, end, strand? For HOMER, give it its line of column names (#PeakID, chr, start, end, "
                    "strand with tabs in between); for BED, put a score into column 5 and the strand into column 6"
                )
            layout = named or _by_row(cells)
        yield number, cells, layout


def _cells(line: str) -> list[str]:
    return line.rstrip().split("\t") if "\t" in line else line.split()


def _by_names(cells: list[str]) -> Layout | None:
    """The layout that column names tell, if they are known."""
    names = [cell.strip().strip("\"'").lower() for cell in cells[:5]]
    if names[1:] == ["chr", "start", "end", "strand"] and names[0].startswith(("peakid", "geneid")):
        return HOMER  # "PeakID (cmd=annotatePeaks.pl ...)" of HOMER; GeneID of SAF
    if names[1:4] == ["start", "end", "width"]:  # data frames of GRanges: ChIPseeker, DiffBind
        return Layout("a table of GRanges", strand=4 if names[4:] == ["strand"] else -1, first=1, length=3)
    if names[:4] != ["chr", "start", "end", "length"]:
        return None
    if names[4:] == ["summit"]:  # MACS 1: summits count from the start, and lengths are not always end - start + 1
        return Layout(MACS.called, strand=-1, first=1, summit=4, relative=True)
    return MACS if names[4:] == ["abs_summit"] else Layout(MACS.called, strand=-1, first=1, length=3)


def _by_row(cells: list[str]) -> Layout:
    """The layout of a table without column names."""
    texts = [cell.strip() for cell in cells[:5]]
    whole = [bool(_NUMBER.fullmatch(text)) for text in texts]
    if (
        len(texts) == 5
        and texts[1]
        and not whole[1]
        and whole[2]
        and whole[3]
        and texts[4] in ("+", "-", "0", "1", ".")
    ):
        return HOMER
    if len(cells) > 8 and all(whole[1:]):
        start, end, length, summit = map(int, texts[1:])
        if length == end - start + 1 and start <= summit <= end:
            return MACS
    return BED


class _Piece:
    """Rows that are being read."""

    def __init__(self) -> None:
        self.chrom, self.start, self.end, self.summit, self.strand, self.line = (array("q") for _ in range(6))
        self.labels: list[tuple[str, ...]] = []
        self._named = 0

    def add_labels(self, names: tuple[str, ...]) -> None:
        self.labels.append(tuple(map(sys.intern, names)))
        self._named += len(names)

    @property
    def size(self) -> int:
        """Rows, and what their labels take as much memory as."""
        return len(self.line) + self._named // LABELS_LIKE_A_ROW

    def rows(self, names: list[str]) -> Rows:
        columns = (self.chrom, self.start, self.end, self.summit, self.strand, self.line)
        chrom, start, end, summit, strand, line = (np.frombuffer(values, dtype=np.int64) for values in columns)
        return Rows(names, chrom, start, end, summit, strand.astype(np.int8), line, self.labels or None)


def read_list(path: Path, *, key: str) -> list[tuple[str, str]]:
    """(file, label) of every row of a table of two columns between tabs; comments and blank lines are fine.

    Raises:
        InputError: the table cannot be read, is empty, or rows have another number of columns.
    """
    problems = Problems(f"{path}: not a list of peak files that can be used:")
    found = []
    for number, line in run_files.lines(path, key=key):
        cells = [cell.strip() for cell in line.split("\t")]
        if not line.strip() or line.startswith("#"):
            continue
        if len(cells) != 2 or not all(cells):
            problems.add(f"line {number}: {len(cells)} columns; expected a file and its label, with a tab in between")
            continue
        found.append((cells[0], cells[1]))
    if not found and not problems:
        problems.add(f"empty; expected rows of file and label; correct {key} in run.toml")
    problems.raise_any()
    return found


def label_of(path: str) -> str:
    """The label that a file's name tells: without folders and the usual endings."""
    name = Path(path).name
    return ENDINGS.sub("", name) or name


def _complaint(cells: list[str], layout: Layout, label_column: int | None, summit: int) -> str:
    """What is wrong with a row, or nothing."""
    if len(cells) <= max(layout.end, layout.length):
        what = "PeakID, chr, start, end, strand" if layout is HOMER else "chrom, start, end"
        return f"{len(cells)} columns; expected {what} and maybe more, with tabs in between"
    chrom, first, last = cells[layout.chrom].strip(), cells[layout.start].strip(), cells[layout.end].strip()
    if not (_NUMBER.fullmatch(first) and _NUMBER.fullmatch(last)):
        return f"start {first[:30]!r} and end {last[:30]!r}; expected whole numbers"
    start, end = int(first) - layout.first, int(last)
    if start >= end:
        rule = "start <= end, both from 1" if layout.first else "start < end (0-based, half-open)"
        return f"{chrom[:60]}:{first}-{last} has no length; expected {rule}"
    if layout.length >= 0 and cells[layout.length].strip() != str(end - start):
        return (
            f"length {cells[layout.length][:30]!r} of {chrom[:60]}:{first}-{last}; expected {end - start}, for in "
            f"{layout.called} starts count from 1; if they were made 0-based, remove the line of column names and the "
            "column of lengths"
        )
    if not chrom:
        return "no chromosome; expected its name in the first column"
    if label_column is not None and len(cells) < label_column:
        return f"{len(cells)} columns; expected labels in column {label_column}"
    if summit >= 0 and not _OFFSET.fullmatch(cells[summit].strip()):
        rule = "bp along the chromosome" if layout.summit >= 0 and not layout.relative else "bp from start, or -1"
        return f"summit {cells[summit][:30]!r} in column {summit + 1}; expected {rule}"
    return ""


def _is_bed_or_homer(cells: list[str]) -> bool:
    """Whether columns 2 to 4 are numbers that make sense either way and a strand follows, which BED has in column 6."""
    texts = [cell.strip() for cell in cells[:5]]
    if len(texts) < 5 or texts[4] not in STRANDS or not all(map(_NUMBER.fullmatch, texts[1:4])):
        return False
    return int(texts[1]) < int(texts[2]) <= int(texts[3])


def _summit_column(cells: list[str], layout: Layout, *, called_narrow: bool) -> int:
    """Column of the summit in this row, -1: it has none.

    Column 10 tells it in narrowPeak only: 10 columns, numbers in 7 to 9, or more if the file is called so. In
    gappedPeak and BED of 12 columns it counts blocks.
    """
    if layout is not BED:
        return layout.summit if layout.summit < len(cells) else -1
    if called_narrow:
        return SUMMIT_COLUMN - 1 if len(cells) >= SUMMIT_COLUMN and not _has_blocks(cells) else -1
    return SUMMIT_COLUMN - 1 if len(cells) == SUMMIT_COLUMN and all(map(_is_real, cells[6:9])) else -1


def _is_real(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _has_blocks(cells: list[str]) -> bool:
    """Whether columns 10 to 12 are the number of blocks, their sizes and their starts."""
    if len(cells) < 12 or not _NUMBER.fullmatch(cells[9].strip()):
        return False
    lists = [[text for text in cell.strip().split(",") if text] for cell in cells[10:12]]
    return all(len(texts) == int(cells[9].strip()) and all(map(_NUMBER.fullmatch, texts)) for texts in lists)


def _summit(told: int, start: int, layout: Layout) -> int:
    """Place of a summit, 0-based, of what its column says."""
    if layout.summit < 0:
        return start + told if told >= 0 else -1
    return max(-1, told - layout.first + (start if layout.relative else 0))


def _strand(text: str, layout: Layout) -> int:
    """1, -1, or 0 = not told; HOMER writes 0 for plus and 1 for minus, too."""
    return STRANDS.get({"0": "+", "1": "-"}.get(text, text) if layout is HOMER else text, 0)


def _header_hint(cells: list[str]) -> str:
    if len(cells) > 4 and _NUMBER.fullmatch(cells[3].strip()) and _NUMBER.fullmatch(cells[4].strip()):
        return "; a GFF or GTF file is no file of peaks: make BED of it (columns 1, 4 - 1, 5)"
    if len(cells) > 2 and not cells[1].strip("-").isdigit():
        return "; a header line must begin with '#', and starts below it must count from 0"
    return ""


def _labels(cell: str) -> tuple[str, ...]:
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'":
        cell = cell[1:-1]
    return tuple(name for name in (part.strip() for part in cell.split(",")) if name not in NO_LABEL)


def with_labels(files: Sequence[str], *, key: str) -> list[tuple[str, str]]:
    """(file, label that its name tells).

    Raises:
        InputError: names that tell the same label of two files.
    """
    told = [label_of(name) for name in files]
    twice = sorted({name for name in told if told.count(name) > 1})
    if twice:
        raise InputError(
            f"{key}: several files are called {', '.join(twice)}; rename them, or list files and labels in a peak_table"
        )
    return list(zip(files, told, strict=True))


# Files of peaks and the labels that they, or a column of them, tell.


def files(run: Run, settings: Genome) -> list[tuple[Path, str]]:
    """The files of peaks, each with its label, which is empty where a column tells the labels."""
    if settings.peak_table is None:
        if settings.label_column is not None:
            return [(run.resolve(name), "") for name in settings.peaks]
        named = with_labels(settings.peaks, key="[prepare.genome] peaks")
        return [(run.resolve(name), label) for name, label in named]
    table = run.resolve(settings.peak_table)
    # Files in a table are found from where the table lies, so that both can be moved together.
    found = read_list(table, key="[prepare.genome] peak_table")
    return [((table.parent / Path(name).expanduser()).resolve(), label) for name, label in found]


def numbered(files: list[tuple[Path, str]], settings: Genome, key: str) -> tuple[list[str], dict[str, int]]:
    """Names of all labels, of files in their order, of a column sorted, as numbers when all are; and their numbers.

    Spreadsheets write 0 as 000 where they take a list for a number with thousands: numbers are compared as numbers.
    """
    if settings.label_column is None:
        labels = list(dict.fromkeys(label for _, label in files))
        return labels, {label: number for number, label in enumerate(labels)}
    names: set[str] = set()
    for path, _ in progress(files, what="labels", unit="file"):
        names |= label_names(path, key=key, label_column=settings.label_column)
    if not names:
        raise InputError(f"{files[0][0]}: no row has a label; correct [prepare.genome] label_column in run.toml")
    if not all(name.isdecimal() for name in names):
        labels = sorted(names)
        return labels, {label: number for number, label in enumerate(labels)}
    places = {value: number for number, value in enumerate(sorted({int(name) for name in names}))}
    return [str(value) for value in places], {name: places[int(name)] for name in names}


def words_of(labels: list[str]) -> int:
    """Words that hold a bit per label."""
    return -(-len(labels) // windows.WORD)


def bits(labels: list[tuple[str, ...]], numbers: dict[str, int], words: int) -> np.ndarray:
    """Bits (n, words) of label names."""
    found = np.zeros((len(labels), words), dtype=np.uint64)
    places = np.array([row for row, names in enumerate(labels) for _ in names], dtype=np.int64)
    ids = np.array([numbers[name] for names in labels for name in names], dtype=np.int64)
    single = np.uint64(1) << (ids % windows.WORD).astype(np.uint64)
    np.bitwise_or.at(found, (places, ids // windows.WORD), single)
    return found
