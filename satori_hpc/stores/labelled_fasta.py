"""A FASTA file and its label table, joined by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.core import sequence
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.stores import fasta, label_table
from satori_hpc.stores.dataset import Coordinates, Dataset
from satori_hpc.stores.fasta import Interval, Records
from satori_hpc.stores.label_table import Labels, Rows
from satori_hpc.stores.left_out import LeftOut


@dataclass(frozen=True)
class _Join:
    """Row numbers that belong together: record `records[i]` has the label of row `rows[i]`; and what came again."""

    records: list[int]
    rows: list[int]
    repeated_records: list[int]
    repeated_rows: list[int]
    by_order: bool


def read(
    fasta_path: Path, table_path: Path, *, task: str, labels: int | None
) -> tuple[Dataset, dict[str, Any], LeftOut]:
    """Read both files; examples are in the order of the FASTA file, all in the training part.

    A header `CHROM:START-END(STRAND)` (strand optional, not compared) belongs to the row with that chrom, start and
    end; the interval need not be as long as the sequence. When no header has that form, it belongs to the row with
    that first column; when none of those matches either and there are as many rows as records, to the row at the
    same place, with a warning. What is repeated in full (name, label, sequence) is taken once.

    Args:
        fasta_path, table_path: the files.
        task: "auto", "binary" or "multilabel".
        labels: number of labels of a multi-label set; None = the largest id + 1.

    Returns:
        (data set, numbers for the summary, the repeats).

    Raises:
        InputError: anything about the files that cannot be used.
    """
    records = fasta.read(fasta_path)
    rows = label_table.read(table_path)
    meaning = label_table.parse_labels(table_path, rows, task=task, labels=labels)
    problems = Problems(f"{fasta_path} and {table_path} do not make a data set:")
    intervals = [fasta.interval(name) for name in records.names]
    joined = _join(records, intervals, rows, meaning, problems)
    _check_lengths(
        [records.tokens[record] for record in joined.records],
        [f"FASTA line {records.lines[record]}: {records.names[record]}" for record in joined.records],
        problems,
    )
    problems.raise_any()
    tokens = np.stack([records.tokens[record] for record in joined.records])
    unknown = int((tokens == sequence.N).sum())
    if unknown > 0.1 * tokens.size:
        logger.warning("%s: %.0f %% of all letters are not A, C, G or T", fasta_path, 100 * unknown / tokens.size)
    whole = Dataset(
        tokens=tokens,
        labels=meaning.matrix(joined.rows),
        split=np.zeros(len(tokens), dtype=np.uint8),
        names=[records.names[record] for record in joined.records],
        coordinates=_coordinates(intervals, rows, joined),
        targets=meaning.targets,
        task=meaning.task,
    )
    summary = {
        "records": len(records.names),
        "rows": len(rows.lines),
        "repeated_records_merged": len(joined.repeated_records),
        "repeated_rows_merged": len(joined.repeated_rows),
        "joined_by": "row order" if joined.by_order else "name",
        "letters_not_ACGT": unknown,
    }
    return whole, summary, _left_out(fasta_path, table_path, records, intervals, rows, joined)


def _left_out(
    fasta_path: Path, table_path: Path, records: Records, intervals: list[Interval | None], rows: Rows, joined: _Join
) -> LeftOut:
    """Records and rows that repeat earlier ones in full."""
    left_out = LeftOut()
    own = [Interval(name, 0, len(tokens), 0) for name, tokens in zip(records.names, records.tokens, strict=True)]
    at = [intervals[record] or own[record] for record in joined.repeated_records]
    left_out.add(
        np.array([place.chrom for place in at], dtype=object),
        np.array([place.start for place in at], dtype=np.int64),
        np.array([place.end for place in at], dtype=np.int64),
        place=(0,),
        reason="repeats an earlier record",
        file=fasta_path.name,
        line=np.array([records.lines[record] for record in joined.repeated_records], dtype=np.int64),
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
    left_out.add(chrom, start, end, place=(1,), reason="repeats an earlier row", file=table_path.name, line=line)
    return left_out


def _join(records: Records, intervals: list[Interval | None], rows: Rows, meaning: Labels, problems: Problems) -> _Join:
    """Pair records with rows; what cannot be paired is added to `problems`."""
    by_order = False
    row_names: list[Any] = list(zip(rows.chrom, rows.start, rows.end, strict=True))
    record_names: list[Any] = [
        (at.chrom, at.start, at.end) if at else name for at, name in zip(intervals, records.names, strict=True)
    ]
    if all(at is None for at in intervals):
        record_names, row_names = list(records.names), list(rows.chrom)
        if not set(record_names) & set(row_names):
            if len(record_names) != len(row_names):
                raise InputError(
                    _nothing_matches(problems.heading, records, rows) + "; the numbers differ as well: "
                    f"{len(record_names)} records, {len(row_names)} rows"
                )
            by_order = True
            row_names = record_names
            logger.warning("no header holds a name of the table: record k takes the label of row k")
    elif not set(record_names) & set(row_names):
        raise InputError(_nothing_matches(problems.heading, records, rows))

    def same_record(a: int, b: int) -> bool:
        return np.array_equal(records.tokens[a], records.tokens[b])

    def same_row(a: int, b: int) -> bool:
        return meaning.active[a] == meaning.active[b]

    kept_records = _once(record_names, same_record, problems, "FASTA lines", records.lines, "sequences")
    kept_rows = _once(row_names, same_row, problems, "table rows", rows.lines, "labels")
    for name, record in kept_records.items():
        if name not in kept_rows:
            other = intervals[record] is None and not all(at is None for at in intervals)
            form = " (a header of another form than the others)" if other else ""
            problems.add(
                f"FASTA line {records.lines[record]}: {records.names[record]}{form} has no row in the table; "
                "add its label or remove the record"
            )
    for name, row in kept_rows.items():
        if name not in kept_records:
            problems.add(
                f"table row {rows.lines[row]}: {_row_name(rows, row)} has no record in the FASTA file; "
                "add its sequence or remove the row"
            )
    both = [name for name in kept_records if name in kept_rows]
    return _Join(
        records=[kept_records[name] for name in both],
        rows=[kept_rows[name] for name in both],
        repeated_records=sorted(set(range(len(record_names))) - set(kept_records.values())),
        repeated_rows=sorted(set(range(len(row_names))) - set(kept_rows.values())),
        by_order=by_order,
    )


def _once(
    names: list[Any],
    same: Callable[[int, int], bool],
    problems: Problems,
    where: str,
    lines: list[int],
    what: str,
) -> dict[Any, int]:
    """First place of every name; a name that comes again must bring the same content."""
    first: dict[Any, int] = {}
    for place, name in enumerate(names):
        before = first.setdefault(name, place)
        if before != place and not same(before, place):
            shown = name if isinstance(name, str) else f"{name[0]}:{name[1]}-{name[2]}"
            problems.add(
                f"{where} {lines[before]} and {lines[place]}: {shown} occurs twice with different {what}; "
                "keep one of them, or give them different names"
            )
    return first


def _row_name(rows: Rows, row: int) -> str:
    return f"{rows.chrom[row]}:{rows.start[row]}-{rows.end[row]}"


def _nothing_matches(heading: str, records: Records, rows: Rows) -> str:
    return (
        f"{heading}\n  - no name of the table occurs in the FASTA file: its first header (line {records.lines[0]}) is "
        f">{records.names[0]}, the first row of the table ({rows.lines[0]}) would be >{_row_name(rows, 0)}; "
        "write headers as >CHROM:START-END(STRAND) with the first three columns of the table"
    )


def _check_lengths(tokens: list[np.ndarray], labels: list[str], problems: Problems) -> None:
    """All sequences must be as long as most are."""
    lengths = np.array([len(row) for row in tokens])
    if not lengths.size:
        return
    values, counts = np.unique(lengths, return_counts=True)
    usual = int(values[counts.argmax()])
    for place in np.flatnonzero(lengths != usual).tolist():
        problems.add(
            f"{labels[place]} is {lengths[place]} bp long; expected {usual} bp as in {counts.max()} of "
            f"{len(tokens)} sequences; cut or extend all to one length"
        )


def _coordinates(intervals: list[Interval | None], rows: Rows, joined: _Join) -> Coordinates:
    strands = [at.strand if at else 0 for at in intervals]
    return Coordinates(
        chrom=np.array([rows.chrom[row] for row in joined.rows], dtype=np.str_),
        start=np.array([rows.start[row] for row in joined.rows], dtype=np.int64),
        end=np.array([rows.end[row] for row in joined.rows], dtype=np.int64),
        strand=np.array([strands[record] for record in joined.records], dtype=np.int8),
    )
