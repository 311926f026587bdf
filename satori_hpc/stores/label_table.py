"""Label tables in SATORI's format: tab-separated, no header line, chrom, start, end first and the label last."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from satori_hpc.errors import Problems
from satori_hpc.stores import text_input

KEY = "[prepare.fasta] table"
MIN_COLUMNS = 4
MOST_COLUMNS = 1000
STRAND_COLUMN = 6  # of BED, counted from 1
STRANDS = {"+": 1, "-": -1, ".": 0}
ROW = 500  # bytes for what is kept of a row besides its text
CHECKED = 2**12  # rows between two looks at the memory
MOST_LABELS = 65_536
_NUMBER = re.compile(r"\d{1,18}")
_VALUE = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")
_SIGNED = re.compile(r"[-+]?\d+")
EMPTY_SET = "."


@dataclass
class Rows:
    """The rows of a table, in its order.

    Attributes:
        chrom, start, end: the first three columns.
        more: the columns between these and the last, by their number from 1.
        labels: the last column, without quotes.
        lines: line numbers.
    """

    chrom: list[str] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    more: dict[int, list[str]] = field(default_factory=dict)

    def strands(self) -> list[int]:
        """1, -1, or 0 = not told, by the column of +, - and dots, that of BED before others; all 0 without one."""
        told = [number for number, cells in self.more.items() if set(cells) <= set(STRANDS) and not set(cells) <= {"."}]
        column = min(told, key=lambda number: (number != STRAND_COLUMN, number), default=None)
        return [0] * len(self.lines) if column is None else [STRANDS[cell] for cell in self.more[column]]

    def names(self) -> dict[int, list[str]]:
        """Columns that may hold names, by their number from 1: the first, and those between that hold text."""
        texts = {number: cells for number, cells in self.more.items() if not all(map(_is_value, set(cells)))}
        return {1: self.chrom, **texts}


@dataclass(frozen=True)
class Labels:
    """What the last column means.

    Attributes:
        task: "binary" or "multilabel".
        active: sorted label ids of each row; in the binary task (1,) or ().
        targets: names of the labels.
    """

    task: str
    active: list[tuple[int, ...]]
    targets: list[str]

    def matrix(self, rows: list[int]) -> np.ndarray:
        """uint8 (rows, targets), 0 or 1, of the rows named."""
        dense = np.zeros((len(rows), len(self.targets)), dtype=np.uint8)
        for place, row in enumerate(rows):
            dense[place, list(self.active[row])] = 1
        return dense


def _is_value(cell: str) -> bool:
    """Whether a cell is a number or a strand, or empty: nothing that a record is called."""
    return not cell or cell in STRANDS or _VALUE.fullmatch(cell) is not None


def read(path: Path, *, check: Callable[[int], None] | None = None) -> Rows:
    """Read the table; CRLF, blank lines, quotes around labels and a missing final newline are fine.

    Args:
        path: of the table.
        check: told from time to time how many bytes are taken; raises when these are too many.

    Raises:
        InputError: it is missing, empty or not text, or rows have the wrong number of columns or no whole numbers
            as start and end; all of these at once, with their rows.
    """
    problems = Problems(f"{path}: not a label table that can be used:")
    rows = Rows()
    columns = taken = 0
    for number, line in text_input.lines(path, key=KEY):
        if not line.strip():
            continue
        taken += ROW + len(line)
        if check is not None and len(rows.lines) % CHECKED == 0:
            check(taken)
        if line.count("\t") >= MOST_COLUMNS:
            problems.add(f"row {number}: more than {MOST_COLUMNS} columns")
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != (columns or len(cells)) or len(cells) < MIN_COLUMNS:
            problems.add(f"row {number}: {_columns_complaint(len(cells), columns)}")
            continue
        columns = len(cells)
        complaint = _interval_complaint(cells)
        if complaint:
            hint = "; a header line must be removed" if not rows.lines else ""
            problems.add(f"row {number}: {complaint}{hint}")
            continue
        rows.chrom.append(sys.intern(cells[0]))
        rows.start.append(int(cells[1]))
        rows.end.append(int(cells[2]))
        for column, cell in enumerate(cells[3:-1], start=4):
            rows.more.setdefault(column, []).append(sys.intern(cell))
        rows.labels.append(sys.intern(_unquoted(cells[-1])))
        rows.lines.append(number)
    if not rows.lines and not problems:
        problems.add(f"empty; expected rows of chrom, start, end, ..., label; correct {KEY} in run.toml")
    problems.raise_any()
    return rows


def _columns_complaint(found: int, before: int) -> str:
    if before:
        return f"{found} columns; expected {before}, as in the rows before"
    return (
        f"{found} columns; expected at least {MIN_COLUMNS} (chrom, start, end, ..., label); "
        "columns are separated by tabs"
    )


def _interval_complaint(cells: list[str]) -> str:
    if not cells[0]:
        return "the first column (chrom or name) is empty"
    for name, cell in (("start", cells[1]), ("end", cells[2])):
        if not _NUMBER.fullmatch(cell):
            return f"{name} is {cell!r}; expected a whole number"
    return f"end {cells[2]} is before start {cells[1]}" if int(cells[2]) < int(cells[1]) else ""


def _unquoted(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] and cell[0] in "\"'":
        return cell[1:-1].strip()
    return cell


def parse_labels(path: Path, rows: Rows, *, task: str, labels: int | None) -> Labels:
    """Read the last column: 0 or 1, or comma-separated label ids ("." = none).

    Args:
        path: of the table, for the message.
        rows: the table.
        task: "binary", "multilabel", or "auto": multilabel when any row holds a list or ".".
        labels: number of labels; None = the largest id + 1.

    Raises:
        InputError: labels are not numbers or out of range; all of them at once, with their rows.
    """
    auto = task == "auto"
    if auto:
        task = "multilabel" if any("," in cell or cell == EMPTY_SET for cell in rows.labels) else "binary"
    problems = Problems(f"{path}: labels cannot be used (the label is the last column):")
    limit = 2 if task == "binary" else labels or MOST_LABELS
    hint = "; for labels 0, 1, 2, ... of a multi-label set, set task = 'multilabel'" if auto else ""
    known: dict[str, tuple[int, ...] | str] = {}
    active: list[tuple[int, ...]] = []
    for cell, number in zip(rows.labels, rows.lines, strict=True):
        if cell not in known:
            known[cell] = _ids(cell, task, limit)
        found = known[cell]
        if isinstance(found, str):
            problems.add(f"row {number}: {found}{hint if task == 'binary' else ''}")
        else:
            active.append(found)
    problems.raise_any()
    if task == "binary":
        return Labels(task, [(0,) if ids == (1,) else () for ids in active], ["label"])
    count = labels or max((ids[-1] for ids in active if ids), default=0) + 1
    return Labels(task, active, [str(label) for label in range(count)])


def _ids(cell: str, task: str, limit: int) -> tuple[int, ...] | str:
    """The label ids of one cell, or what is wrong with it."""
    if task == "multilabel" and cell == EMPTY_SET:
        return ()
    expected = "0 or 1" if task == "binary" else f"ids from 0 to {limit - 1}, separated by commas"
    if not cell:
        return f"no label; expected {expected}" + (" ('.' for none)" if task == "multilabel" else "")
    parts = [part.strip() for part in cell.split(",")]
    if task == "binary" and len(parts) > 1:
        return f"a list of labels, {cell[:40]!r}; expected {expected}"
    for part in parts:
        if not _SIGNED.fullmatch(part):
            return f"label {part[:40]!r} is not a whole number; expected {expected}"
        if len(part) > 9 or not 0 <= int(part) < limit:
            return f"label {part[:40]} is out of range; expected {expected}"
    return tuple(sorted({int(part) for part in parts}))
