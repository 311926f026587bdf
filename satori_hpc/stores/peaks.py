"""Peak files: BED of 3 to 6 columns, narrowPeak, broadPeak, or any table that begins with chrom, start, end."""

import re
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.errors import InputError, Problems
from satori_hpc.stores import text_input

SKIPPED = re.compile(r"\s*$|#|(track|browser)(\s|$)")
ENDINGS = re.compile(r"(\.(gz|bgz|bed\d?|narrowpeak|broadpeak|txt|tsv|peaks))+$", re.IGNORECASE)
STRANDS = {"+": 1, "-": -1}
SUMMIT_COLUMN = 10  # of narrowPeak, counted from 1: summit minus start, or -1
NO_LABEL = (".", "")
LABELS_LIKE_A_ROW = 16  # labels that take as much memory as the rest of a row, while a file is read
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)  # int takes 1_000 and other digits, too, and more than 64 bits hold
_OFFSET = re.compile(r"-1|\d{1,18}", re.ASCII)


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
        summits: take column 10 for the place of the summit in the peak, as narrowPeak has it.

    Raises:
        InputError: the file cannot be read or holds no peak, or rows are not intervals; all of these, with their lines,
            at the end.
    """
    problems = Problems(f"{path}: not a file of peaks that can be used:")
    numbers: dict[str, int] = {}
    piece, found = _Piece(), 0
    for number, line in text_input.lines(path, key=key):
        if SKIPPED.match(line):
            continue
        cells = line.rstrip().split("\t") if "\t" in line else line.split()
        complaint = _complaint(cells, label_column, summits=summits)
        if complaint:
            problems.add(f"line {number}: {complaint}" + ("" if found else _header_hint(cells)))
            continue
        if label_column is not None:
            piece.add_labels(_labels(cells[label_column - 1]))
        first = int(cells[1])
        offset = int(cells[SUMMIT_COLUMN - 1]) if summits and len(cells) >= SUMMIT_COLUMN else -1
        piece.chrom.append(numbers.setdefault(cells[0].strip(), len(numbers)))
        piece.start.append(first)
        piece.end.append(int(cells[2]))
        piece.summit.append(first + offset if offset >= 0 else -1)
        piece.strand.append(STRANDS.get(cells[5].strip(), 0) if len(cells) > 5 else 0)
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
    for _, line in text_input.lines(path, key=key):
        cells = line.rstrip().split("\t") if "\t" in line else line.split()
        if len(cells) >= label_column and not SKIPPED.match(line):
            names.update(_labels(cells[label_column - 1]))
    return names


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
    for number, line in text_input.lines(path, key=key):
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


def _complaint(cells: list[str], label_column: int | None, *, summits: bool) -> str:
    """What is wrong with a row, or nothing."""
    if len(cells) < 3:
        return f"{len(cells)} columns; expected chrom, start, end and maybe more, with tabs in between"
    if not (_NUMBER.fullmatch(cells[1].strip()) and _NUMBER.fullmatch(cells[2].strip())):
        return f"start {cells[1][:30]!r} and end {cells[2][:30]!r}; expected whole numbers"
    start, end = int(cells[1]), int(cells[2])
    if start >= end:
        return f"{cells[0]}:{start}-{end} has no length; expected start < end (0-based, half-open)"
    if not cells[0].strip():
        return "no chromosome; expected its name in the first column"
    if label_column is not None and len(cells) < label_column:
        return f"{len(cells)} columns; expected labels in column {label_column}"
    if summits and len(cells) >= SUMMIT_COLUMN and not _OFFSET.fullmatch(cells[SUMMIT_COLUMN - 1].strip()):
        return f"summit {cells[SUMMIT_COLUMN - 1][:30]!r} in column {SUMMIT_COLUMN}; expected bp from start, or -1"
    return ""


def _header_hint(cells: list[str]) -> str:
    return "; a header line must begin with '#'" if len(cells) > 2 and not cells[1].strip("-").isdigit() else ""


def _labels(cell: str) -> tuple[str, ...]:
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'":
        cell = cell[1:-1]
    return tuple(name for name in (part.strip() for part in cell.split(",")) if name not in NO_LABEL)


def named(files: list[str], labels: tuple[str, ...], *, key: str) -> list[tuple[str, str]]:
    """(file, label): labels as given, or told by the files' names.

    Raises:
        InputError: another number of labels than of files; or names that tell the same label of two files.
    """
    if labels and len(labels) != len(files):
        raise InputError(f"{key}: {len(files)} files and {len(labels)} labels; give one label per file, or none")
    told = list(labels) or [label_of(name) for name in files]
    twice = sorted({name for name in told if told.count(name) > 1}) if not labels else []
    if twice:
        raise InputError(f"{key}: several files are called {', '.join(twice)}; name their labels in peak_labels")
    return list(zip(files, told, strict=True))
