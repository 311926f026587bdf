"""Join a FASTA file and its label table by coordinates, else by names; by order on request."""

import re
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.data import fasta, sequence
from satori_hpc.data.dataset import Coded, Coordinates, Examples
from satori_hpc.data.fasta import Interval, Records
from satori_hpc.data.source import ExcludedRecords, MemoryBudget, Source, check_length, digests
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import Run

# Label tables in SATORI's format: tab-separated, no header line, chrom, start, end first and the label last.

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


def read_table(path: Path, *, check: Callable[[int], None] | None = None) -> Rows:
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
    for number, line in files.lines(path, key=KEY):
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


BY_ORDER = "row order"
SIGNS = {1: "(+)", -1: "(-)", 0: ""}


@dataclass(frozen=True)
class _Way:
    """One way to say which row a record belongs to: both have the same key.

    Attributes:
        name: "place", or "name" in a column.
        records: key of each record; None: no row has it.
        rows: key of each row.
        shift: "headers" or "table", whose starts count from 1 and are lowered by one in the keys; "": neither.
        column: of the names, from 1; 0: places.
    """

    name: str
    records: list[Hashable]
    rows: list[Hashable]
    shift: str = ""
    column: int = 0

    def matched(self) -> int:
        """Count the keys shared by records and rows."""
        return len(set(self.records) - {None})


@dataclass
class _Join:
    """Row numbers that belong together: record `records[i]` has the label of row `rows[i]`; and what is left.

    Attributes:
        repeated_records, repeated_rows: they repeat earlier ones in full.
        unlabelled: records without a row.
        way: by what they were joined; None: by row order.
    """

    way: _Way | None
    records: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    repeated_records: list[int] = field(default_factory=list)
    repeated_rows: list[int] = field(default_factory=list)
    unlabelled: list[int] = field(default_factory=list)


def read(
    fasta_path: Path,
    table_path: Path,
    *,
    task: str,
    labels: int | None,
    join: str = "auto",
    unlabelled: str = "refuse",
    alphabet: str = "dna",
    check: Callable[[int], None] | None = None,
) -> tuple[Examples, dict[str, Any], ExcludedRecords]:
    """Read both files; examples are in the order of the FASTA file, all in the training part.

    A record belongs to the row of its place (`fasta.interval` tells what headers are understood), or, where more
    records find a row by their names, to the row that has its name in the first column or in another one of text. What
    contradicts this is refused. Strands are compared where both tell one. What is repeated in full (name, label,
    sequence) is taken once.

    Args:
        fasta_path, table_path: the files.
        task: "auto", "binary" or "multilabel".
        labels: number of labels of a multi-label set; None = the largest id + 1.
        join: "auto"; "name": never by place; "order": record k belongs to row k, whatever it is called.
        unlabelled: "refuse" or "drop" records without a row.
        alphabet: "dna" or "rna".
        check: told how many bytes are taken while files are read; raises when these are too many.

    Returns:
        (data set, numbers for the summary, the repeats and what was dropped).

    Raises:
        InputError: anything about the files that cannot be used.
    """
    records = fasta.read(fasta_path, alphabet=alphabet, check=check)
    rows = read_table(table_path, check=check)
    meaning = parse_labels(table_path, rows, task=task, labels=labels)
    problems = Problems(f"{fasta_path} and {table_path} do not make a data set:")
    if join == "order":
        joined = _by_order(records, rows, meaning, problems)
    else:
        joined = _by_key(records, rows, meaning, problems, join=join, drop=unlabelled == "drop")
    _check_lengths(records, joined, problems)
    problems.raise_any()
    tokens = np.stack([records.tokens[record] for record in joined.records])
    unknown = int((tokens == sequence.N).sum())
    if unknown > 0.1 * tokens.size:
        logger.warning(
            "%s: %.0f %% of all letters are not A, C, G or T: %s",
            fasta_path, 100 * unknown / tokens.size, _other_letters(records.letters),
        )  # fmt: skip
    if joined.unlabelled:
        logger.warning(
            "%d of %d records have no row in the table and are left out, the first is %s (FASTA line %d)",
            len(joined.unlabelled), len(records.names), *_first(records, joined.unlabelled),
        )  # fmt: skip
    coordinates, other = _coordinates(records, rows, joined, tokens.shape[1])
    whole = Examples(
        tokens=tokens,
        labels=meaning.matrix(joined.rows),
        names=_names(records, joined),
        targets=meaning.targets,
        coordinates=coordinates,
        task=meaning.task,
    )
    summary = {
        "records": len(records.names),
        "rows": len(rows.lines),
        "repeated_records_merged": len(joined.repeated_records),
        "repeated_rows_merged": len(joined.repeated_rows),
        "records_without_label_dropped": len(joined.unlabelled),
        "joined_by": joined.way.name if joined.way else BY_ORDER,
        "intervals_not_as_long_as_sequences": other,
        "letters_not_ACGT": unknown,
    }
    return whole, summary, _excluded_records(fasta_path, table_path, records, rows, joined)


def _first(records: Records, chosen: list[int]) -> tuple[str, int]:
    return records.names[chosen[0]][:80], records.lines[chosen[0]]


def _other_letters(counts: dict[str, int]) -> str:
    others = [f"{letter} {count:,}" for letter, count in counts.items() if letter not in "ACGT"]
    return ", ".join(others[:6])


def _excluded_records(
    fasta_path: Path, table_path: Path, records: Records, rows: Rows, joined: _Join
) -> ExcludedRecords:
    """Records and rows that repeat earlier ones in full, and records without a row."""
    excluded_records = ExcludedRecords()
    for place, reason, chosen in (
        (0, "repeats an earlier record", joined.repeated_records),
        (2, "has no row in the table", joined.unlabelled),
    ):
        at = [records.places[record] or _own(records, record) for record in chosen]
        excluded_records.add(
            np.array([each.chrom for each in at], dtype=object),
            np.array([each.start for each in at], dtype=np.int64),
            np.array([each.end for each in at], dtype=np.int64),
            place=(place,),
            reason=reason,
            file=fasta_path.name,
            line=np.array([records.lines[record] for record in chosen], dtype=np.int64),
        )
    chrom, start, end, line = (
        np.array([column[row] for row in joined.repeated_rows], dtype=dtype)
        for column, dtype in (
            (rows.chrom, object),
            (rows.start, np.int64),
            (rows.end, np.int64),
            (rows.lines, np.int64),
        )
    )
    excluded_records.add(
        chrom, start, end, place=(1,), reason="repeats an earlier row", file=table_path.name, line=line
    )
    return excluded_records


def _own(records: Records, record: int) -> Interval:
    """A record without a place lies on a chromosome of its own name."""
    return Interval(records.names[record], 0, len(records.tokens[record]), 0)


def _ways(records: Records, rows: Rows, join: str) -> list[_Way]:
    """All ways to join, the one to prefer among equals first. Starts are shifted where not all places are met."""
    ways: list[_Way] = []
    places = _known_chromosomes(records.places, rows)
    if join == "auto" and any(places):
        for shift in ("", "headers", "table"):
            name = f"place, starts of {shift} count from 1" if shift else "place"
            down, row_down = int(shift == "headers"), int(shift == "table")
            keys = [at and (at.chrom, at.start - (0 if at.sure else down), at.end) for at in places]
            row_places = zip(rows.chrom, rows.start, rows.end, strict=True)
            ways.append(_way(name, keys, [(chrom, start - row_down, end) for chrom, start, end in row_places], shift))
            if None not in ways[0].records:
                break
    aliases = [fasta.aliases(name) for name in records.names]
    for column, cells in rows.names().items():
        known = set(cells)
        named = [next((name for name in names if name in known), None) for names in aliases]
        ways.append(_way("name" if column == 1 else f"name in column {column}", named, cells, column=column))
    return ways


def _way(name: str, records: Sequence[Any], rows: Sequence[Any], shift: str = "", column: int = 0) -> _Way:
    known = set(rows)
    return _Way(name, [key if key in known else None for key in records], list(rows), shift, column)


def _known_chromosomes(places: list[Interval | None], rows: Rows) -> list[Interval | None]:
    """Places with their chromosomes as the table calls them, where headers have the assembly before them: hg38_chr1."""
    known = set(rows.chrom)

    def as_known(at: Interval) -> Interval:
        shorter = [at.chrom.partition(sign)[2] for sign in "_:"]
        return next((replace(at, chrom=each) for each in shorter if at.chrom not in known and each in known), at)

    return [at and as_known(at) for at in places]


def _by_key(records: Records, rows: Rows, meaning: Labels, problems: Problems, *, join: str, drop: bool) -> _Join:
    """Pair records with rows by the way that joins most; what cannot be paired is added to `problems`."""
    ways = _ways(records, rows, join)
    matched = [way.matched() for way in ways]
    best = max(matched)
    if not best:
        raise InputError(_nothing_matches(problems.heading, records, rows))
    way = ways[matched.index(best)]
    _check_shift(way, records, rows, problems)
    for other, count in zip(ways, matched, strict=True):
        if other.column != way.column and 2 * count >= best:
            _contradictions(way, other, records, rows, problems)
    if way.column > 1 and join == "auto":
        _check_overlap(way, records, rows, problems)
    # Strands are compared where both tell one: those of rows count where a record of the same key has one.
    stranded = {key for key, strand in zip(way.records, records.strands, strict=True) if strand}
    strands = [strand if key in stranded else 0 for key, strand in zip(way.rows, rows.strands(), strict=True)]
    kept_records = _once(way.records, records.strands, _same_record(records), problems, "FASTA lines", records.lines)
    kept_rows = _once(way.rows, strands, _same_row(rows, meaning), problems, "table rows", rows.lines)
    joined = _Join(
        way,
        repeated_records=_others(kept_records, [key is not None for key in way.records]),
        repeated_rows=_others(kept_rows, [True] * len(way.rows)),
    )
    _pair(joined, records, rows, kept_rows, problems, drop=drop)
    taken, paired, strand_problems = set(joined.rows), set(way.records), bool(problems)
    for row in kept_rows.values():
        if row not in taken and not (way.rows[row] in paired and strand_problems):
            what = "record on its strand" if way.rows[row] in paired else "record"
            problems.add(
                f"table row {rows.lines[row]}: {_row_name(rows, row)} has no {what} in the FASTA file; "
                "add its sequence or remove the row"
            )
    return joined


def _others(kept: dict[tuple[Hashable, int], int], having: list[bool]) -> list[int]:
    """Places that have a key and are not the first of it."""
    return sorted(set(np.flatnonzero(having).tolist()) - set(kept.values()))


def _same_record(records: Records) -> Callable[[int, int], str]:
    return lambda a, b: "" if np.array_equal(records.tokens[a], records.tokens[b]) else "sequences"


def _same_row(rows: Rows, meaning: Labels) -> Callable[[int, int], str]:
    def differs(a: int, b: int) -> str:
        if meaning.active[a] != meaning.active[b]:
            return "labels"
        return "" if (rows.start[a], rows.end[a]) == (rows.start[b], rows.end[b]) else "places"

    return differs


def _once(
    keys: list[Hashable],
    strands: list[int],
    differs: Callable[[int, int], str],
    problems: Problems,
    where: str,
    lines: list[int],
) -> dict[tuple[Hashable, int], int]:
    """First place of every key on every strand; one that comes again must bring the same content."""
    first: dict[tuple[Hashable, int], int] = {}
    for place, key in enumerate(zip(keys, strands, strict=True)):
        if key[0] is None:
            continue
        before = first.setdefault(key, place)
        if before != place and (what := differs(before, place)):
            problems.add(
                f"{where} {lines[before]} and {lines[place]}: {_key_name(key[0])} occurs twice with "
                f"different {what}; keep one of them, or give them different names"
            )
    return first


def _pair(
    joined: _Join,
    records: Records,
    rows: Rows,
    kept_rows: dict[tuple[Hashable, int], int],
    problems: Problems,
    *,
    drop: bool,
) -> None:
    """Find the row of every record, by strand where both have one."""
    assert joined.way is not None
    at: dict[Hashable, dict[int, int]] = {}
    for (key, strand), kept in kept_rows.items():
        at.setdefault(key, {})[strand] = kept
    taken: dict[int, int] = {}
    clashes: list[tuple[int, int]] = []
    repeated = set(joined.repeated_records)
    told = sum(place is not None for place in records.places)
    for record, key in enumerate(joined.way.records):
        if record in repeated:
            continue
        if key is None:
            joined.unlabelled.append(record)
            if not drop:
                problems.add(_no_row(records, record, told))
            continue
        where = f"FASTA line {records.lines[record]}: {records.names[record][:80]}"
        strand, found = records.strands[record], at[key]
        row = found[strand] if strand in found else found.get(0)
        if row is None:
            listed = " and ".join(str(rows.lines[each]) for each in found.values())
            problems.add(
                f"{where} is on strand {'+' if strand > 0 else '-'}, table row {listed} of that place or name on the "
                "other; correct one of them, or take the column of strands out where it is not about the sequences"
                if strand
                else f"{where} tells no strand, and rows {listed} of the table do; write the strand into the header "
                "(bedtools getfasta -s)"
            )
        elif row in taken:
            clashes.append((taken[row], record))
        else:
            taken[row] = record
            joined.records.append(record)
            joined.rows.append(row)
    for first, second in clashes[:1]:
        more = f" ({len(clashes) - 1} more places likewise)" if len(clashes) > 1 else ""
        problems.add(
            f"FASTA lines {records.lines[first]} and {records.lines[second]}: {_key_name(joined.way.records[first])} "
            f"occurs twice, on both strands or with and without one{more}, and rows of the table cannot tell strands; "
            f"give the table a column of + and - (column {STRAND_COLUMN}, as in BED) and a row for each "
            "strand, or keep one of the records"
        )


def _no_row(records: Records, record: int, told: int) -> str:
    """`told`: how many headers tell a place."""
    form = ""
    if told < len(records.places) and (records.places[record] is None) == (2 * told >= len(records.places)):
        form = " (a header of another form than the others)"
    return (
        f"FASTA line {records.lines[record]}: {records.names[record][:80]}{form} has no row in the table; add its "
        "label, remove the record, or have such records left out: unlabelled = 'drop' in [prepare.fasta] (satori-hpc "
        "new: --drop-unlabelled)"
    )


def _by_order(records: Records, rows: Rows, meaning: Labels, problems: Problems) -> _Join:
    """Record k belongs to row k, unless headers tell that it does not."""
    if len(records.names) != len(rows.lines):
        raise InputError(
            f"{problems.heading}\n  - join = 'order' in [prepare.fasta] needs as many records as rows; the numbers "
            f"differ: {len(records.names)} records, {len(rows.lines)} rows"
        )
    order: list[Hashable] = list(range(len(rows.lines)))
    for way in _ways(records, rows, "auto"):
        # A few names may be met by chance, places are not.
        if not way.column or 2 * way.matched() >= len(records.names):
            _contradictions(way, _Way("order", order, order), records, rows, problems)
    problems.raise_any()
    logger.warning("record k takes the label of row k, as join = 'order' in [prepare.fasta] says")
    same_record, same_row = _same_record(records), _same_row(rows, meaning)
    keys: list[Hashable] = [(name, place) for name, place in zip(records.names, records.places, strict=True)]
    first = _once(
        keys,
        records.strands,
        lambda a, b: same_record(a, b) or same_row(a, b),
        problems,
        "FASTA lines",
        records.lines,
    )
    kept = sorted(first.values())
    repeated = sorted(set(range(len(keys))) - set(kept))
    return _Join(None, kept, kept, repeated, repeated)


def _check_shift(way: _Way, records: Records, rows: Rows, problems: Problems) -> None:
    """Starts of one side that are one above the other's must count from 1, which lengths prove; else refuse."""
    if not way.shift:
        return
    row_of = {key: row for row, key in enumerate(way.rows)}
    pairs = [(record, row_of[key]) for record, key in enumerate(way.records) if key in row_of]
    what, other = ("FASTA headers", "table") if way.shift == "headers" else ("table", "FASTA headers")
    record, row = pairs[0]
    shown = f"{records.names[record][:80]} and {_row_name(rows, row)}"
    for record, row in pairs:
        start, end = rows.start[row] - (way.shift == "table"), rows.end[row]
        if end - start != len(records.tokens[record]):
            problems.add(
                f"starts in the {what} are one above those in the {other} ({shown}), as if the {what} counted from 1; "
                f"but {records.names[record][:80]} (FASTA line {records.lines[record]}) is "
                f"{len(records.tokens[record])} bp long, not {end - start}; make the starts of both the same"
            )
            problems.raise_any()
    logger.warning(
        "starts in the %s are one above those in the %s, and the sequences are as long as that makes them: they count "
        "from 1 (%s) and are lowered by one", what, other, shown,
    )  # fmt: skip


def _contradictions(way: _Way, other: _Way, records: Records, rows: Rows, problems: Problems) -> None:
    """Records that belong to one row by `way` and to others by `other`."""
    rows_of: list[dict[Hashable, set[int]]] = [{}, {}]
    for found, keys in zip(rows_of, (way.rows, other.rows), strict=True):
        for row, key in enumerate(keys):
            found.setdefault(key, set()).add(row)
    for record, (key, other_key) in enumerate(zip(way.records, other.records, strict=True)):
        here, there = rows_of[0].get(key), rows_of[1].get(other_key)
        if here and there and not here & there:
            problems.add(
                f"FASTA line {records.lines[record]}: {records.names[record][:80]} is by its {way.name} that of row "
                f"{rows.lines[min(here)]}, by its {other.name} that of row {rows.lines[min(there)]}; correct the table "
                "or the header, or join in [prepare.fasta]"
            )


def _check_overlap(way: _Way, records: Records, rows: Rows, problems: Problems) -> None:
    """Records that are joined by name must not lie elsewhere than their rows, where both tell places."""

    def plain(chrom: str) -> str:
        return chrom.removeprefix("chr")

    places = _known_chromosomes(records.places, rows)
    if not {plain(at.chrom) for at in places if at} & set(map(plain, rows.chrom)):
        return
    row_of = {key: row for row, key in enumerate(way.rows)}
    for record, (key, at) in enumerate(zip(way.records, places, strict=True)):
        row = row_of.get(key)
        if at is None or row is None:
            continue
        apart = at.start > rows.end[row] or at.end < rows.start[row]
        if apart or plain(at.chrom) != plain(rows.chrom[row]):
            problems.add(
                f"FASTA line {records.lines[record]}: {records.names[record][:80]} lies elsewhere than "
                f"{_row_name(rows, row)}, row {rows.lines[row]} of its name; correct one of them, or join by names "
                "alone: join = 'name' in [prepare.fasta]"
            )


def _row_name(rows: Rows, row: int) -> str:
    return f"{rows.chrom[row][:80]}:{rows.start[row]}-{rows.end[row]}"


def _key_name(key: Any) -> str:
    if isinstance(key, str):
        return key[:80]
    return str(key[0])[:80] if len(key) == 2 else f"{key[0][:80]}:{key[1]}-{key[2]}"


def _nothing_matches(heading: str, records: Records, rows: Rows) -> str:
    count, other = len(records.names), len(rows.lines)
    at = records.places[0]
    read_as = f" (read as {at.chrom[:80]}, {at.start} to {at.end})" if at else ""
    order = (
        "if record k is that of row k, say so: join = 'order' in [prepare.fasta] (satori-hpc new: --join order)"
        if count == other
        else f"the numbers differ as well: {count} records, {other} rows"
    )
    return (
        f"{heading}\n  - no record belongs to a row by its place or name: the first header (line {records.lines[0]}) "
        f"is >{records.names[0][:80]}{read_as}, the first row of the table ({rows.lines[0]}) would be "
        f">{_row_name(rows, 0)}; write headers as >CHROM:START-END(STRAND) with the first three columns of the table, "
        f"or names that stand in its first column or in one between end and label; {order}"
    )


def _check_lengths(records: Records, joined: _Join, problems: Problems) -> None:
    """All sequences must be as long as most are."""
    lengths = np.array([len(records.tokens[record]) for record in joined.records])
    if not lengths.size:
        return
    values, counts = np.unique(lengths, return_counts=True)
    usual = int(values[counts.argmax()])
    for place in np.flatnonzero(lengths != usual).tolist():
        record = joined.records[place]
        problems.add(
            f"FASTA line {records.lines[record]}: {records.names[record][:80]} is {lengths[place]} bp long; expected "
            f"{usual} bp as in {counts.max()} of {len(lengths)} sequences; cut or extend all to one length"
        )


def _names(records: Records, joined: _Join) -> list[str]:
    """First words of headers; places where first words repeat, as those of UCSC do."""
    names = [records.names[record] for record in joined.records]
    if len(set(names)) == len(names):
        return names
    at = [records.places[record] or _own(records, record) for record in joined.records]
    return [f"{each.chrom}:{each.start}-{each.end}{SIGNS[each.strand]}" for each in at]


def _coordinates(records: Records, rows: Rows, joined: _Join, length: int) -> tuple[Coordinates, int]:
    """Places of the examples, by the row, or by the header where only its interval is as long as the sequence.

    Returns:
        (places; how many intervals are not as long as their sequences).
    """
    shift = joined.way.shift if joined.way else ""
    known = _known_chromosomes(records.places, rows)
    chrom, start, end = [], [], []
    for record, row in zip(joined.records, joined.rows, strict=True):
        at = Interval(rows.chrom[row], rows.start[row] - (shift == "table"), rows.end[row], 0)
        told = known[record]
        if told is not None and at.end - at.start != length == told.end - told.start:
            at = told
        chrom.append(at.chrom)
        start.append(at.start)
        end.append(at.end)
    starts, ends = np.array(start, dtype=np.int64), np.array(end, dtype=np.int64)

    def shown(place: int) -> str:
        what = f"{chrom[place][:80]}:{start[place]}-{end[place]}"
        return f"FASTA line {records.lines[joined.records[place]]}: {what} holds {end[place] - start[place]} bp"

    starts, other = fasta.from_zero(starts, ends, length=length, shown=shown)
    strand = np.array([records.strands[record] for record in joined.records], dtype=np.int8)
    return Coordinates(Coded.of(np.array(chrom, dtype=object)), starts, ends, strand), other


def make(run: Run, runtime: Runtime) -> Source:
    """Make the data set of a run: the records of its FASTA file with the labels of its table.

    Raises:
        InputError: a file cannot be used, or they do not go together.
        SatoriError: they do not fit into memory.
    """
    config = run.config.prepare.fasta
    assert config is not None
    paths = run.resolve(config.fasta), run.resolve(config.table)
    whole, summary, excluded_records = read(
        *paths,
        task=config.task,
        labels=config.labels,
        join=config.join,
        unlabelled=config.unlabelled,
        alphabet=run.config.prepare.alphabet,
        check=MemoryBudget.of(runtime).check_file,
    )
    check_length(run, whole.length, path=paths[0])
    return Source(whole, {**summary, "sources": digests(paths)}, excluded_records=excluded_records)
